"""Target ``paddle``: a program for Paddle Inference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ppclas_core.paddle_runtime import require_paddle

from ppclas_deploy.exporters.base import NetworkExporter
from ppclas_deploy.isolate import LOG, bundle_of, run_isolated
from ppclas_deploy.marks import mark_program

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle


class PaddleExporter(NetworkExporter):
    """``inference.json`` (or ``.pdmodel``) and ``inference.pdiparams``, run by Paddle Inference.

    The input is ``images``, float32 [N, 3, H, W], normalised; the output logits, float32 [N, C].
    With ``with_preprocess`` they are uint8 [N, H, W, 3] and probabilities.
    """

    ir: Literal["pir", "old"] = "pir"
    """``pir``: Paddle 3's .json; ``old``: the .pdmodel that Paddle-Lite, Paddle Serving and Paddle
    2 read."""

    def export(self, bundle: Bundle, folder: Path) -> dict[str, Any]:
        """Trace the model in a process of its own.

        Raises:
            ExportError: it cannot be traced, or does not return logits alone.
        """
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
    mark_program(model, job["mark"])
    return {"model": model.name, "params": "inference.pdiparams"}
