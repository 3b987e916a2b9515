"""JPEG: what a header says, and decoding no more of a photo than is used.

A box of a photo that will be made smaller is read at 1/2, 1/4 or 1/8 of the resolution where that
still covers the smaller size: the decoder then computes smaller blocks, which averages the pixels
as a good resize would. With simplejpeg (the extra ``[turbo]``) decoding also ends below the box.
simplejpeg and OpenCV are both libjpeg-turbo and give the same pixels.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import ImageError

from ppclas_data.transforms.window import Window

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

SIGNATURE = b"\xff\xd8\xff"

_NO_LENGTH = {0x01, *range(0xD0, 0xD9)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SCAN, _EXIF = 0xDA, 0xE1
_ORIENTATION = 0x0112

_TURNS = {
    # EXIF orientation: (transpose, then mirror top-bottom, then mirror left-right) makes the
    # picture upright.
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
_UPRIGHT = (False, False, False)
_FLIPS = {(True, False): 0, (False, True): 1, (True, True): -1}
"""OpenCV's code for (mirror top-bottom, mirror left-right)."""
_OPENCV_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_DAMAGE = re.compile(
    r"premature end|bad Huffman|bad arithmetic|instead of RST|marker 0xd[0-7]|"
    r"inconsistent progression",
    re.IGNORECASE,
)
"""What libjpeg says of a damaged picture. Bytes left over at its end (before marker 0xd9) are some
cameras' habit."""
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_FEW_BYTES = 64
_FILLING = 8
"""Different values in bytes that only fill; the code of a picture has nearly all 256."""
_ROWS_BELOW = 2
"""Decoded below the box: a row's colours are interpolated from the next row of the (coarser) colour
planes."""


