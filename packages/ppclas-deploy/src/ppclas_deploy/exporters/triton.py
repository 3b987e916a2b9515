"""Target ``triton``: a model repository for NVIDIA's Triton Inference Server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ppclas_core.errors import ExportError
from ppclas_core.files import write_text
from pydantic import NonNegativeInt, PositiveInt

from ppclas_deploy.exporters.base import HalfPrecisionExporter
from ppclas_deploy.exporters.onnx import need_converter, write_onnx
from ppclas_deploy.isolate import LOG, bundle_of, run_isolated
from ppclas_deploy.prototext import Message, enum_name, format_text, parse_text
from ppclas_deploy.sizes import channels_of
from ppclas_deploy.triton import (
    CONFIG,
    MODEL,
    TYPES,
    End,
    ModelConfig,
    ensemble_config,
    network_config,
    require_ends,
)

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle

REPOSITORY = "model_repository"


class TritonExporter(HalfPrecisionExporter):
    """``model_repository/<model>``: config.pbtxt and an ONNX model, batched by the server.

    With ``ensemble`` there are three: ``<model>_prepare`` (uint8 photos to normalised images),
    ``<model>_network``, and ``<model>``, which is one after the other; with ``with_preprocess`` one
    model does both.
    """

    opset: PositiveInt = 17
    """Version of the ONNX operator set."""
    ensemble: bool = False
    """Put normalisation into a model of its own, in front of the network and its activation."""
    max_batch: PositiveInt = 32
    """Images that the server may put into one batch; where ``batch`` is fixed, that is it."""
    instances: PositiveInt = 1
    """Copies of the model that run at a time, on each device."""
    kind: Literal["cpu", "gpu"] = "cpu"
    """Where they run."""
    delay: NonNegativeInt = 2000
    """Microseconds that a request may wait for others to share a batch with."""
    tensorrt: bool = False
    """Let ONNX Runtime use TensorRT in half precision; with ``kind: gpu``."""

    def check(self) -> None:
        """Need what writes ONNX, and options that go together.

        Raises:
            MissingDependencyError: paddle2onnx, onnx or onnxruntime is not installed.
            ExportError: ``ensemble`` with ``with_preprocess``, or ``tensorrt`` on the CPU.
        """
        need_converter("the target triton")
        if self.ensemble and self.with_preprocess:
            raise ExportError(
                "ensemble and with_preprocess both put normalisation in front: take one of them."
            )
        if self.tensorrt and self.kind == "cpu":
            raise ExportError("tensorrt needs a GPU: add --option kind=gpu.")

    def export(self, bundle: Bundle, folder: Path) -> dict[str, Any]:
        """Write the models in a process of its own; the engine ``triton`` reads them back as a
        server would.

        Raises:
            ExportError: tracing or conversion failed.
        """
        plain = (
            self.replace(with_preprocess=True).interface(bundle)
            if self.ensemble
            else self.interface(bundle)
        )
        name = re.sub(r"\W+", "_", bundle.manifest.architecture.name)
        options = {key: getattr(self, key) for key in ("instances", "kind", "delay", "tensorrt")}
        job = self.job(bundle, folder, plain, opset=self.opset, fp16=self.fp16)
        extra = {
            "name": name,
            "ensemble": self.ensemble,
            "most": self.max_batch,
            "options": options,
        }
        run_isolated("triton", {**job, **extra}, folder / LOG, self.timeout)
        write_text(folder / "README.md", self._readme(bundle, folder / REPOSITORY / name / CONFIG))
        verified = (
            "the models of the repository, in ONNX Runtime, run as its config.pbtxt says (read "
            "back, and compared with their inputs and outputs); Triton itself was not run"
        )
        return {
            "engine": "triton",
            "model": f"{REPOSITORY}/{name}_network/1/{MODEL}"
            if self.ensemble
            else f"{REPOSITORY}/{name}/1/{MODEL}",
            "repository": REPOSITORY,
            "entry": name,
            "verified": verified,
            **plain,
        }

    def _readme(self, bundle: Bundle, entry: Path) -> str:
        """How to start Triton with the repository, and how to ask the model that ``entry``
        configures.
        """
        config = parse_text(entry.read_text(encoding="utf-8"), ModelConfig, CONFIG)
        takes, gives = config.input[0], config.output[0]
        shape = list(takes.dims) if self.batch else [1, *takes.dims]
        kind = enum_name(takes, "data_type").removeprefix("TYPE_")
        numpy = {"UINT8": "uint8", "FP32": "float32", "FP16": "float16"}[kind]
        what = (
            "RGB pixels, uint8"
            if kind == "UINT8"
            else "RGB planes, normalised as `bundle.json` says under `preprocessing`"
        )
        gpus = " --gpus all" if self.kind == "gpu" else ""
        return f"""\
