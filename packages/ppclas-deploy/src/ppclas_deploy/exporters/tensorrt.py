"""Target ``trt``: for NVIDIA's TensorRT, through ONNX Runtime or through Paddle Inference."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ppclas_core.errors import ExportError
from ppclas_core.paddle_runtime import require_paddle
from pydantic import PositiveInt

from ppclas_deploy.exporters.base import FP16_TOLERANCE, NetworkExporter
from ppclas_deploy.exporters.onnx import MODEL, need_converter, write_onnx
from ppclas_deploy.isolate import LOG, bundle_of, run_isolated
from ppclas_deploy.marks import mark_program
from ppclas_deploy.photos import choose_photos

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle

TABLE = "calibration.flatbuffers"
INT8_TOLERANCE = 0.3
"""Eight bits with one scale a tensor; how much a network bears is for its accuracy to say, not for
its logits."""

_STAND_INS = {
    "onnxruntime": ("onnxruntime", "ONNX Runtime"),
    "paddle": ("paddle_inference", "Paddle Inference"),
}


class TensorRtExporter(NetworkExporter):
    """An ONNX model with the options for ONNX Runtime's TensorRT provider, or an old-IR program for
    Paddle Inference's.

    TensorRT compiles for the GPU that it meets; the first run takes minutes, and its engine is kept
    for the next.
    """

    via: Literal["auto", "onnxruntime", "paddle"] = "auto"
    """What runs TensorRT. ``auto``: ONNX Runtime, or Paddle Inference where only that one has
    TensorRT here."""
    precision: Literal["fp32", "fp16", "int8"] = "fp16"
    """What TensorRT may compute in; int8 takes ``calibrate``."""
    calibrate: str | None = None
    """Photos for int8: a file, folder, list or glob. They show the range of each tensor's values;
    100 are enough."""
    num_calibrate: PositiveInt = 100
    """How many of them."""
    opset: PositiveInt = 17
    """Version of the ONNX operator set."""

    def check(self) -> None:
        """Need what writes ONNX, and options that go together.

        Raises:
            MissingDependencyError: paddle2onnx, onnx or onnxruntime is not installed.
            ExportError: ``precision`` int8 without ``calibrate`` or through Paddle Inference.
        """
        if self.via != "paddle":
            need_converter("the target trt")
        if (self.precision == "int8") != (self.calibrate is not None):
            raise ExportError(
                "precision int8 and calibrate (photos) go together: give both, or neither."
            )
        if self.precision == "int8" and self.via == "paddle":
            raise ExportError(
                "int8 is offered through ONNX Runtime only: take via onnxruntime, or precision "
                "fp16."
            )

    def accepted(self, facts: Mapping[str, Any]) -> float:
        """By the precision, where TensorRT itself gave the answers."""
        if "tolerance" in self.model_fields_set or "verified_with" in facts:
            return self.tolerance
        return {"fp32": self.tolerance, "fp16": FP16_TOLERANCE, "int8": INT8_TOLERANCE}[
            self.precision
        ]

    def export(self, bundle: Bundle, folder: Path) -> dict[str, Any]:
        """Find out what has TensorRT here, then trace and convert; both in processes of their own.

        Raises:
            DataError: ``calibrate`` names no readable photo.
            ExportError: tracing or conversion failed.
        """
        log, interface = folder / LOG, self.interface(bundle)
        here = run_isolated("tensorrt_here", {}, log, self.timeout)
        via = self.via
        if via == "auto":
            via = (
                "paddle"
                if here["paddle"] and not here["onnxruntime"] and self.precision != "int8"
                else "onnxruntime"
            )
        photos = (
            choose_photos(bundle, self.calibrate, self.num_calibrate).paths
            if self.calibrate
            else ()
        )
        job = self.job(bundle, folder, interface, opset=self.opset, fp16=False, via=via)
        files = run_isolated(
            "trt", {**job, "photos": [str(path.resolve()) for path in photos]}, log, self.timeout
        )
        facts = {
            "engine": "tensorrt",
            "via": via,
            "precision": self.precision,
            **interface,
            **files,
        }
        if here[via]:
            return facts
        stand_in, name = _STAND_INS[via]
        verified = (
            f"the same {files['model']}, in {name} on the CPU in float32; there is no GPU with "
            f"TensorRT here ({here['why'][via]}), so TensorRT and {self.precision} were not run"
        )
        return {**facts, "verified_with": stand_in, "verified": verified}


def look(job: Mapping[str, Any]) -> dict[str, Any]:
    """The step ``tensorrt_here``: what runs TensorRT on this machine, tried on a network of one
    operator.
    """
    from ppclas_deploy.engines.tensorrt import onnxruntime_lacks, paddle_lacks

    why = {"onnxruntime": onnxruntime_lacks(), "paddle": paddle_lacks()}
    return {"onnxruntime": not why["onnxruntime"], "paddle": not why["paddle"], "why": why}


def convert(job: Mapping[str, Any]) -> dict[str, str]:
    """The step ``trt``, in its own process."""
    folder = Path(job["folder"])
    if job["via"] == "paddle":
        require_paddle("the export")
        from ppclas_deploy.program import save_program

        program = save_program(
            bundle_of(job["bundle"]), folder / "inference", job["interface"], "old"
        )
        mark_program(program, job["mark"])
        return {"model": program.name, "params": "inference.pdiparams"}
    write_onnx(job, folder / MODEL)
    if not job["photos"]:
        return {"model": MODEL}
    _write_table(job, folder)
    return {"model": MODEL, "calibration": TABLE}


def _write_table(job: Mapping[str, Any], folder: Path) -> None:
    """The largest magnitude of each tensor over the photos, in the form that the TensorRT provider
    reads.
    """
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator
    from onnxruntime.quantization.quant_utils import write_calibration_table

    calibrator = create_calibrator(
        str(folder / MODEL),
        [],
        augmented_model_path=str(Path.cwd() / "augmented.onnx"),
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"symmetric": True},
    )
    calibrator.set_execution_providers(["CPUExecutionProvider"])
    calibrator.collect_data(_Batches(job))
    write_calibration_table(calibrator.compute_data().data, str(Path.cwd()))
    shutil.copyfile(Path.cwd() / TABLE, folder / TABLE)


class _Batches:
    """Photos one after the other (a full batch of each where its size is fixed), as ONNX Runtime's
    calibrator asks.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        self._next = self._read(job)

    def get_next(self) -> dict[str, Any] | None:
        """The next input, None at the end."""
        return next(self._next, None)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._next

    @staticmethod
    def _read(job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        from ppclas_deploy.answers import read_photos

        bundle, batch = bundle_of(job["bundle"]), job["interface"]["batch"] or 1
        for photo in job["photos"]:
            pixels = read_photos(bundle, [photo])
            images = pixels if job["interface"]["input"] == "pixels" else bundle.normalize(pixels)
            yield {"images": np.repeat(images, batch, axis=0)}
