"""Encoded bytes to pixels, as a person sees the picture.

JPEGs go to libjpeg-turbo (``ppclas_data.decoding.jpeg``), PNGs to OpenCV, which turns them as their
EXIF tag says. Pillow reads what OpenCV shows otherwise than a viewer does, or differently from one
release to the next: transparency (OpenCV drops it and the hidden colours appear), CMYK, GIF, WebP,
AVIF, HEIC, TIFF and BMP. The content decides, never the file name.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import ImageError

from ppclas_data.decoding.depth import decode_deep_tiff, read_tiff_header, to_8_bits
from ppclas_data.decoding.formats import format_not_read, is_heic
from ppclas_data.decoding.jpeg import SIGNATURE as _JPEG
from ppclas_data.decoding.jpeg import JpegHeader, decode_jpeg, read_header
from ppclas_data.transforms.functional import crop
from ppclas_data.transforms.window import Window

# Pillow is imported where it is needed: a worker that reads plain JPEGs starts sooner without it.
if TYPE_CHECKING:
    from PIL import Image as PillowImage

MAX_PIXELS = 178_956_970
"""Largest image that is decoded, height times width: Pillow's own limit against decompression
bombs."""
_ALWAYS_READ = 1 << 25
_PIXELS_PER_BYTE = 10_000
"""Pixels that are read of any file, and for each byte of a larger one: no more than a blank page in
black and white has, compressed as PNG. A few bytes cannot claim gigabytes of memory."""

_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 254, 330, 50706
"""Tags of a TIFF."""
_MOST_SAMPLES = 4
"""Of a pixel of a photo: three colours and transparency, or CMYK."""
_PNG = b"\x89PNG\r\n\x1a\n"
_NOT_IMAGES = (
    (
        re.compile(rb"\s*(<!doctype html|<html|<head|<\?xml)", re.IGNORECASE),
        "an HTML or XML page, perhaps of a failed download",
    ),
    (
        re.compile(rb"version https://git-lfs"),
        "a Git LFS pointer; run 'git lfs pull' to get the file itself",
    ),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!"), "an archive"),
    (re.compile(rb"%PDF"), "a PDF"),
    (re.compile(rb"....ftyp", re.DOTALL), "a video"),
    (re.compile(rb"[\t\n\r\x20-\x7e]+\Z"), "text"),
)


def decode(data: bytes, where: str) -> NDArray[np.uint8]:
    """Pixels [H, W, 3] uint8 RGB of an encoded image.

    The EXIF orientation is applied, transparency is laid over white, 16 bits a channel become 8,
    grey becomes three equal channels, samples of 9 to 16 bits are taken from the range that the
    file declares, and of an animation the first frame is taken (``ppclas data
    check`` counts those).

    Args:
        data: the whole file.
        where: what to call it in messages: a path, or list file and line.

    Raises:
        ImageError: not an image, damaged, cut short, or more than ``MAX_PIXELS`` pixels.
    """
    header = _jpeg_header(data, where)
    return _decode_whole(data, header, where)


def decode_window(
    data: bytes, where: str, choose: Callable[[int, int], Window]
) -> tuple[NDArray[np.uint8], Window]:
    """The part of an encoded image that a resize needs, [h, w, 3] uint8 RGB, and the window that it
    shows.

    Args:
        data: the whole file.
        where: what to call it in messages.
        choose: the window for an upright image of (height, width); asked once, before a JPEG is
            decoded.

    ``(h, w)`` is the window's own size; of a JPEG it may be 1/2, 1/4 or 1/8 of it, rounded, but
    never less than what the window is resized to. What is chosen depends on the window and the
    image's size alone.

    Raises:
        ImageError: as ``decode``.
    """
    header = _jpeg_header(data, where)
    if header is not None and _is_plain(header):
        window = choose(*header.size)
        pixels = decode_jpeg(data, header, window)
        if pixels is not None:
            return pixels, window
        image = _decode_with_pillow(data, where)
        if image.shape[:2] != header.size:
            raise ImageError(
                f"{where}: damaged JPEG, its header says {header.size}, its pixels "
                f"{image.shape[:2]}"
            )
    else:
        image = _decode_whole(data, header, where)
        window = choose(image.shape[0], image.shape[1])
    return crop(image, window.top, window.left, window.height, window.width), window


def plain_jpeg_size(data: bytes, where: str) -> tuple[int, int] | None:
    """(height, width) of the upright picture of a grey or RGB JPEG, which every decoder shows
    alike; None for others.

    Raises:
        ImageError: what ``decode`` raises for a file whose header says so.
    """
    header = _jpeg_header(data, where)
    return header.size if header is not None and _is_plain(header) else None


def size_in_header(data: bytes, where: str) -> tuple[int, int]:
    """(height, width) that the header of an encoded image says, before any turning; nothing is
    decoded.

    Raises:
        ImageError: not an image that ``decode`` reads, or more than ``MAX_PIXELS`` pixels.
    """
    header = _jpeg_header(data, where)
    if header is not None:
        return header.stored_height, header.stored_width
    tiff = read_tiff_header(data)
    if tiff is not None and tiff.is_deep:  # of which Pillow reads few
        _check_size(tiff.height, tiff.width, len(data), where)
        return tiff.height, tiff.width
    with _opened(data, where) as image:
        return image.height, image.width


def count_frames(data: bytes) -> int:
    """Frames of an image that ``decode`` can read: more than one for an animation.

    Raises:
        ImageError: what comes after the first frame is damaged.
    """
    if data.startswith(_JPEG) or (data.startswith(_PNG) and b"acTL" not in data[:4096]):
        return 1
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_formats_for(data)) as image:
                return getattr(image, "n_frames", 1)
    except Exception as error:  # Pillow's plugins raise whatever the damage leads to
        said = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"frames after the first cannot be read: {said}") from error


def _jpeg_header(data: bytes, where: str) -> JpegHeader | None:
    """The checked header of a JPEG; None for anything else."""
    if not data:
        raise ImageError(f"{where}: the file is empty")
    if not data.startswith(_JPEG):
        return None
    header = read_header(data, where)
    _check_size(header.stored_height, header.stored_width, len(data), where)
    return header


def _is_plain(header: JpegHeader) -> bool:
    """Whether a JPEG is grey or RGB, which leaves nothing to interpret."""
    return header.components in (1, 3)


def _decode_whole(data: bytes, header: JpegHeader | None, where: str) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] | None = None
    if header is not None:
        image = decode_jpeg(data, header) if _is_plain(header) else None
    elif data.startswith(_PNG) and _plain_png(data, where):
        # OpenCV raises on sides above 2**20 and returns None for what it cannot read; Pillow may,
        # or says why not.
        with contextlib.suppress(cv2.error):
            read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            image = None if read is None else cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
    else:
        tiff = read_tiff_header(data)
        if tiff is not None and tiff.samples > _MOST_SAMPLES:
            raise ImageError(
                f"{where}: a TIFF of {tiff.samples} channels, where a photo has 3. A model of as "
                f"many reads them: -o data.channels={tiff.samples}"
            )
        if tiff is not None and tiff.has_no_range:
            raise ImageError(
                f"{where}: {tiff.words}, whose range nobody knows; save it with 8 or 16 unsigned "
                "bits a channel"
            )
        if tiff is not None and tiff.is_deep:
            _check_size(tiff.height, tiff.width, len(data), where)
            image = decode_deep_tiff(data, tiff)
    return _decode_with_pillow(data, where) if image is None else image


def _plain_png(data: bytes, where: str) -> bool:
    """Check size, completeness and checksums of a PNG, and tell whether it is opaque."""
    opaque, ended = False, False
    for kind, body in _png_chunks(data, where):
        if kind == b"IHDR":
            height, width = int.from_bytes(body[4:8], "big"), int.from_bytes(body[:4], "big")
            _check_size(height, width, len(data), where)
            opaque = body[9] in (0, 2, 3)  # grey, RGB, palette
        opaque = opaque and kind != b"tRNS" and not _turns(kind, body)
        ended = kind == b"IEND"
    if not ended:
        raise ImageError(f"{where}: truncated PNG, its end is missing after {len(data)} bytes")
    return opaque


def _turns(kind: bytes, body: memoryview) -> bool:
    """Whether a chunk holds EXIF data, which may turn the picture: Pillow knows all its places."""
    return kind == b"eXIf" or bytes(body[:21]) == b"Raw profile type exif"


def _png_chunks(data: bytes, where: str) -> Iterator[tuple[bytes, memoryview]]:
    position, view = len(_PNG), memoryview(data)
    while position + 12 <= len(data):
        length, kind = (
            int.from_bytes(data[position : position + 4], "big"),
            data[position + 4 : position + 8],
        )
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
    """What Pillow may read: a fixed list, because some formats start programs (as EPS does)."""
    from PIL import Image

    Image.init()
    wanted = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
    return tuple(name for name in wanted if name in Image.OPEN)  # not every build has the last two


def _formats_for(data: bytes) -> tuple[str, ...]:
    """``_formats``; for a HEIC photo its reader alone, which is started at the first one."""
    if not is_heic(data):
        return _formats()
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return _formats()
    register_heif_opener()
    return ("HEIF",)


def _check_raw(image: PillowImage.Image, where: str) -> None:
    """Refuse the raw files of cameras that are TIFFs: what opens of them is a thumbnail."""
    tags: Any = getattr(image, "tag_v2", {})
    if _DNG_VERSION in tags or (tags.get(_SUBFILE_TYPE, 0) & 1 and _SUB_IFDS in tags):
        raise ImageError(
            f"{where}: a camera raw photo, which is not read; export it as JPEG or TIFF first"
        )


def _canvas(image: PillowImage.Image) -> tuple[int, int]:
    """(height, width) of the pixels that decoding takes; a GIF's frame may be larger than it."""
    boxes = [tile[1] for tile in getattr(image, "tile", ()) if tile[1] is not None]
    return (
        max(image.height, *(box[3] for box in boxes), 0),
        max(image.width, *(box[2] for box in boxes), 0),
    )


