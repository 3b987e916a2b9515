"""Target ``lite``: Paddle-Lite's .nb for phones, by way of the old-IR program."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ppclas_core.errors import ExportError
from ppclas_core.paddle_runtime import require_paddle
from ppclas_data.leftovers import temporary_folder

from ppclas_deploy import parity
from ppclas_deploy.answers import read_photos
from ppclas_deploy.engines.lite import LiteProcess
from ppclas_deploy.exporters.base import NetworkExporter
from ppclas_deploy.isolate import LOG, bundle_of, run_command, run_isolated
from ppclas_deploy.lite.interpreters import LiteRuntime, find_runtime, make_ready
from ppclas_deploy.lite.phone import write_phone_files
from ppclas_deploy.marks import mark_of, mark_program
from ppclas_deploy.photos import choose_photos

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle

    from ppclas_deploy.exporters.base import Interface

MODEL = "model.nb"
TWIN = "twin-x86.nb"
ROUNDED = "rounded-x86.nb"
"""The twin with the weights of an int8 or int16 ``model.nb``, as float32: Lite's x86 runtime cannot
read the others."""
PLACES = {"arm": "arm", "armv8-fp16": "arm", "opencl": "opencl,arm", "x86": "x86"}
"""Place → Opt's valid places, the preferred one first; it adds the host itself."""


