"""Target ``paddle``: a program for Paddle Inference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ppclas_core.paddle_runtime import require_paddle

from ppclas_deploy.exporters.base import NetworkExporter
from ppclas_deploy.isolate import LOG, bundle_of, run_isolated

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle


class PaddleExporter(NetworkExporter):
    """``inference.json`` (or ``.pdmodel``) and ``inference.pdiparams``, run by Paddle Inference."""

    ir: Literal["pir", "old"] = "pir"
    """``pir``: Paddle 3's .json; ``old``: the .pdmodel that Paddle-Lite, Paddle Serving and Paddle
    2 read."""

    def export(self, bundle: Bundle, folder: Path) -> dict[str, Any]:
        """Trace the model in a process of its own."""
        interface = self.interface(bundle)
        files = run_isolated(
            "paddle", self.job(bundle, folder, interface, ir=self.ir), folder / LOG, self.timeout
        )
        return {"engine": "paddle_inference", "ir": self.ir, **interface, **files}


def convert(job: Mapping[str, Any]) -> dict[str, str]:
    """The step ``paddle``, in its own process."""
    require_paddle("the export")
    from ppclas_deploy.program import save_program

    model = save_program(
        bundle_of(job["bundle"]), Path(job["folder"]) / "inference", job["interface"], job["ir"]
    )
    return {"model": model.name, "params": "inference.pdiparams"}
