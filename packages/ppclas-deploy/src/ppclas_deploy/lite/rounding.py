"""Round a program's weights to what Paddle-Lite stores of them as int8 or int16. Importing this
module imports Paddle.

Lite's x86 runtime does not read such weights, so a ``.nb`` with them cannot be asked here. But a
program whose weights are multiples of Lite's own steps loses nothing more when it is stored, and
converted with float32 weights it can be asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from paddle.base.proto import framework_pb2
from ppclas_core.errors import ExportError

_AXIS = {"conv2d": 0, "mul": 1, "matmul_v2": 1}
"""Operators whose weights Lite 2.12 stores as integers → the axis with a step for each channel.
Depthwise convolutions stay float, and a bias with a step of its own for each number loses
nothing."""
_HEADER = np.dtype(
    [("version", "<u4"), ("levels", "<u8"), ("tensor_version", "<u4"), ("size", "<i4")]
)
"""What stands before a tensor's description in a file of parameters."""


def round_weights(model: Path, params: Path, bits: Literal[8, 16]) -> int:
    """Round weights in ``params``, in place, as Lite's ``post_quant_dynamic_pass`` does; how many
    tensors that were.

    Args:
        model: the old-IR program (.pdmodel).
        params: its parameters (.pdiparams), in the order of their names.
        bits: of a stored weight.

    Raises:
        ExportError: the file is not laid out as expected.
    """
    program = framework_pb2.ProgramDesc()
    program.ParseFromString(model.read_bytes())
    block = program.blocks[0]
    axes = {
        name: _AXIS[operator.type]
        for operator in block.ops
        if operator.type in _AXIS
        for group in operator.inputs
        for name in group.arguments
    }
    names = sorted(
        each.name for each in block.vars if each.persistable and each.name not in ("feed", "fetch")
    )
    content = bytearray(params.read_bytes())
    place, rounded = 0, 0
    for name in names:
        values, place = _read(content, place, name)
        if name in axes and values.ndim > 1:
            values[...] = round_to_steps(values, axes[name], bits)
            rounded += 1
    if place != len(content):
        raise ExportError(
            f"{params.name} has {len(content) - place} bytes more than {model.name} tells of."
        )
    params.write_bytes(content)
    return rounded


def round_to_steps(weights: NDArray[np.float32], axis: int, bits: int) -> NDArray[np.float32]:
    """The nearest multiple of a step for each channel along ``axis``: its largest magnitude /
    (2^(bits-1) - 1).
    """
    others = tuple(other for other in range(weights.ndim) if other != axis)
    step = np.abs(weights).max(axis=others, keepdims=True) / (2 ** (bits - 1) - 1)
    step = np.where(step > 0, step, 1)
    return np.asarray(np.rint(weights / step) * step, dtype=np.float32)


def _read(content: bytearray, place: int, name: str) -> tuple[NDArray[Any], int]:
    """The tensor at ``place``, as a view to write to, and where the next one begins."""
    try:
        header = np.frombuffer(content, _HEADER, 1, place)[0]
        start = place + _HEADER.itemsize
        end = start + int(header["size"])
        description = framework_pb2.VarType.TensorDesc()
        description.ParseFromString(bytes(content[start:end]))
        if header["levels"] or description.data_type != framework_pb2.VarType.FP32:
            raise ValueError("no plain float32 tensor")
        values = np.frombuffer(content, "<f4", int(np.prod(description.dims)), end).reshape(
            tuple(description.dims)
        )
    except (DecodeError, ValueError) as error:  # no description; a short file, a strange header
        raise ExportError(f"the parameter {name} cannot be read to round it: {error}") from error
    return values, end + values.nbytes
