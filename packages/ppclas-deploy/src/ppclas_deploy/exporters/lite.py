"""Target ``lite``: Paddle-Lite's .nb for phones, by way of the old-IR program."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ppclas_core.errors import ExportError
from ppclas_core.paddle_runtime import require_paddle

from ppclas_deploy.exporters.base import NetworkExporter
from ppclas_deploy.isolate import LOG, bundle_of, run_command, run_isolated
from ppclas_deploy.lite.interpreters import LiteRuntime, find_runtime, make_ready
from ppclas_deploy.lite.phone import write_phone_files

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle

MODEL = "model.nb"
TWIN = "twin-x86.nb"
PLACES = {"arm": "arm", "armv8-fp16": "arm", "opencl": "opencl,arm", "x86": "x86"}
"""Place → Opt's valid places, the preferred one first; it adds the host itself."""


class LiteExporter(NetworkExporter):
    """``model.nb`` for Paddle-Lite, and for a phone its twin for x86, which is what can be run here.

    A README with the commands for a phone and calling code in C++ and Java, with this bundle's constants, lie beside.
    """

    place: Literal["arm", "armv8-fp16", "opencl", "x86"] = "arm"
    """``arm``: 32- and 64-bit phones; ``armv8-fp16``: half-precision kernels (ARMv8.2); ``opencl``: the phone's GPU,
    with arm for what it lacks; ``x86``: this kind of machine."""
    weights: Literal["float32", "int16", "int8"] = "float32"
    """How the file stores them: int16 is half the size, int8 a quarter; Lite turns them back on loading, not on x86."""
    lite_python: str | None = None
    """A Python that can load Paddle-Lite. Nothing: $PPCLAS_LITE_PYTHON, or one that is found here."""

    def check(self) -> None:
        """Need an interpreter that can load Paddle-Lite, and weights that the place can read."""
        if self.weights != "float32" and self.place == "x86":
            raise ExportError(
                f"Paddle-Lite does not turn {self.weights} weights back on x86: the answers would be chance. "
                f"Export them for arm, or take float32."
            )
        find_runtime(self.lite_python)

    def export(self, bundle: Bundle, folder: Path) -> dict[str, Any]:
        """Trace and patch in one process, convert in Lite's Python, once for the place and once for its twin."""
        runtime, log, interface = find_runtime(self.lite_python), folder / LOG, self.interface(bundle)
        make_ready(runtime, log)
        with tempfile.TemporaryDirectory(prefix="ppclas-") as work:
            # Beside the export if it is what can be run here, else thrown away.
            program = Path(work) if runtime.computes else folder
            run_isolated("lite", self.job(bundle, program, interface), log, self.timeout)
            self._convert(runtime, program, folder / MODEL, self.place, self.weights, log)
            if runtime.computes and self.place != "x86":
                self._convert(runtime, program, folder / TWIN, "x86", "float32", log)
        write_phone_files(bundle, folder, interface, self.place)
        facts = {"place": self.place, "weights": self.weights, "paddlelite": runtime.version, "nb": MODEL, **interface}
        if not runtime.computes:
            verified = (
                f"the program that {MODEL} was made from, in Paddle Inference; {MODEL} itself was not run "
                f"(paddlelite {runtime.version} computes nonsense on x86; 2.12, for CPython 3.7, would have)"
            )
            files = {"model": "inference.pdmodel", "params": "inference.pdiparams"}
            return {"engine": "paddle_inference", "verified": verified, **files, **facts}
        if self.place == "x86":
            return {"engine": "lite", "model": MODEL, **facts}
        rest = "" if self.weights == "float32" else f", and with float32 weights, not {self.weights} ones"
        verified = (
            f"the x86 twin of {MODEL}, made by the same converter from the same program{rest}, in Paddle-Lite; "
            f"{MODEL} itself ({self.place}) was converted and not run"
        )
        return {"engine": "lite", "model": TWIN, "verified": verified, **facts}

    def _convert(self, runtime: LiteRuntime, program: Path, file: Path, place: str, weights: str, log: Path) -> None:
        inputs = [str((program / f"inference.{end}").resolve()) for end in ("pdmodel", "pdiparams")]
        half = "1" if place == "armv8-fp16" else "0"
        command = runtime.script("convert", *inputs, str(file.resolve().with_suffix("")), PLACES[place], half, weights)
        what = f"Paddle-Lite's converter ({place})"
        run_command(what, command, log, self.timeout)
        if not file.is_file():
            raise ExportError(f"{what} ended without an error and without {file.name}.")


def convert(job: Mapping[str, Any]) -> dict[str, str]:
    """The step ``lite``, in its own process: the old-IR program, patched for Lite."""
    require_paddle("the export")
    from ppclas_deploy.lite.patch import patch_for_lite
    from ppclas_deploy.program import save_program

    model = save_program(bundle_of(job["bundle"]), Path(job["folder"]) / "inference", job["interface"], "old")
    patch_for_lite(model)
    return {"model": model.name}
