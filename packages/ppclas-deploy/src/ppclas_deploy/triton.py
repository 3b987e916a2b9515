"""Triton model repositories: config.pbtxt written, strictly read, and compared with the models it
describes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppclas_core.errors import BundleError

from ppclas_deploy.prototext import Message, declare, enum_name

CONFIG = "config.pbtxt"
MODEL = "model.onnx"
TYPES = {
    "tensor(float)": "TYPE_FP32",
    "tensor(float16)": "TYPE_FP16",
    "tensor(uint8)": "TYPE_UINT8",
}
"""ONNX Runtime's type → Triton's."""

ModelConfig = declare(
    "inference",
    {
        "ModelConfig": {
            "name": (1, "string"),
            "platform": (2, "string"),
            "backend": (17, "string"),
            "max_batch_size": (4, "int32"),
            "input": (5, "ModelInput", "repeated"),
            "output": (6, "ModelOutput", "repeated"),
            "instance_group": (7, "ModelInstanceGroup", "repeated"),
            "dynamic_batching": (11, "ModelDynamicBatching"),
            "optimization": (12, "ModelOptimizationPolicy"),
            "ensemble_scheduling": (15, "ModelEnsembling"),
        },
        "ModelInput": {
            "name": (1, "string"),
            "data_type": (2, "DataType"),
            "dims": (4, "int64", "repeated"),
        },
        "ModelOutput": {
            "name": (1, "string"),
            "data_type": (2, "DataType"),
            "dims": (3, "int64", "repeated"),
            "label_filename": (4, "string"),
        },
        "ModelInstanceGroup": {"count": (2, "int32"), "kind": (4, "Kind")},
        "ModelDynamicBatching": {
            "preferred_batch_size": (1, "int32", "repeated"),
            "max_queue_delay_microseconds": (2, "uint64"),
        },
        "ModelOptimizationPolicy": {"execution_accelerators": (4, "ExecutionAccelerators")},
        "ExecutionAccelerators": {"gpu_execution_accelerator": (1, "Accelerator", "repeated")},
        "Accelerator": {"name": (1, "string"), "parameters": (2, "Pair", "repeated")},
        "ModelEnsembling": {"step": (1, "Step", "repeated")},
        "Step": {
            "model_name": (1, "string"),
            "model_version": (2, "int64"),
            "input_map": (3, "Pair", "repeated"),
            "output_map": (4, "Pair", "repeated"),
        },
        "Pair": {"key": (1, "string"), "value": (2, "string")},
    },
    {
        "DataType": {
            "TYPE_INVALID": 0,
            "TYPE_BOOL": 1,
            "TYPE_UINT8": 2,
            "TYPE_UINT16": 3,
            "TYPE_UINT32": 4,
            "TYPE_UINT64": 5,
            "TYPE_INT8": 6,
            "TYPE_INT16": 7,
            "TYPE_INT32": 8,
            "TYPE_INT64": 9,
            "TYPE_FP16": 10,
            "TYPE_FP32": 11,
            "TYPE_FP64": 12,
            "TYPE_STRING": 13,
            "TYPE_BF16": 14,
        },
        "Kind": {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2, "KIND_MODEL": 3},
    },
)["ModelConfig"]
"""The part of Triton's ``inference.ModelConfig`` that is written here. A map is a repeated pair in
text and on the wire alike; the fields stand in the order in which they are written."""


@dataclass(frozen=True)
class End:
    """An input or an output of a model."""

    name: str
    type: str
    """Triton's."""
    shape: tuple[int, ...]
    """Without the batch axis."""


def network_config(
    name: str,
    inputs: Sequence[End],
    outputs: Sequence[End],
    *,
    batch: int | None,
    most: int,
    options: Mapping[str, Any],
) -> Message:
    """The configuration (a ``ModelConfig``) of an ONNX model.

    Args:
        name: of the model and of its folder.
        inputs: what it takes.
        outputs: what it gives.
        batch: the batch size that is fixed in it; None: any.
        most: images in a batch that Triton may put together, where the batch size is free.
        options: ``instances`` (copies), ``kind`` (CPU or GPU), ``delay`` (microseconds that a
            request may wait for others) and ``tensorrt`` (whether ONNX Runtime is to use it).
    """
    fixed = [] if batch is None else [batch]
    inside, outside = (
        [{"name": end.name, "data_type": end.type, "dims": [*fixed, *end.shape]} for end in ends]
        for ends in (inputs, outputs)
    )
    more: dict[str, Any] = {}
    if batch is None:
        more["dynamic_batching"] = {
            "preferred_batch_size": sorted({max(1, most // 4), max(1, most // 2), most}),
            "max_queue_delay_microseconds": options["delay"],
        }
    if options["tensorrt"]:
        accelerator = {
            "name": "tensorrt",
            "parameters": [{"key": "precision_mode", "value": "FP16"}],
        }
        more["optimization"] = {
            "execution_accelerators": {"gpu_execution_accelerator": [accelerator]}
        }
    return ModelConfig(
        name=name,
        backend="onnxruntime",
        max_batch_size=most if batch is None else 0,
        input=inside,
        output=outside,
        instance_group=[{"count": options["instances"], "kind": f"KIND_{options['kind'].upper()}"}],
        **more,
    )


def ensemble_config(name: str, first: Message, second: Message) -> Message:
    """The configuration of two models, each with one input and one output, one after the other."""
    between = "prepared"
    steps = [
        _step(first, first.input[0].name, between),
        _step(second, between, second.output[0].name),
    ]
    return ModelConfig(
        name=name,
        platform="ensemble",
        max_batch_size=first.max_batch_size,
        input=first.input,
        output=second.output,
        ensemble_scheduling={"step": steps},
    )


def _step(model: Message, takes: str, gives: str) -> dict[str, Any]:
    return {
        "model_name": model.name,
        "model_version": -1,  # the newest
        "input_map": [{"key": model.input[0].name, "value": takes}],
        "output_map": [{"key": model.output[0].name, "value": gives}],
    }


def require_ends(config: Message, session: Any) -> None:
    """Compare a model's configuration with an ONNX Runtime session of it.

    Raises:
        BundleError: a name, a type or a shape differs.
    """
    skip = 1 if config.max_batch_size else 0  # Triton adds the batch axis itself
    for side, ends, described in (
        ("input", session.get_inputs(), config.input),
        ("output", session.get_outputs(), config.output),
    ):
        said = [(end.name, enum_name(end, "data_type"), list(end.dims)) for end in described]
        real = [(end.name, TYPES.get(end.type, end.type), list(end.shape)[skip:]) for end in ends]
        if said != real:
            raise BundleError(f"{config.name}/{CONFIG} says {side} {said}; the model has {real}.")
