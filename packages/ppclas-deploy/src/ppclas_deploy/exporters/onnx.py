"""Target ``onnx``: one ONNX file, by way of paddle2onnx."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_core.errors import ExportError, MissingDependencyError
from ppclas_core.paddle_runtime import require_paddle
from pydantic import PositiveInt

from ppclas_deploy.dependencies import need
from ppclas_deploy.engines.heat_output import OUTPUT
from ppclas_deploy.exporters.base import HeatExporter
from ppclas_deploy.isolate import LOG, bundle_of, run_isolated
from ppclas_deploy.marks import KEY

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle

    from ppclas_deploy.exporters.base import Interface

MODEL = "model.onnx"

_SCALES = re.compile(r'"0\.a_array","D":\[[^]]*\]\},"N":"scale"')


class OnnxExporter(HeatExporter):
    """``model.onnx``: input ``images`` [N, 3, H, W] (float32, normalised), output ``logits`` [N,
    C], no activation.

    With ``with_preprocess`` the input is uint8 [N, H, W, 3] and the output is called
    ``probabilities``. Labels, preprocessing and activation are in its metadata as JSON, so that the
    file can be used by itself.
    """

    opset: PositiveInt = 17
    """Version of the ONNX operator set; never raised silently."""

    def check(self) -> None:
        """Need the converter, the checker and the engine.

        Raises:
            MissingDependencyError: paddle2onnx, onnx or onnxruntime is not installed.
        """
        need_converter("the target onnx")

    def export(self, bundle: Bundle, folder: Path) -> dict[str, Any]:
        """Trace and convert in a process of its own, then check the graph.

        Raises:
            ExportError: tracing or conversion failed, or the bundle's transforms do not end in
                pixels, which ``with_preprocess`` needs.
        """
        interface = self.interface(bundle)
        job = self.job(
            bundle, folder, interface, opset=self.opset, fp16=self.fp16, heatmap=self.heatmap
        )
        files = run_isolated("onnx", job, folder / LOG, self.timeout)
        return {
            "engine": "onnxruntime",
            "opset": self.opset,
            "fp16": self.fp16,
            **interface,
            **self.heat_facts(),
            **files,
        }


def need_converter(purpose: str) -> None:
    """Check that what writes ONNX, checks it and runs it is installed.

    Raises:
        MissingDependencyError: it is not, or cannot be in this Python.
    """
    if sys.version_info >= (3, 13) and find_spec("paddle2onnx") is None:
        raise MissingDependencyError(
            f"{purpose} needs paddle2onnx, which has no release for Python "
            f"{sys.version_info.major}.{sys.version_info.minor} yet. Export the bundle in an "
            "environment with Python 3.10 to 3.12."
        )
    need("paddle2onnx", "onnx", "onnxruntime", purpose=purpose, extra="onnx")


def convert(job: Mapping[str, Any]) -> dict[str, str]:
    """The step ``onnx``, in its own process."""
    write_onnx(job, Path(job["folder"]) / MODEL)
    return {"model": MODEL}


def write_onnx(job: Mapping[str, Any], path: Path) -> None:
    """Trace, convert, tidy, name, describe and check; needs an empty working folder.

    Args:
        job: ``bundle``, ``interface``, ``mark``, ``opset`` and ``fp16`` of a converting step.
        path: where the ONNX file goes.

    Raises:
        ExportError: the model does not return logits alone, or paddle2onnx wrote another opset.
    """
    require_paddle("the export")
    import onnx
    import paddle2onnx

    from ppclas_deploy.program import save_program

    bundle, interface, opset = bundle_of(job["bundle"]), job["interface"], job["opset"]
    heatmap = bool(job.get("heatmap", False))
    program = save_program(bundle, Path.cwd() / "inference", interface, heatmap=heatmap)
    narrow_resize_scales(program)
    raw = Path.cwd() / MODEL
    # The "optimizers" that paddle2onnx offers install packages with pip on the way; tidy() does
    # what is needed.
    paddle2onnx.export(
        str(program),
        str(program.with_suffix(".pdiparams")),
        str(raw),
        opset_version=opset,
        auto_upgrade_opset=False,
        optimize_tool="None",
    )
    model = onnx.load(str(raw))
    got = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if got != [opset]:
        raise ExportError(
            f"paddle2onnx was asked for opset {opset} and wrote opset {got}. Try --opset 17."
        )
    tidy(model.graph)
    name_ends(model.graph, interface)
    if job["fp16"]:
        model = _half(model)
    describe(model, bundle, interface, job["mark"])
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def _half(model: Any) -> Any:
    """The model in half precision, its batch norms first folded into the convolutions: a third of
    the error.
    """
    import onnx
    import onnxruntime as ort
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(Path.cwd() / "folded.onnx")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    folded = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in folded.graph.node}
    imports = [entry for entry in folded.opset_import if entry.domain in used]
    del folded.opset_import[:]
    folded.opset_import.extend(imports)
    half = OnnxModel(convert_float_to_float16(folded, keep_io_types=True))
    half.topological_sort()  # the casts were added at the end
    return half.model


def narrow_resize_scales(program: Path) -> None:
    """Write the scales of resize operators as 32-bit floats into a program (.json), in place.

    Paddle 3.3 made them 64-bit, which paddle2onnx 2.1 does not read.
    """
    text = program.read_text(encoding="utf-8")
    narrow = _SCALES.sub(lambda found: found[0].replace('"0.a_f64"', '"0.a_f32"'), text)
    program.write_text(narrow, encoding="utf-8")


def tidy(graph: Any) -> None:
    """Turn constant nodes into initializers, and take out identity nodes and what nothing uses, in
    place.

    Quantisers and readers look for weights among the initializers.
    """
    outputs = {output.name for output in graph.output}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
        if node.op_type == "Identity" and node.output[0] not in outputs:
            renamed[node.output[0]] = node.input[0]
        elif (
            node.op_type == "Constant"
            and node.attribute[0].name == "value"
            and node.output[0] not in outputs
        ):
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(initializers)


def name_ends(graph: Any, interface: Interface) -> None:
    """Name the input ``images``, the outputs ``logits`` or ``probabilities`` and ``heatmap``, and a
    free batch axis ``batch``, in place.
    """
    batch = interface["batch"]
    ends = [graph.input[0], *graph.output]
    names = ("images", interface["output"], OUTPUT)
    new = {end.name: name for end, name in zip(ends, names, strict=False)}
    for end in ends:
        end.name = new[end.name]
    for node in graph.node:
        for used in (node.input, node.output):
            for index, name in enumerate(used):
                used[index] = new.get(name, name)
    for end in ends:
        axis = end.type.tensor_type.shape.dim[0]
        if batch is None:
            axis.dim_param = "batch"
        else:
            axis.dim_value = batch


def describe(model: Any, bundle: Bundle, interface: Interface, mark: str) -> None:
    """Put labels, preprocessing, activation, input and output into the model's metadata, as
    JSON, and the mark.
    """
    manifest = bundle.manifest.model_dump(mode="json")
    facts = {key: manifest[key] for key in ("labels", "preprocessing", "activation")}
    facts |= {"input": interface["input"], "output": interface["output"], KEY: mark}
    for key, value in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value, ensure_ascii=False)
    model.producer_name = "ppclas"
    model.graph.name = bundle.manifest.architecture.name
