"""Numbers from a MATLAB 5 file, the format in which flowers102 keeps its labels and its split.

Only real arrays of numbers are read, which is all that is needed; nothing in the file is executed.
Format: "MAT-File Format", The MathWorks, chapter 1.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import DataError

MAX_BYTES = 1 << 26
"""Largest file, and largest array in it: 64 MiB."""
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_DTYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_NUMBERS = range(6, 16)
"""Classes of arrays that hold numbers, double to uint64."""


def read_mat(path: str | Path) -> dict[str, NDArray[np.float64]]:
    """Every array of numbers in a file, by its name, flattened in MATLAB's order.

    Raises:
        DataError: not such a file, damaged, or too large.
    """
    try:
        size = Path(path).stat().st_size
        data = Path(path).read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if size > MAX_BYTES:
        raise DataError(
            f"{path}: expected a MATLAB file of at most {MAX_BYTES:,} bytes, got {size:,}"
        )
    if len(data) < _HEADER or data[126:128] != b"IM":
        raise DataError(
            f"{path}: expected a little-endian MATLAB 5 file (save -v7), got something else"
        )
    try:
        return dict(
            array for kind, body in _elements(data[_HEADER:]) for array in _arrays(kind, body)
        )
    except (ValueError, IndexError, KeyError, zlib.error) as error:
        raise DataError(f"{path}: damaged MATLAB file: {error}") from None


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, content) of the elements that follow each other in ``data``."""
    position = 0
    while position + 8 <= len(data):
        kind, size = (
            int.from_bytes(data[position + i : position + i + 4], "little") for i in (0, 4)
        )
        start = position + 8
        if kind >> 16:  # up to four bytes of content stand in the tag itself
            kind, size, start = kind & 0xFFFF, kind >> 16, position + 4
        if size > len(data) - start or (start == position + 4 and size > 4):
            raise ValueError(f"an element of {size} bytes reaches beyond its end")
        yield kind, data[start : start + size]
        # Content is padded to whole eights, except where it is compressed.
        position = (
            position + 8
            if start == position + 4
            else start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        )


def _arrays(kind: int, body: bytes) -> Iterator[tuple[str, NDArray[np.float64]]]:
    if kind == _COMPRESSED:
        inflate = zlib.decompressobj()
        whole = inflate.decompress(body, MAX_BYTES)
        if inflate.unconsumed_tail:
            raise ValueError(f"an array is larger than {MAX_BYTES:,} bytes")
        for inner, content in _elements(whole):
            if inner == _MATRIX:
                yield from _arrays(inner, content)
    elif kind == _MATRIX:
        parts = list(_elements(body))
        if len(parts) == 4 and parts[0][1][0] in _NUMBERS:  # flags, sizes, name, real part
            _, (_, sizes), (_, name), (stored, numbers) = parts
            values = np.frombuffer(numbers, np.dtype(_DTYPES[stored]).newbyteorder("<")).astype(
                np.float64
            )
            if values.size != np.prod(np.frombuffer(sizes, "<i4")):
                raise ValueError(
                    f"the array {name.decode('latin-1')!r} has another size than it says"
                )
            yield name.decode("latin-1"), values