class LiteExporter(NetworkExporter):
    """``model.nb`` for Paddle-Lite, and for a phone its twin for x86, which is what can be run
    here.

    A README with the commands for a phone and calling code in C++ and Java, with this bundle's
    constants, lie beside.
    """

    place: Literal["arm", "armv8-fp16", "opencl", "x86"] = "arm"
    """``arm``: 32- and 64-bit phones; ``armv8-fp16``: half-precision kernels (ARMv8.2); ``opencl``:
    the phone's GPU, with arm for what it lacks; ``x86``: this kind of machine."""
    weights: Literal["float32", "int16", "int8"] = "float32"
    """How the file stores them: int16 is half the size, int8 a quarter; Lite turns them back on
    loading, not on x86.

    What rounding them changes is measured on photos, with a second twin.
    """
    lite_python: str | None = None
    """A Python that can load Paddle-Lite. Nothing: $PPCLAS_LITE_PYTHON, or one that is found
    here."""

    def check(self) -> None:
        """Need an interpreter that can load Paddle-Lite, and weights that the place can read.

        Raises:
            ConfigError: ``lite_python`` is no such interpreter.
            MissingDependencyError: there is none on this machine.
            ExportError: integer weights for x86, which cannot read them.
        """
        if self.weights != "float32" and self.place == "x86":
            raise ExportError(
                f"Paddle-Lite does not turn {self.weights} weights back on x86: the answers would "
                "be chance. Export them for arm, or take float32."
            )
        find_runtime(self.lite_python)

    def export(self, bundle: Bundle, folder: Path) -> dict[str, Any]:
        """Trace and patch in one process, convert in Lite's Python, once for the place and once for
        its twin.

        Raises:
            ExportError: tracing or conversion failed.
            MissingDependencyError: Paddle-Lite is not there and cannot be fetched.
        """
        runtime, log, interface = (
            find_runtime(self.lite_python),
            folder / LOG,
            self.interface(bundle),
        )
        make_ready(runtime, log)
        whole = self.weights == "float32"
        with temporary_folder() as work:
            # Beside the export if it is what can be run here, else thrown away.
            program = Path(work) if runtime.computes else folder
            rounded = program if whole else Path(work) / "rounded"
            rounding = None if whole else {"bits": int(self.weights[3:]), "folder": str(rounded)}
            run_isolated(
                "lite", self.job(bundle, program, interface, rounding=rounding), log, self.timeout
            )
            self._convert(runtime, rounded, folder / MODEL, self.place, self.weights, log)
            if runtime.computes and self.place != "x86":
                self._convert(runtime, program, folder / TWIN, "x86", "float32", log)
            if runtime.computes and not whole:
                self._convert(runtime, rounded, folder / ROUNDED, "x86", "float32", log)
        write_phone_files(bundle, folder, interface, self.place)
        facts = {
            "place": self.place,
            "weights": self.weights,
            "paddlelite": runtime.version,
            "nb": MODEL,
            **interface,
        }
        if not runtime.computes:
            mark_program(folder / "inference.pdmodel", mark_of(bundle.manifest, interface))
            verified = (
                f"the program that {MODEL} was made from, in Paddle Inference; {MODEL} itself was "
                f"not run (paddlelite {runtime.version} computes nonsense on x86; 2.12, for "
                "CPython 3.7, would have)"
            )
            files = {"model": "inference.pdmodel", "params": "inference.pdiparams"}
            return {"engine": "paddle_inference", "verified": verified, **files, **facts}
        if self.place == "x86":
            return {"engine": "lite", "model": MODEL, **facts}
        weights = "" if whole else ", with float32 weights"
        verified = (
            f"the x86 twin of {MODEL}, made by the same converter from the same program{weights}, "
            f"in Paddle-Lite; {MODEL} itself ({self.place}) was converted and not run"
        )
        if not whole:
            effect = self._rounding(bundle, runtime, folder, interface)
            verified += (
                f". Its {self.weights} weights, in {ROUNDED}, change a logit by up to "
                f"{effect['max_rel_diff']:.2g} of the logits' RMS and the class of "
                f"{effect['changed']} of {effect['photos']} photos ({effect['origin']})"
            )
            facts["rounding"] = effect
        return {"engine": "lite", "model": TWIN, "verified": verified, **facts}

    def _rounding(
        self, bundle: Bundle, runtime: LiteRuntime, folder: Path, interface: Interface
    ) -> dict[str, Any]:
        """What rounded weights change: both twins, asked about the same photos in Paddle-Lite."""
        photos = choose_photos(bundle, None)
        pixels = read_photos(bundle, [str(path) for path in photos.paths])
        images = pixels if interface["input"] == "pixels" else bundle.normalize(pixels)
        batch = interface["batch"] or 1
        answers = []
        for name in (TWIN, ROUNDED):
            lite = LiteProcess(runtime.script("run", str((folder / name).resolve())))
            rows = [lite.ask(np.repeat(image[None], batch, axis=0))[0] for image in images]
            answers.append(np.stack(rows).astype(np.float64))
        if interface["output"] == "probabilities":
            answers = [parity.logarithm(rows) for rows in answers]
            # Logits, but for a constant.
            answers = [rows - rows.mean(axis=1, keepdims=True) for rows in answers]
        exact, rounded = answers
        found = parity.compare(exact, rounded, photos.names(), tolerance=math.inf)
        return {
            "photos": len(images),
            "origin": photos.origin,
            "max_rel_diff": found.max_rel_diff,
            "changed": sum(row.reference_top1 != row.export_top1 for row in found.images),
        }

    def _convert(
        self, runtime: LiteRuntime, program: Path, file: Path, place: str, weights: str, log: Path
    ) -> None:
        inputs = [str((program / f"inference.{end}").resolve()) for end in ("pdmodel", "pdiparams")]
        half = "1" if place == "armv8-fp16" else "0"
        command = runtime.script(
            "convert", *inputs, str(file.resolve().with_suffix("")), PLACES[place], half, weights
        )
        what = f"Paddle-Lite's converter ({place})"
        run_command(what, command, log, self.timeout)
        if not file.is_file():
            raise ExportError(f"{what} ended without an error and without {file.name}.")


def convert(job: Mapping[str, Any]) -> dict[str, str]:
    """The step ``lite``, in its own process: the old-IR program, patched for Lite."""
    require_paddle("the export")
    from ppclas_deploy.lite.patch import patch_for_lite
    from ppclas_deploy.lite.rounding import round_weights
    from ppclas_deploy.program import save_program

    model = save_program(
        bundle_of(job["bundle"]), Path(job["folder"]) / "inference", job["interface"], "old"
    )
    patch_for_lite(model)
    if rounding := job["rounding"]:
        params, folder = model.with_suffix(".pdiparams"), Path(rounding["folder"])
        folder.mkdir()
        shutil.copyfile(model, folder / model.name)
        shutil.copyfile(params, folder / params.name)
        round_weights(model, folder / params.name, rounding["bits"])
    return {"model": model.name}