class JpegHeader(NamedTuple):
    """What stands before the pixels of a JPEG."""

    stored_height: int
    stored_width: int
    components: int
    """1 for grey, 3 for RGB, 4 for CMYK."""
    orientation: int
    """EXIF orientation, 1..8; 1 is upright."""
    height_at: int
    """Where in the file the height stands."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the upright picture."""
        transpose = self._turn[0]
        return (
            (self.stored_width, self.stored_height)
            if transpose
            else (self.stored_height, self.stored_width)
        )

    @property
    def _turn(self) -> tuple[bool, bool, bool]:
        return _TURNS.get(self.orientation, _UPRIGHT)

    def stored_box(self, window: Window) -> tuple[int, int, int, int]:
        """(top, left, height, width) of ``window`` in the picture as it is stored."""
        transpose, rows_mirrored, columns_mirrored = self._turn
        height, width = self.size
        top = height - window.top - window.height if rows_mirrored else window.top
        left = width - window.left - window.width if columns_mirrored else window.left
        return (
            (left, top, window.width, window.height)
            if transpose
            else (top, left, window.height, window.width)
        )

    def upright(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pixels [h, w, 3] of a part of the stored picture, turned as a person sees them."""
        transpose, rows_mirrored, columns_mirrored = self._turn
        turned = cv2.transpose(stored) if transpose else stored
        flip = _FLIPS.get((rows_mirrored, columns_mirrored))
        return turned if flip is None else cv2.flip(turned, flip)


def decoder_name() -> str:
    """The library that decodes JPEGs, and its version."""
    return (
        f"simplejpeg {simplejpeg.__version__}"
        if simplejpeg is not None
        else f"OpenCV {cv2.__version__}"
    )


def decoder_note() -> str:
    """The decoder, and how to get a faster one."""
    faster = (
        "" if simplejpeg is not None else " (for a faster one: pip install 'ppclas-data[turbo]')"
    )
    return decoder_name() + faster


def read_header(data: bytes, where: str) -> JpegHeader:
    """The header of a JPEG that is complete.

    libjpeg fills what is missing of a cut file with grey and says nothing, so the end marker is
    looked for here.

    Raises:
        ImageError: damaged or cut short.
    """
    position, orientation = 2, 1
    height = width = components = height_at = 0
    while position + 4 <= len(data):
        if data[position] != 0xFF or data[position + 1] == 0:
            # Stray bytes between segments, which libjpeg and every viewer skip.
            position = data.find(b"\xff", position + 1)
            if position < 0:
                break
            continue
        marker = data[position + 1]
        if marker == 0xFF or marker in _NO_LENGTH:  # fill bytes may precede a marker
            position += 1 if marker == 0xFF else 2
            continue
        length = data[position + 2] << 8 | data[position + 3]
        if length < 2:
            raise ImageError(f"{where}: damaged JPEG, a segment of {length} bytes at {position}")
        if marker in _FRAMES and position + 10 <= len(data):
            height_at = position + 5
            height = data[position + 5] << 8 | data[position + 6]
            width = data[position + 7] << 8 | data[position + 8]
            components = data[position + 9]
        elif marker == _EXIF and data.startswith(b"Exif\0\0", position + 4):
            orientation = _read_orientation(data[position + 4 : position + 2 + length])
        elif marker == _SCAN:
            # From the end: it is at the end of most files, and a thumbnail before the scan has one
            # of its own.
            if data.rfind(b"\xff\xd9", position) < 0:
                break
            return JpegHeader(height, width, components, orientation, height_at)
        position += 2 + length
    raise ImageError(f"{where}: truncated JPEG, its end is missing after {len(data)} bytes")


def decode_jpeg(
    data: bytes, header: JpegHeader, window: Window | None = None
) -> NDArray[np.uint8] | None:
    """Upright pixels [h, w, 3] uint8 RGB of ``window``, or of the whole picture.

    ``(h, w)`` is the window's own size, or 1/2, 1/4 or 1/8 of it, rounded; never less than
    ``window.size`` unless the window itself is. None: the decoder cannot read this file.
    """
    if window is None:
        pixels = _decode_rows(data, header, header.stored_height, 1)
        return None if pixels is None else header.upright(pixels)
    scale = _scale(window)
    top, left, height, width = header.stored_box(window)
    pixels = _decode_rows(data, header, top + height, scale)
    if pixels is None:
        return None
    rows = slice(_divided(top, scale), _divided(top + height, scale))
    columns = slice(_divided(left, scale), _divided(left + width, scale))
    return header.upright(pixels[rows, columns])


def can_find_damage() -> bool:
    """Whether ``find_damage`` can tell anything: it takes simplejpeg."""
    return simplejpeg is not None


def find_damage(data: bytes) -> str:
    """What is wrong with the pixels of a JPEG that is complete, which decoders fill with grey;
    nothing if it is whole.

    Raises:
        ImageError: as ``read_header``.
    """
    if simplejpeg is None or read_header(data, "photo").components not in (1, 3):
        return ""
    try:
        # At 1/8 of the resolution: all of the scan is read, in a third of the time.
        simplejpeg.decode_jpeg(data, min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError as error:
        said = str(error)
        return said if _DAMAGE.search(said) or _left_over(said, data) else ""
    return ""


def _left_over(said: str, data: bytes) -> bool:
    """Whether bytes that are left over at the end are of the picture, and not a camera's filling:
    then a piece before them is missing, or wrong."""
    found = _LEFT_OVER.search(said)
    if found is None or int(found[1]) < _FEW_BYTES:
        return False
    end = data.rfind(b"\xff\xd9")
    return len(set(data[max(0, end - int(found[1])) : end])) > _FILLING


def _scale(window: Window) -> int:
    """The largest of 8, 4, 2, 1 by which the window can be divided and is not enlarged later."""
    # These ask for the pixels of the picture as it is.
    if window.interpolation == "nearest" or window.antialias:
        return 1
    height, width = window.size
    return next(
        (n for n in (8, 4, 2) if window.height // n >= height and window.width // n >= width), 1
    )


def _divided(edge: int, scale: int) -> int:
    return (edge + scale // 2) // scale


def _decode_rows(
    data: bytes, header: JpegHeader, bottom: int, scale: int
) -> NDArray[np.uint8] | None:
    """The stored picture at 1/``scale``, [h, w, 3] RGB, at least down to row ``bottom``."""
    if simplejpeg is not None:
        rows = min(header.stored_height, bottom + _ROWS_BELOW * scale)
        try:
            # Not strict, as OpenCV: a damaged spot in the picture is no reason to do without it.
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
                _shortened(data, header, rows),
                strict=False,
                **_factor(rows, header.stored_width, scale),
            )
        except ValueError:  # what it cannot read, OpenCV or Pillow may
            pass
        else:
            return pixels
    try:
        read = cv2.imdecode(
            np.frombuffer(data, np.uint8), _OPENCV_FLAGS[scale] | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error:  # sides above 2**20
        return None
    return None if read is None else cv2.cvtColor(read, cv2.COLOR_BGR2RGB)


def _factor(height: int, width: int, scale: int) -> dict[str, int]:
    """What makes simplejpeg divide by ``scale``: it takes the smallest size that is enough."""
    return (
        {"min_height": -(-height // scale), "min_width": -(-width // scale), "min_factor": scale}
        if scale > 1
        else {}
    )


def _shortened(data: bytes, header: JpegHeader, rows: int) -> bytes | bytearray:
    """The file with ``rows`` as its height: the decoder stops there, the rows are the same."""
    if rows == header.stored_height:
        return data
    copy = bytearray(data)
    copy[header.height_at : header.height_at + 2] = rows.to_bytes(2, "big")
    return copy


def _read_orientation(exif: bytes) -> int:
    # Deferred: a worker whose photos have no EXIF data starts sooner without it.
    from PIL import Image

    tags = Image.Exif()
    try:
        tags.load(exif)
        orientation = tags.get(_ORIENTATION, 1)
    except Exception:  # Pillow raises whatever the damage leads to; without a tag nothing is turned
        return 1
    return orientation if isinstance(orientation, int) else 1
