"""Formats of photos that are read with an extra, or not at all: which ones, and what to do."""

from __future__ import annotations

import functools
import re
from importlib.util import find_spec

HEIC_SUFFIXES = frozenset((".heic", ".heif", ".hif"))
_JXL_SUFFIXES = frozenset((".jxl",))
_RAW_SUFFIXES = frozenset(
    (".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".pef", ".srw")
)
_EXTRA = "pip install 'ppclas-data[heic]'"
_HEIC = re.compile(rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", re.DOTALL)
_AVIF = re.compile(rb"....ftyp(avif|avis)", re.DOTALL)
_JPEG_2000 = re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51")
_JPEG_XL = re.compile(rb"\0\0\0\x0cJXL |\xff\x0a")
_RAW = re.compile(rb"FUJIFILMCCD-RAW|II(RO|RS|U\0)|MMOR|....ftypcrx|II\*\0....CR", re.DOTALL)


@functools.cache
def reads_heic() -> bool:
    """Whether pillow-heif is installed, which the extra ``heic`` brings."""
    return find_spec("pillow_heif") is not None


def is_heic(data: bytes) -> bool:
    """Whether the file begins as a HEIC (HEIF) photo does."""
    return _HEIC.match(data[:16]) is not None


def format_not_read(head: bytes, formats: tuple[str, ...]) -> str | None:
    """What a photo is that could not be read, and what to do; None where the first bytes tell
    nothing. ``formats`` are those that Pillow has.
    """
    if _HEIC.match(head):
        if reads_heic():
            return "a HEIC photo of a kind that is not read; convert it to JPEG first"
        return f"a HEIC photo; to read those: {_EXTRA}"
    if _AVIF.match(head):
        if "AVIF" not in formats:
            return f"an AVIF, which this Pillow does not read; to read those: {_EXTRA}"
        return (
            "an AVIF of a kind that is not read (12 bits per sample?); convert it to PNG or 8-bit "
            "AVIF first"
        )
    if _JPEG_XL.match(head):
        return "a JPEG XL photo, which is not read; convert it to PNG or JPEG first"
    if _JPEG_2000.match(head) and "JPEG2000" not in formats:
        return "a JPEG 2000 photo, which this Pillow does not read; convert it to PNG or JPEG first"
    if _RAW.match(head):
        return "a camera raw photo, which is not read; export it as JPEG or TIFF first"
    return None


def unread_suffix(suffix: str) -> str | None:
    """What photos of a ``suffix`` (lower case, with its dot) are, where they are not read here, and
    what to do; None of any other.
    """
    if suffix in HEIC_SUFFIXES and not reads_heic():
        return f"HEIC photo(s), which {_EXTRA} makes readable,"
    if suffix in _JXL_SUFFIXES:
        return "JPEG XL photo(s), to be converted to PNG or JPEG first,"
    if suffix in _RAW_SUFFIXES:
        return "camera raw photo(s), to be exported as JPEG or TIFF first,"
    return None
