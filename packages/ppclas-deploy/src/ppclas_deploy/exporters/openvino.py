"""Target ``openvino``: OpenVINO's IR, by way of ONNX."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_deploy.dependencies import need
from ppclas_deploy.exporters.base import HeatExporter
from ppclas_deploy.exporters.onnx import need_converter, write_onnx
from ppclas_deploy.isolate import LOG, bundle_of, run_isolated
from ppclas_deploy.marks import KEY

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle

MODEL = "model.xml"
WEIGHTS = "model.bin"
_OPSET = 17


class OpenVinoExporter(HeatExporter):
    """``model.xml`` and ``model.bin``: input ``images``, output ``logits`` or ``probabilities``, as
    in ``onnx``.

    Labels, preprocessing and activation are in its ``rt_info`` under ``ppclas``, as JSON. Half
    precision is that of the weights: half the file; the arithmetic is the device's choice, and
    float32 on the CPU.
    """

    def check(self) -> None:
        """Need OpenVINO, and what writes ONNX.

        Raises:
            MissingDependencyError: openvino, paddle2onnx, onnx or onnxruntime is not installed.
        """
        need("openvino", purpose="the target openvino", extra="openvino")
        need_converter("the target openvino")

    def export(self, bundle: Bundle, folder: Path) -> dict[str, Any]:
        """Trace and convert in a process of its own.

        Raises:
            ExportError: tracing or conversion failed.
        """
        interface = self.interface(bundle)
        job = self.job(
            bundle,
            folder,
            interface,
            opset=_OPSET,
            fp16=False,
            half_weights=self.fp16,
            heatmap=self.heatmap,
        )
        files = run_isolated("openvino", job, folder / LOG, self.timeout)
        return {"engine": "openvino", "fp16": self.fp16, **interface, **self.heat_facts(), **files}


def convert(job: Mapping[str, Any]) -> dict[str, str]:
    """The step ``openvino``, in its own process."""
    import openvino

    source = Path.cwd() / "model.onnx"
    write_onnx(job, source)
    model = openvino.convert_model(str(source))
    manifest = bundle_of(job["bundle"]).manifest.model_dump(mode="json")
    for key in ("labels", "preprocessing", "activation"):
        model.set_rt_info(json.dumps(manifest[key], ensure_ascii=False), ["ppclas", key])
    model.set_rt_info(job["mark"], ["ppclas", KEY])
    openvino.save_model(
        model, str(Path(job["folder"]) / MODEL), compress_to_fp16=job["half_weights"]
    )
    return {"model": MODEL, "weights": WEIGHTS}
