"""Fonts of this system for names in every script: what the default font lacks, others have."""

from __future__ import annotations

import functools
import re
import unicodedata
from pathlib import Path
from typing import Any

_DEFAULT = "DejaVu Sans"
"""The font that comes with matplotlib."""
_UNLIKE = re.compile(
    "bold|black|light|thin|medium|italic|oblique|mono|serif|condensed|looped|naskh|nastaliq", re.I
)
_NO_FONTS = re.compile("lastresort|unifont", re.I)
"""Their glyphs say no more than which script a character is of."""
_JOINERS = "\u200d\ufe0e\ufe0f"
"""What makes one emoji of several, or says how it looks."""


def families(text: str) -> list[str]:
    """Font families that together have the characters of ``text``, as far as this system has them:
    matplotlib's own, then one for each script that it lacks.
    """
    from matplotlib.font_manager import fontManager

    found, missing = [_DEFAULT], _missing(text)
    for path in _system_fonts() if missing else ():
        if missing & _charmap(path):
            missing -= _charmap(path)
            found.append(_open(path).family_name)
            if found[-1] not in fontManager.get_font_names():
                fontManager.addfont(path)
    return found


def lacking(text: str) -> set[str]:
    """The characters of ``text`` that no font of this system can draw."""
    missing = _missing(text)
    for path in _system_fonts() if missing else ():
        missing -= _charmap(path)
    return {chr(code) for code in missing}


def in_words(text: str) -> str:
    """``text`` with the emoji that no font here can draw as words: 🍎 becomes (red apple)."""
    without = {sign for sign in lacking(text) if unicodedata.category(sign) == "So"}
    if not without:
        return text
    said = (
        f"({unicodedata.name(sign, 'sign').lower()})" if sign in without else sign
        for sign in text
        if sign not in _JOINERS
    )
    return "".join(said).replace(")(", ") (")


def _missing(text: str) -> set[int]:
    """Code points of what the default font lacks, and a reader would miss."""
    signs = {sign for sign in text if not sign.isspace() and sign not in _JOINERS}
    return {ord(sign) for sign in signs if sign.isprintable()} - _charmap(None)


@functools.lru_cache(maxsize=1)
def _system_fonts() -> tuple[str, ...]:
    """Font files that matplotlib can draw, plain upright ones without serifs first."""
    # Not its list of fonts: that is written once, and lacks what was installed since.
    from matplotlib.font_manager import findSystemFonts

    paths = (path for path in findSystemFonts() if not _NO_FONTS.search(path))
    return tuple(sorted(paths, key=lambda path: (bool(_UNLIKE.search(path)), Path(path).stem)))


@functools.cache
def _charmap(path: str | None) -> frozenset[int]:
    """Of a font, or of the default one; empty for bitmaps (colour emoji), which are not drawn."""
    font = _open(path)
    return frozenset(font.get_charmap()) if font is not None and font.scalable else frozenset()


def _open(path: str | None) -> Any:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    try:
        return FT2Font(findfont(_DEFAULT) if path is None else path)
    except (OSError, RuntimeError, ValueError):  # damaged
        return None
