"""Pictures of more than 8 bits per sample: the range of their samples, and how it becomes 0..255.

The range is the one that the file declares: 0 to 2**bits - 1 of a TIFF's BitsPerSample and of a
JPEG 2000's header, 0 to the maximum of a PGM's header, 0 to 65535 of a PNG.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_DEPTHS = range(9, 17)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _FORMAT = 256, 257, 258, 262, 277, 339
_UNSIGNED, _SIGNED, _FLOATING = 1, 2, 3
_MAX_TAGS = 1000
_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SIZ = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000's codestream, which may be a file of its own."""
_JPEG_2000 = (b"\0\0\0\x0cjP  ", _SIZ)
_SIZES = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""TIFF type → its code in ``struct``."""


class TiffHeader(NamedTuple):
    """What the first directory of a TIFF says of its samples."""

    height: int
    width: int
    bits: int
    samples: int
    photometric: int
    format: int

    @property
    def has_no_range(self) -> bool:
        """Whether the samples are signed, floating-point, or of more than 16 bits."""
        return self.bits > 16 or self.format in (_SIGNED, _FLOATING)

    @property
    def words(self) -> str:
        """What it is, for a message: ``a TIFF of 64-bit floating-point samples``."""
        kind = {_SIGNED: "signed ", _FLOATING: "floating-point "}.get(self.format, "")
        return f"a TIFF of {self.bits}-bit {kind}samples"

    @property
    def is_deep(self) -> bool:
        """Whether it is unsigned grey or RGB of 9 to 16 bits per sample."""
        grey = self.samples == 1 and self.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
        colour = self.samples == 3 and self.photometric == _RGB
        return self.format == _UNSIGNED and self.bits in _DEPTHS and (grey or colour)


def read_tiff_header(data: bytes) -> TiffHeader | None:
    """The header of a TIFF or BigTIFF; None of anything else, and of one that is cut before its
    end.
    """
    if not data.startswith(_TIFF):
        return None
    order = "<" if data.startswith(b"II") else ">"
    # A BigTIFF has an offset of 8 bytes where a TIFF has 4, and 8 for the number of its tags.
    size, long, number_of = (8, "Q", "Q") if b"+" in data[:4] else (4, "I", "H")
    before = struct.calcsize(order + number_of)
    tags: dict[int, int] = {}
    try:
        (start,) = struct.unpack_from(order + long, data, size)
        (count,) = struct.unpack_from(order + number_of, data, start)
        for place in range(min(count, _MAX_TAGS)):
            at = start + before + (4 + 2 * size) * place
            tag, kind, number = struct.unpack_from(f"{order}HH{long}", data, at)
            if kind not in _SIZES or not number:
                continue
            at += 4 + size
            if struct.calcsize(_SIZES[kind]) * number > size:  # not in the entry itself
                (at,) = struct.unpack_from(order + long, data, at)
            tags[tag] = struct.unpack_from(order + _SIZES[kind], data, at)[0]
    except (struct.error, OverflowError):
        return None
    if _WIDTH not in tags or _HEIGHT not in tags:
        return None
    return TiffHeader(
        tags[_HEIGHT],
        tags[_WIDTH],
        tags.get(_BITS, 1),
        tags.get(_SAMPLES, 1),
        tags.get(_PHOTOMETRIC, _BLACK_IS_ZERO),
        tags.get(_FORMAT, _UNSIGNED),
    )


def decode_deep_tiff(data: bytes, header: TiffHeader) -> NDArray[np.uint8] | None:
    """Upright pixels [H, W, 3] uint8 RGB of a TIFF that ``is_deep``; None: it cannot be read.

    OpenCV reads every depth from 9 to 16, in either byte order, and turns the picture upright.
    Pillow reads few of them.
    """
    samples = _read_deep_tiff(data, header)
    if samples is None:
        return None
    pixels = to_8_bits(samples, 2**header.bits - 1)
    if header.samples == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    if header.photometric == _WHITE_IS_ZERO:
        pixels = 255 - pixels
    return np.repeat(pixels[..., None], 3, axis=2)


def _read_deep_tiff(data: bytes, header: TiffHeader) -> NDArray[np.uint16] | None:
    try:
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if read is None or read.dtype != np.uint16 or read.ndim != (2 if header.samples == 1 else 3):
        return None
    # OpenCV puts the bits of a sample at the upper end of 16.
    return (read >> (16 - header.bits)).astype(np.uint16)


def deep_samples(data: bytes) -> NDArray[np.uint16] | None:
    """Upright samples, grey [H, W] or RGB [H, W, 3], 0 is black, of a picture of more than 8 bits a
    sample, in the file's own units; None of others, and where it cannot be read.

    The picture is decoded: its size must have been checked (``size_in_header``).
    """
    header = read_tiff_header(data)
    if header is None:
        if _declared(data) is None:
            return None
        try:
            kept = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
            read = cv2.imdecode(np.frombuffer(data, np.uint8), kept)
        except cv2.error:
            return None
        if read is None or read.dtype != np.uint16 or not _fits(read):
            return None
        samples = read.astype(np.uint16)
    else:
        found = _read_deep_tiff(data, header) if header.is_deep else None
        if found is None:
            return None
        white_is_zero = header.photometric == _WHITE_IS_ZERO
        samples = (2**header.bits - 1 - found).astype(np.uint16) if white_is_zero else found
    return samples if samples.ndim == 2 else np.ascontiguousarray(samples[..., ::-1])


def _fits(read: NDArray[Any]) -> bool:
    return read.ndim == 2 or read.shape[2] == 3


def to_8_bits(samples: NDArray[np.uint16], full: int) -> NDArray[np.uint8]:
    """Samples in 0..``full`` as 0..255, rounded.

    >>> to_8_bits(np.array([0, 2048, 4095], np.uint16), 4095).tolist()
    [0, 128, 255]
    """
    full = min(full, 65535)
    table = (np.arange(full + 1, dtype=np.int64) * 510 + full) // (2 * full)
    return table.astype(np.uint8)[np.minimum(samples, full)]


def used_range(data: bytes) -> tuple[int, int] | None:
    """(largest sample, largest that the file's declared range has) of a grey or RGB picture of more
    than 8 bits per sample; None of others, and where it cannot be read.

    The picture is decoded: its size must have been checked (``size_in_header``).
    """
    full = _declared(data)
    if full is None:
        return None
    try:
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # what is wrong with it is said where it is decoded
        return None
    if read is None or read.dtype != np.uint16:
        return None
    opaque = read[..., :3] if read.ndim == 3 else read
    # OpenCV puts the bits of a TIFF's sample at the upper end of 16.
    unused = 16 - full.bit_length() if data.startswith(_TIFF) else 0
    return int(opaque.max()) >> unused, full


def _declared(data: bytes) -> int | None:
    """The largest sample of the range that a picture of more than 8 bits per sample declares; None
    of others.
    """
    full = 0
    if data.startswith(_TIFF):
        header = read_tiff_header(data)
        if header is not None and header.format == _UNSIGNED and header.samples in (1, 3, 4):
            full = 2**header.bits - 1 if header.bits in _DEPTHS else 0
    elif data.startswith(_PNG):
        full = 65535 if data[24:25] == b"\x10" else 0
    elif data.startswith((b"P2", b"P3", b"P5", b"P6")):
        full = _pgm_maximum(data)
    elif data.startswith(_JPEG_2000):
        size = data.find(_SIZ)  # sides, offsets and tiles, then the components: bits less one
        full = 2 ** ((data[size + 42] & 127) + 1) - 1 if 0 <= size < len(data) - 42 else 0
    return full if 255 < full < 65536 else None


def _pgm_maximum(data: bytes) -> int:
    """The third number of a PGM's header, 0 where there is none; comments begin with #."""
    words = b"\n".join(line.partition(b"#")[0] for line in data[:4096].split(b"\n")).split(None, 4)
    return int(words[3]) if len(words) > 3 and words[3].isdigit() else 0