# {bundle.manifest.architecture.name} for Triton

```shell
docker run --rm -p 8000:8000{gpus} -v "$PWD/{REPOSITORY}:/models" \\
  nvcr.io/nvidia/tritonserver:RELEASE-py3 tritonserver --model-repository=/models
curl --fail localhost:8000/v2/models/{config.name}/ready
```

```python
import numpy as np
import tritonclient.http as triton

images = np.zeros({shape}, np.{numpy})  # put photos here
given = triton.InferInput("{takes.name}", images.shape, "{kind}")
given.set_data_from_numpy(images)
answer = triton.InferenceServerClient("localhost:8000").infer("{config.name}", [given])
print(answer.as_numpy("{gives.name}"))
```

`{takes.name}` is {what}; `{gives.name}` has {len(bundle.labels)} numbers per image, in the order of
`labels.txt`. `parity.json` says what was verified.
"""


def convert(job: Mapping[str, Any]) -> dict[str, str]:
    """The step ``triton``, in its own process."""
    repository, name, labels = (
        Path(job["folder"]) / REPOSITORY,
        job["name"],
        bundle_of(job["bundle"]).labels,
    )
    network_job = job
    if job["ensemble"]:
        network_job = {**job, "interface": {**job["interface"], "input": "images"}}
    network = repository / (f"{name}_network" if job["ensemble"] else name)
    (network / "1").mkdir(parents=True)
    write_onnx(network_job, network / "1" / MODEL)
    config = _describe(network, job)
    if job["ensemble"]:
        prepare = repository / f"{name}_prepare"
        (prepare / "1").mkdir(parents=True)
        _write_prepare(job, prepare / "1" / MODEL)
        first = _describe(prepare, {**job, "options": {**job["options"], "tensorrt": False}})
        _write(network, config)
        _write(prepare, first)
        network, config = repository / name, ensemble_config(name, first, config)
        (network / "1").mkdir(parents=True)  # empty, and needed all the same
        # A folder with nothing in it is lost in many copies.
        (network / "1" / "README.txt").write_text(
            "An ensemble has no file of its own.\n", encoding="utf-8"
        )
    config.output[0].label_filename = "labels.txt"
    _write(network, config)
    (network / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    return {}


def _describe(folder: Path, job: Mapping[str, Any]) -> Message:
    """The configuration of the ONNX model in ``folder``, from what it really takes and gives."""
    from ppclas_deploy.engines.onnxruntime import make_session

    session = make_session(folder / "1" / MODEL, 1)
    ends = [
        [End(end.name, TYPES[end.type], tuple(end.shape[1:])) for end in side]
        for side in (session.get_inputs(), session.get_outputs())
    ]
    batch = job["interface"]["batch"]
    config = network_config(
        folder.name, *ends, batch=batch, most=job["most"], options=job["options"]
    )
    require_ends(config, session)
    return config


def _write(folder: Path, config: Message) -> None:
    (folder / CONFIG).write_text(format_text(config), encoding="utf-8")


def _write_prepare(job: Mapping[str, Any], path: Path) -> None:
    """uint8 [N, H, W, 3] → float32 [N, 3, H, W], normalised: the same arithmetic as everywhere."""
    import numpy as np
    import onnx

    bundle, helper = bundle_of(job["bundle"]), onnx.helper
    normalize, (height, width) = bundle.manifest.preprocessing.normalize, bundle.image_size
    channels = channels_of(bundle)
    mean, std = np.asarray(normalize.mean), np.asarray(normalize.std)
    constants = {"scale": 1.0 / (255.0 * std), "shift": -mean / std}
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Cast", ["planes"], ["numbers"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", ["numbers", "scale"], ["scaled"]),
            helper.make_node("Add", ["scaled", "shift"], ["images"]),
        ],
        "prepare",
        [
            helper.make_tensor_value_info(
                "pixels", onnx.TensorProto.UINT8, _shape(job, height, width, channels)
            )
        ],
        [
            helper.make_tensor_value_info(
                "images", onnx.TensorProto.FLOAT, _shape(job, channels, height, width)
            )
        ],
        [
            onnx.numpy_helper.from_array(values.astype(np.float32).reshape(1, -1, 1, 1), name)
            for name, values in constants.items()
        ],
    )
    # The representation of onnx 1.12, the first with this operator set: servers lag behind.
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", job["opset"])], ir_version=8
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def _shape(job: Mapping[str, Any], *sides: int) -> list[int | str]:
    return [job["interface"]["batch"] or "batch", *sides]
