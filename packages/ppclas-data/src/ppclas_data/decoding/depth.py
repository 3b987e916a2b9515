"""Pictures of more than 8 bits per sample: the range of their samples, and how it becomes 0..255.

The range is the one that the file declares: 0 to 2**bits - 1 of a TIFF's BitsPerSample, 0 to the
maximum of a PGM's header, 0 to 65535 of a PNG.
"""

from __future__ import annotations

import io
import struct
import warnings
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_DEPTHS = range(9, 17)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _FORMAT = 256, 257, 258, 262, 277, 339
_UNSIGNED = 1
_MAX_TAGS = 1000
_PNG = b"\x89PNG\r\n\x1a\n"
_SIZES = {1: "B", 3: "H", 4: "I"}
"""TIFF type → its code in ``struct``."""


class TiffHeader(NamedTuple):
    """What the first directory of a TIFF says of its samples."""

    height: int
    width: int
    bits: int
    samples: int
    photometric: int
    unsigned: bool

    @property
    def is_deep(self) -> bool:
        """Whether it is unsigned grey or RGB of 9 to 16 bits per sample."""
        grey = self.samples == 1 and self.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
        colour = self.samples == 3 and self.photometric == _RGB
        return self.unsigned and self.bits in _DEPTHS and (grey or colour)


def read_tiff_header(data: bytes) -> TiffHeader | None:
    """The header of a TIFF; None of anything else, and of one that is cut before its end."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return None
    tags: dict[int, int] = {}
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for place in range(min(count, _MAX_TAGS)):
            at = start + 2 + 12 * place
            tag, kind, number = struct.unpack_from(f"{order}HHI", data, at)
            if kind not in _SIZES or not number:
                continue
            if struct.calcsize(_SIZES[kind]) * number > 4:  # not in the entry itself
                (at,) = struct.unpack_from(f"{order}I", data, at + 8)
                at -= 8
            tags[tag] = struct.unpack_from(order + _SIZES[kind], data, at + 8)[0]
    except struct.error:
        return None
    if _WIDTH not in tags or _HEIGHT not in tags:
        return None
    return TiffHeader(
        tags[_HEIGHT],
        tags[_WIDTH],
        tags.get(_BITS, 1),
        tags.get(_SAMPLES, 1),
        tags.get(_PHOTOMETRIC, _BLACK_IS_ZERO),
        tags.get(_FORMAT, _UNSIGNED) == _UNSIGNED,
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
    """
    header = read_tiff_header(data)
    if header is None:
        if not data.startswith((_PNG, b"P5", b"P6", b"\0\0\0\x0cjP  ")):
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
    """
    header = read_tiff_header(data)
    if header is not None:
        samples = _read_deep_tiff(data, header) if header.is_deep else None
        return None if samples is None else (int(samples.max()), 2**header.bits - 1)
    is_png = data.startswith(_PNG) and data[24:25] == b"\x10"
    if not is_png and not data.startswith((b"P5", b"P6", b"\0\0\0\x0cjP  ")):
        return None
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as image:
            warnings.simplefilter("ignore")
            grey = image.mode.startswith("I")
        if not grey and not is_png:
            return None
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except Exception:  # what is wrong with it is said where it is decoded
        return None
    if read is None or read.dtype != np.uint16:
        return None
    full = _pgm_maximum(data) if data.startswith(b"P") else 65535
    return int(read.max()), full


def _pgm_maximum(data: bytes) -> int:
    """The third number of a PGM's header; comments begin with #."""
    words = b"\n".join(line.partition(b"#")[0] for line in data[:4096].split(b"\n")).split(None, 4)
    return int(words[3])
