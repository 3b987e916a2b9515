"""Encoded bytes to pixels, as a person sees the picture.

OpenCV reads JPEG and PNG: it is the fastest and turns the image as its EXIF tag says. Pillow reads what OpenCV shows
otherwise than a viewer does, or differently from one release to the next: transparency (OpenCV drops it and the
hidden colours appear), CMYK, GIF, WebP, AVIF, TIFF and BMP. The content decides, never the file name.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import warnings
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ppclas_core.errors import ImageError

MAX_PIXELS = 178_956_970
"""Largest image that is decoded, height times width: Pillow's own limit against decompression bombs."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_NO_LENGTH = {0x01, *range(0xD0, 0xD9)}
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_NOT_IMAGES = (
    (
        re.compile(rb"\s*(<!doctype html|<html|<head|<\?xml)", re.IGNORECASE),
        "an HTML or XML page, perhaps of a failed download",
    ),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer; run 'git lfs pull' to get the file itself"),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!"), "an archive"),
    (re.compile(rb"%PDF"), "a PDF"),
    (re.compile(rb"....ftyp(heic|heix|hevc|mif1|msf1)", re.DOTALL), "a HEIC photo; convert it to JPEG first"),
    (re.compile(rb"....ftyp", re.DOTALL), "a video"),
    (re.compile(rb"[\t\n\r\x20-\x7e]+\Z"), "text"),
)


def decode(data: bytes, where: str) -> NDArray[np.uint8]:
    """Pixels [H, W, 3] uint8 RGB of an encoded image.

    The EXIF orientation is applied, transparency is laid over white, 16 bits a channel become 8, grey becomes three
    equal channels, and of an animation the first frame is taken (``ppclas data check`` counts those).

    Args:
        data: the whole file.
        where: what to call it in messages: a path, or list file and line.

    Raises:
        ImageError: not an image, damaged, cut short, or more than ``MAX_PIXELS`` pixels.
    """
    if not data:
        raise ImageError(f"{where}: the file is empty")
    if data.startswith(b"\xff\xd8\xff"):
        plain = _plain_jpeg(data, where)
    elif data.startswith(_PNG):
        plain = _plain_png(data, where)
    else:
        plain = False
    if plain:
        # OpenCV raises on sides above 2**20 and returns None for what it cannot read; Pillow may, or says why not.
        with contextlib.suppress(cv2.error):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            if image is not None:
                return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return _decode_with_pillow(data, where)


def count_frames(data: bytes) -> int:
    """Frames of an image that ``decode`` can read: more than one for an animation."""
    if data.startswith(b"\xff\xd8\xff") or (data.startswith(_PNG) and b"acTL" not in data[:4096]):
        return 1
    with Image.open(io.BytesIO(data), formats=_formats()) as image:
        return getattr(image, "n_frames", 1)


def _plain_jpeg(data: bytes, where: str) -> bool:
    """Check size and completeness of a JPEG, and tell whether it is grey or RGB.

    OpenCV before 5 fills what is missing of a cut file with grey and says nothing, so the end marker is looked for
    here.
    """
    components, position = 0, 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            raise ImageError(f"{where}: damaged JPEG, no marker at byte {position}")
        marker = data[position + 1]
        if marker == 0xFF or marker in _JPEG_NO_LENGTH:  # fill bytes may precede a marker
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _JPEG_FRAMES and position + 10 <= len(data):
            height, width = (int.from_bytes(data[position + i : position + i + 2], "big") for i in (5, 7))
            _check_size(height, width, where)
            components = data[position + 9]
        if marker == 0xDA:
            if data.find(b"\xff\xd9", position) < 0:
                break
            return components in (1, 3)
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise ImageError(f"{where}: truncated JPEG, its end is missing after {len(data)} bytes")


def _plain_png(data: bytes, where: str) -> bool:
    """Check size, completeness and checksums of a PNG, and tell whether it is opaque."""
    opaque, ended = False, False
    for kind, body in _png_chunks(data, where):
        if kind == b"IHDR":
            _check_size(int.from_bytes(body[4:8], "big"), int.from_bytes(body[:4], "big"), where)
            opaque = body[9] in (0, 2, 3)  # grey, RGB, palette
        opaque = opaque and kind != b"tRNS"
        ended = kind == b"IEND"
    if not ended:
        raise ImageError(f"{where}: truncated PNG, its end is missing after {len(data)} bytes")
    return opaque


def _png_chunks(data: bytes, where: str) -> Iterator[tuple[bytes, memoryview]]:
    position, view = len(_PNG), memoryview(data)
    while position + 12 <= len(data):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(data):
            return
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            name = kind.decode() if kind.isalpha() else kind.hex()
            raise ImageError(f"{where}: damaged PNG, the checksum of its {name} chunk is wrong")
        if kind == b"IHDR" and length != 13:
            raise ImageError(f"{where}: damaged PNG, its header has {length} bytes instead of 13")
        yield kind, view[position + 8 : end]
        if kind == b"IEND":
            return
        position = end + 4


@functools.lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """What Pillow may read: a fixed list, because some of its formats start programs (EPS runs Ghostscript)."""
    Image.init()
    wanted = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
    return tuple(name for name in wanted if name in Image.OPEN)  # not every build has the last two


def _decode_with_pillow(data: bytes, where: str) -> NDArray[np.uint8]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large sizes, which are checked here, and of odd metadata
            with Image.open(io.BytesIO(data), formats=_formats()) as image:
                _check_size(image.height, image.width, where)
                return _as_seen(image, where)
    except UnidentifiedImageError:
        raise ImageError(f"{where}: not an image: {_guess(data)}") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{where}: {_TOO_LARGE}") from None
    except ImageError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever the damage leads to
        said = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{where}: cannot be decoded: {said}") from error


def _as_seen(image: Image.Image, where: str) -> NDArray[np.uint8]:
    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I;16"):
        grey = ((np.asarray(turned).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if turned.mode in ("I", "F"):
        raise ImageError(f"{where}: 32-bit samples have no agreed range; save the image with 8 or 16 bits a channel")
    if turned.has_transparency_data:
        turned = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned)
    return np.array(turned.convert("RGB"))


_TOO_LARGE = f"more than the {MAX_PIXELS:,} pixels that ppclas reads; shrink the image first"


def _check_size(height: int, width: int, where: str) -> None:
    if height * width > MAX_PIXELS:
        raise ImageError(f"{where}: {height}x{width} is {_TOO_LARGE}")
    if height * width == 0:
        raise ImageError(f"{where}: damaged image, its header says {height}x{width} pixels")


def _guess(data: bytes) -> str:
    head = data[:512]
    for pattern, name in _NOT_IMAGES:
        if pattern.match(head):
            return f"it looks like {name}"
    if not head.strip(b"\0"):
        return "it begins with zero bytes only"
    try:
        head[:500].decode("utf-8")
    except UnicodeDecodeError:
        return f"it begins with the bytes {head[:8].hex(' ')}"
    return "it looks like text"
