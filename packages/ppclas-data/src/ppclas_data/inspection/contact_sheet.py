"""A labelled grid of pictures: one row per method, one column per photo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from ppclas_core.contracts.data import Image
from ppclas_core.files import write_atomic

_GAP = 6
_MARGIN = 14
_LABEL_WIDTH = 190
"""Pixels left of the pictures; longer text is broken into lines."""
_INK, _PALE, _PAPER = (25, 25, 25), (110, 110, 110), (255, 255, 255)


@dataclass(frozen=True)
class Row:
    """What one method makes of the photos."""

    title: str
    details: str
    """What is worth knowing beside the title, in small print; may be empty."""
    images: tuple[Image, ...]
    """uint8 [H, W, 3], of any size."""
    captions: tuple[str, ...] = ()
    """A short text below each picture."""


def draw_sheet(rows: Sequence[Row], path: Path, cell: int) -> None:
    """Write ``rows`` as a PNG; pictures are shrunk into ``cell`` x ``cell`` pixels, if larger."""
    title_font, small_font = ImageFont.load_default(15), ImageFont.load_default(11)
    layouts = [_Layout.of(row, cell, title_font, small_font) for row in rows]
    columns = max(len(row.images) for row in rows)
    width = 2 * _MARGIN + _LABEL_WIDTH + columns * (cell + _GAP)
    header = 20
    height = 2 * _MARGIN + header + sum(layout.height + _GAP for layout in layouts)
    sheet = Pillow.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    left = _MARGIN + _LABEL_WIDTH
    for column in range(columns):
        draw.text(
            (left + column * (cell + _GAP) + cell / 2, _MARGIN),
            str(column + 1),
            _PALE,
            small_font,
            anchor="mt",
        )
    top = _MARGIN + header
    for row, layout in zip(rows, layouts, strict=True):
        _draw_label(draw, layout, top, title_font, small_font)
        for column, image in enumerate(row.images):
            picture = Pillow.fromarray(image)
            picture.thumbnail((cell, cell), Pillow.Resampling.LANCZOS)
            x = left + column * (cell + _GAP)
            sheet.paste(
                picture,
                (
                    x + (cell - picture.width) // 2,
                    top + (layout.picture_height - picture.height) // 2,
                ),
            )
            for number, line in enumerate(layout.captions[column] if row.captions else ()):
                below = (x + cell / 2, top + layout.picture_height + 3 + number * _DETAILS_STEP)
                draw.text(below, line, _PALE, small_font, anchor="mt")
        top += layout.height + _GAP
    write_atomic(path, lambda temporary: sheet.save(temporary, format="png"))


@dataclass(frozen=True)
class _Layout:
    """Where the parts of a row go."""

    title: tuple[str, ...]
    details: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]
    picture_height: int
    height: int

    @classmethod
    def of(cls, row: Row, cell: int, title_font: _Font, small_font: _Font) -> _Layout:
        title = _lines(row.title, title_font, _LABEL_WIDTH - _MARGIN)
        details = _lines(row.details, small_font, _LABEL_WIDTH - _MARGIN)
        picture = max(
            math.ceil(min(1.0, cell / max(image.shape[:2])) * image.shape[0])
            for image in row.images
        )
        captions = tuple(_lines(caption, small_font, cell) for caption in row.captions)
        below = max((3 + _DETAILS_STEP * len(lines) for lines in captions), default=0)
        label = _TITLE_STEP * len(title) + _DETAILS_STEP * len(details)
        return cls(title, details, captions, picture, max(picture + below, label))


_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_TITLE_STEP, _DETAILS_STEP = 20, 15
"""Heights of a line, in pixels."""


def _draw_label(
    draw: ImageDraw.ImageDraw, layout: _Layout, top: int, title_font: _Font, small_font: _Font
) -> None:
    for line in layout.title:
        draw.text((_MARGIN, top), line, _INK, title_font)
        top += _TITLE_STEP
    for line in layout.details:
        draw.text((_MARGIN, top), line, _PALE, small_font)
        top += _DETAILS_STEP


def _lines(text: str, font: _Font, width: int) -> tuple[str, ...]:
    """``text`` broken between words, and inside words that are wider than ``width`` pixels."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if font.getlength(longer) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        while font.getlength(word) > width:
            fits = next(
                n
                for n in range(len(word) - 1, 0, -1)
                if n == 1 or font.getlength(word[:n]) <= width
            )
            lines.append(word[:fits])
            word = word[fits:]
        line = word
    return (*lines, line) if line else tuple(lines)
