"""Tensors of the Open Inference Protocol: JSON, and the extension with binary data."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppclas_serve.backend.problems import Problem

_TYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


def read_tensor(tensor: Mapping[str, Any], binary: bytes | None) -> NDArray[Any] | list[bytes]:
    """A tensor of a request: its array, or the elements of a tensor of BYTES.

    Args:
        tensor: its JSON: ``name``, ``shape``, ``datatype``, and ``data`` where that is not binary.
        binary: its bytes, where it is.

    Raises:
        Problem: the parts do not fit each other.
    """
    name, kind, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if not isinstance(shape, list) or not all(type(d) is int and 0 <= d < 1 << 31 for d in shape):
        raise Problem(
            422, f"Input {name!r}: shape should be a list of whole numbers, got {shape!r}."
        )
    count = math.prod(shape)
    if kind == "BYTES":
        elements = _split(name, binary) if binary is not None else _decoded(name, tensor)
        if len(elements) != count:
            raise Problem(
                422, f"Input {name!r}: shape {shape} has {count} elements, got {len(elements)}."
            )
        return elements
    if not isinstance(kind, str) or kind not in _TYPES:
        raise Problem(
            422, f"Input {name!r}: datatype should be BYTES or {', '.join(_TYPES)}, got {kind!r}."
        )
    dtype = np.dtype(_TYPES[kind])
    if binary is not None:
        if len(binary) != count * dtype.itemsize:
            raise Problem(
                422,
                f"Input {name!r}: {kind} {shape} has {count * dtype.itemsize} bytes, got "
                f"{len(binary)}.",
            )
        return np.frombuffer(binary, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    data = tensor.get("data")
    if not isinstance(data, list):
        raise Problem(422, f"Input {name!r}: data should be a list, got {_kind(data)}.")
    try:
        array = np.asarray(data, dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise Problem(422, f"Input {name!r}: data is not {kind}: {error}.") from None
    if array.size != count:
        raise Problem(422, f"Input {name!r}: shape {shape} has {count} elements, got {array.size}.")
    return array.reshape(shape)


def write_bytes(elements: Sequence[bytes]) -> bytes:
    """A tensor of BYTES in binary: before each element its length, 4 bytes, little endian."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def decode_base64(text: Any, where: str) -> bytes:
    """The bytes behind base64, with or without ``data:image/...;base64,`` before it.

    Raises:
        Problem: it is not that.
    """
    if not isinstance(text, str):
        raise Problem(422, f"{where} should be a string in base64, got {_kind(text)}.")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(422, f"{where} is not base64: {error}.") from None


def _split(name: Any, binary: bytes) -> list[bytes]:
    elements, position = [], 0
    while position < len(binary):
        if position + 4 > len(binary):
            raise Problem(422, f"Input {name!r}: its binary data ends within a length.")
        (length,) = struct.unpack_from("<I", binary, position)
        position += 4 + length
        if position > len(binary):
            raise Problem(422, f"Input {name!r}: its binary data ends within an element.")
        elements.append(binary[position - length : position])
    return elements


def _decoded(name: Any, tensor: Mapping[str, Any]) -> list[bytes]:
    data = tensor.get("data")
    if not isinstance(data, list):
        raise Problem(422, f"Input {name!r}: data should be a list of base64, got {_kind(data)}.")
    flat = data[0] if len(data) == 1 and isinstance(data[0], list) else data
    return [
        decode_base64(text, f"Input {name!r}: element {index}") for index, text in enumerate(flat)
    ]


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__
