"""One file per tensor, as Paddle wrote models until 2020: a folder or a tar of LoDTensor files.

A file is: version (uint32, 0); number of LoD levels (uint64), each a byte count (uint64) and its
bytes; version (uint32, 0); byte count of a description (int32); the description, a protocol buffer
with field 1 the type and field 2 the dimensions; the values, row by row. All little-endian.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import WeightsError
from ppclas_core.files import building_folder
from ppclas_core.limits import unpacked_bytes

_DTYPES = {
    0: "|b1",
    1: "<i2",
    2: "<i4",
    3: "<i8",
    4: "<f2",
    5: "<f4",
    6: "<f8",
    20: "|u1",
    21: "|i1",
}
"""Of the numbers in Paddle's ``VarType``."""
_CODES = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
_MAX_MEMBERS = 20_000
_GZIP, _BLOCK = b"\x1f\x8b", 512


def is_tar(path: Path) -> bool:
    """Whether the file is a tar, perhaps compressed with gzip; of what it holds a block is read."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            start = (gzip.GzipFile(fileobj=file) if packed else file).read(_BLOCK)
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except (OSError, EOFError, zlib.error, tarfile.HeaderError):
        return False
    return True


def read_scattered(
    path: Path, wanted: set[str], most: int
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The tensors of the names in ``wanted``, and the names of the other files in the folder or tar
    ``path``.

    A tar is read member by member: nothing is unpacked, and only the last part of a member's name
    counts.

    Raises:
        WeightsError: it is neither, it cannot be read, or a wanted file is no tensor or there
            twice.
    """
    state: dict[str, NDArray[Any]] = {}
    others = []
    try:
        for name, content in (_folder if path.is_dir() else _tar)(path, wanted, most):
            if content is None:
                others.append(name)
            elif name in state:
                raise WeightsError(
                    f"{path} has two files called {name}: which one is meant cannot be known"
                )
            else:
                state[name] = _tensor(f"{path}/{name}", content)
    except (OSError, tarfile.TarError, EOFError, zlib.error, _TooLargeError) as error:
        raise WeightsError(
            f"{path} cannot be read as a folder or tar of tensors: {error}"
        ) from error
    return state, others


def write_scattered(folder: Path, state: Mapping[str, NDArray[Any]]) -> None:
    """Write each tensor to a file of its name in ``folder``, which must not exist yet.

    Raises:
        WeightsError: there is something of that name, or it cannot be written.
    """
    if folder.exists():
        raise WeightsError(f"{folder} is there already: give a folder that does not exist yet")
    try:
        with building_folder(folder) as temporary:
            for name, array in state.items():
                (temporary / name).write_bytes(_bytes(name, array))
    except OSError as error:
        raise WeightsError(f"cannot write {folder}: {error.strerror or error}") from error


# The files


class _TooLargeError(Exception):
    """More than the tensors of a model can be."""


class _Counted(io.RawIOBase):
    """What ``file`` holds, up to ``most`` bytes: a tar's own headers can be bombs too."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._left, self._most = file, most, most

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise _TooLargeError(f"more than {self._most:,} bytes, which no such model has")
        return content


def _folder(folder: Path, wanted: set[str], most: int) -> Iterator[tuple[str, bytes | None]]:
    left = most
    for file in sorted(folder.iterdir()):
        if file.is_file():
            left -= file.stat().st_size if file.name in wanted else 0
            if left < 0:
                raise _TooLargeError(f"more than {most:,} bytes, which no such model has")
            yield file.name, file.read_bytes() if file.name in wanted else None


def _tar(path: Path, wanted: set[str], most: int) -> Iterator[tuple[str, bytes | None]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        plain: Any = gzip.GzipFile(fileobj=file) if packed else file
        # What a pipe would give, so that nothing is read twice.
        counted = _Counted(plain, min(most, unpacked_bytes(size)) if packed else most)
        with tarfile.open(fileobj=counted, mode="r|") as archive:
            for count, member in enumerate(archive):
                if count >= _MAX_MEMBERS:
                    raise _TooLargeError(f"more than {_MAX_MEMBERS} members")
                if member.issparse():
                    raise _TooLargeError(f"{member.name} is a sparse file, which no tensor is")
                if member.size > most:  # its end would be looked for block by block, for minutes
                    raise _TooLargeError(
                        f"{member.name} says {member.size:,} bytes, which no such model has"
                    )
                if not member.isfile():  # folders; links and devices have no content of their own
                    continue
                name = PurePosixPath(member.name).name
                opened = archive.extractfile(member) if name in wanted else None
                yield name, None if opened is None else opened.read()


# A tensor


def _tensor(where: str, content: bytes) -> NDArray[Any]:
    try:
        return _parse(content)
    except (struct.error, ValueError, IndexError) as error:
        raise WeightsError(
            f"{where} is no tensor as Paddle wrote it, or is cut off ({error})"
        ) from error


def _parse(content: bytes) -> NDArray[Any]:
    version, levels = struct.unpack_from("<IQ", content)
    offset = 12
    if version != 0 or levels > 8:
        raise ValueError(f"version {version} with {levels} LoD levels")
    for _ in range(levels):
        (size,) = struct.unpack_from("<Q", content, offset)
        offset += 8 + size
    version, size = struct.unpack_from("<Ii", content, offset)
    offset += 8
    if version != 0 or not 0 < size <= len(content) - offset:
        raise ValueError(f"version {version} with a description of {size} bytes")
    code, shape = _description(content[offset : offset + size])
    if code not in _DTYPES:
        raise ValueError(f"unknown type {code}")
    dtype = np.dtype(_DTYPES[code])
    values = memoryview(content)[offset + size :]
    if any(n < 0 for n in shape) or prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"{len(values)} bytes of values for the shape {shape} of {dtype}")
    return np.frombuffer(values, dtype).reshape(shape)


def _description(buffer: bytes) -> tuple[int, list[int]]:
    code, shape, offset = -1, [], 0
    while offset < len(buffer):
        tag, offset = _varint(buffer, offset)
        if tag == 0x08:
            code, offset = _varint(buffer, offset)
        elif tag == 0x10:
            dimension, offset = _varint(buffer, offset)
            shape.append(dimension)
        elif tag == 0x12:  # all dimensions in one field
            end, offset = _varint(buffer, offset)
            end += offset
            while offset < end:
                dimension, offset = _varint(buffer, offset)
                shape.append(dimension)
        else:
            raise ValueError(f"unknown field {tag:#x} in the description")
    return code, shape


def _varint(buffer: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = buffer[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
    raise ValueError("a number of more than ten bytes")


def _bytes(name: str, array: NDArray[Any]) -> bytes:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if little.dtype not in _CODES:
        raise WeightsError(f"{name} is {array.dtype}, which this format cannot hold")
    description = b"\x08" + _to_varint(_CODES[little.dtype])
    description += b"".join(b"\x10" + _to_varint(size) for size in array.shape)
    return struct.pack("<IQIi", 0, 0, 0, len(description)) + description + little.tobytes()


def _to_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
