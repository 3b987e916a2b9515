"""Triton model repositories: config.pbtxt written, strictly read, and compared with the models it
describes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppclas_core.errors import BundleError

from ppclas_deploy.prototext import Field

CONFIG = "config.pbtxt"
MODEL = "model.onnx"
TYPES = {
    "tensor(float)": "TYPE_FP32",
    "tensor(float16)": "TYPE_FP16",
    "tensor(uint8)": "TYPE_UINT8",
}
"""ONNX Runtime's type → Triton's."""

_TYPE_NAMES = tuple(TYPES.values())
_INPUT_END = {
    "name": Field(1, "string"),
    "data_type": Field(2, "enum", values=_TYPE_NAMES),
    "dims": Field(4, "int", repeated=True),
}
_OUTPUT_END = {
    **_INPUT_END,
    "dims": Field(3, "int", repeated=True),
    "label_filename": Field(4, "string"),
}
_PAIR = {"key": Field(1, "string"), "value": Field(2, "string")}
_STEP = {
    "model_name": Field(1, "string"),
    "model_version": Field(2, "int"),
    "input_map": Field(3, "message", repeated=True, fields=_PAIR),
    "output_map": Field(4, "message", repeated=True, fields=_PAIR),
}
_ACCELERATOR = {
    "name": Field(1, "string"),
    "parameters": Field(2, "message", repeated=True, fields=_PAIR),
}
SCHEMA = {
    "name": Field(1, "string"),
    "platform": Field(2, "string"),
    "backend": Field(17, "string"),
    "max_batch_size": Field(4, "int"),
    "input": Field(5, "message", repeated=True, fields=_INPUT_END),
    "output": Field(6, "message", repeated=True, fields=_OUTPUT_END),
    "dynamic_batching": Field(
        11,
        "message",
        fields={
            "preferred_batch_size": Field(1, "int", repeated=True),
            "max_queue_delay_microseconds": Field(2, "int"),
        },
    ),
    "instance_group": Field(
        7,
        "message",
        repeated=True,
        fields={
            "count": Field(2, "int"),
            "kind": Field(4, "enum", values=("KIND_AUTO", "KIND_GPU", "KIND_CPU")),
        },
    ),
    "optimization": Field(
        12,
        "message",
        fields={
            "execution_accelerators": Field(
                4,
                "message",
                fields={
                    "gpu_execution_accelerator": Field(
                        1, "message", repeated=True, fields=_ACCELERATOR
                    )
                },
            )
        },
    ),
    "ensemble_scheduling": Field(
        15, "message", fields={"step": Field(1, "message", repeated=True, fields=_STEP)}
    ),
}
"""The part of inference.ModelConfig that is written here."""


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
) -> dict[str, Any]:
    """The configuration of an ONNX model.

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
    config: dict[str, Any] = {
        "name": name,
        "backend": "onnxruntime",
        "max_batch_size": most if batch is None else 0,
        "input": [
            {"name": end.name, "data_type": end.type, "dims": [*fixed, *end.shape]}
            for end in inputs
        ],
        "output": [
            {"name": end.name, "data_type": end.type, "dims": [*fixed, *end.shape]}
            for end in outputs
        ],
        "instance_group": [
            {"count": options["instances"], "kind": f"KIND_{options['kind'].upper()}"}
        ],
    }
    if batch is None:
        preferred = sorted({max(1, most // 4), max(1, most // 2), most})
        config["dynamic_batching"] = {
            "preferred_batch_size": preferred,
            "max_queue_delay_microseconds": options["delay"],
        }
    if options["tensorrt"]:
        accelerator = {
            "name": "tensorrt",
            "parameters": [{"key": "precision_mode", "value": "FP16"}],
        }
        config["optimization"] = {
            "execution_accelerators": {"gpu_execution_accelerator": [accelerator]}
        }
    return config


def ensemble_config(
    name: str, first: Mapping[str, Any], second: Mapping[str, Any]
) -> dict[str, Any]:
    """The configuration of two models, each with one input and one output, one after the other."""
    between = "prepared"
    return {
        "name": name,
        "platform": "ensemble",
        "max_batch_size": first["max_batch_size"],
        "input": first["input"],
        "output": second["output"],
        "ensemble_scheduling": {
            "step": [
                _step(first, first["input"][0]["name"], between),
                _step(second, between, second["output"][0]["name"]),
            ]
        },
    }


def _step(model: Mapping[str, Any], takes: str, gives: str) -> dict[str, Any]:
    return {
        "model_name": model["name"],
        "model_version": -1,
        "input_map": [{"key": model["input"][0]["name"], "value": takes}],
        "output_map": [{"key": model["output"][0]["name"], "value": gives}],
    }


def require_ends(config: Mapping[str, Any], session: Any) -> None:
    """Compare a model's configuration with an ONNX Runtime session of it.

    Raises:
        BundleError: a name, a type or a shape differs.
    """
    for side, ends in (("input", session.get_inputs()), ("output", session.get_outputs())):
        said = [(end["name"], end["data_type"], end["dims"]) for end in config[side]]
        skip = 1 if config["max_batch_size"] else 0  # Triton adds the batch axis itself
        real = [(end.name, TYPES.get(end.type, end.type), list(end.shape)[skip:]) for end in ends]
        if said != real:
            raise BundleError(
                f"{config['name']}/{CONFIG} says {side} {said}; the model has {real}."
            )