def _decode_with_pillow(data: bytes, where: str) -> NDArray[np.uint8]:
    with _opened(data, where) as image:
        return as_seen(image, where)


@contextlib.contextmanager
def _opened(data: bytes, where: str) -> Iterator[PillowImage.Image]:
    """The image in Pillow, its size checked; what Pillow raises becomes an ``ImageError``."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Of large sizes, which are checked here, and of odd metadata.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_formats_for(data)) as image:
                _check_raw(image, where)
                _check_size(*_canvas(image), len(data), where)
                yield image
    except UnidentifiedImageError:
        raise ImageError(f"{where}: not an image: {_guess(data)}") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{where}: {_TOO_LARGE}") from None
    except ImageError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever the damage leads to
        said = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{where}: cannot be decoded: {said}") from error


def as_seen(image: PillowImage.Image, where: str) -> NDArray[np.uint8]:
    """Pixels [H, W, 3] uint8 RGB of an open Pillow image, by the rules of ``decode``.

    Raises:
        ImageError: its samples have 32 bits, whose range nobody knows.
    """
    from PIL import Image, ImageOps

    white_is_zero = _is_white_zero(image)
    for key in ("xmp", "XML:com.adobe.xmp"):  # orientation is what EXIF says, in every format
        image.info.pop(key, None)
    deep_pgm = image.format == "PPM" and image.mode == "I"  # which Pillow brings to 0..65535
    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I;16") or deep_pgm:
        samples = np.asarray(turned).astype(np.uint16)
        grey = to_8_bits(samples, 65535)
        grey = 255 - grey if white_is_zero else grey
        clear = turned.info.get("transparency")
        if isinstance(clear, int):
            grey[samples == clear] = 255
        return np.repeat(grey[..., None], 3, axis=2)
    if turned.mode in ("I", "F"):
        raise ImageError(
            f"{where}: 32-bit samples have no agreed range; save the image with 8 or 16 bits a "
            "channel"
        )
    if turned.has_transparency_data:
        turned = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned)
    return np.array(turned.convert("RGB"))


def _is_white_zero(image: PillowImage.Image) -> bool:
    """Whether a TIFF of 16 bits has its black at the top, which Pillow leaves so."""
    return image.mode.startswith("I;16") and getattr(image, "tag_v2", {}).get(262) == 0


_TOO_LARGE = f"more than the {MAX_PIXELS:,} pixels that ppclas reads; shrink the image first"


def _check_size(height: int, width: int, num_bytes: int, where: str) -> None:
    if height * width > MAX_PIXELS:
        raise ImageError(f"{where}: {height}x{width} is {_TOO_LARGE}")
    if height * width > max(_ALWAYS_READ, num_bytes * _PIXELS_PER_BYTE):
        raise ImageError(
            f"{where}: {height}x{width} pixels in {num_bytes:,} bytes; a file so small that claims "
            f"more than {_ALWAYS_READ:,} pixels is not read, shrink the image first"
        )
    if height * width == 0:
        raise ImageError(f"{where}: damaged image, its header says {height}x{width} pixels")


def _guess(data: bytes) -> str:
    head = data[:512]
    photo = format_not_read(head, _formats())
    if photo is not None:
        return f"it looks like {photo}"
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
