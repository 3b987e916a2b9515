"""Names in every script on pictures: fonts that are found, and what is said where none is."""

from __future__ import annotations

import cv2
import matplotlib.font_manager
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from ppclas_components.confusion import Confusion
from ppclas_engine.results import fonts
from ppclas_engine.results.pictures import draw_confusion

YI = "ꀀ"


@pytest.fixture
def system(monkeypatch):
    """Says which font files the system has."""

    def have(*paths):
        monkeypatch.setattr(matplotlib.font_manager, "findSystemFonts", lambda: list(paths))
        fonts._system_fonts.cache_clear()

    yield have
    fonts._system_fonts.cache_clear()


def write_font(path, family, sign):
    """A font whose one sign is a black square."""
    pen = TTGlyphPen(None)
    for place, point in enumerate([(0, 0), (0, 900), (900, 900), (900, 0)]):
        (pen.lineTo if place else pen.moveTo)(point)
    pen.closePath()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", "square"])
    font.setupCharacterMap({ord(sign): "square"})
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    font.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": family, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(str(path))
    return str(path)


def ink(path):
    return int((cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) < 40).sum())


def test_a_font_with_the_sign_is_found_and_drawn_with(tmp_path, system):
    answers = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 1])
    confusion, names = Confusion.of(*answers, 2), (YI * 6, "dog")
    system()
    draw_confusion(confusion, names, tmp_path / "boxes.png")
    assert fonts.lacking(f"{YI} dog") == {YI}
    system(
        write_font(tmp_path / "ABold.ttf", "A Bold", YI),
        write_font(tmp_path / "Squares.ttf", "Squares", YI),
    )
    assert fonts.families(f"{YI} dog") == ["DejaVu Sans", "Squares"]  # rather than the bold one
    assert fonts.lacking(f"{YI} dog") == set()
    draw_confusion(confusion, names, tmp_path / "drawn.png")
    # Twelve squares of 9 points at 110 dots an inch, in place of thin frames.
    assert ink(tmp_path / "drawn.png") > ink(tmp_path / "boxes.png") + 500


def test_a_damaged_font_is_passed_over(tmp_path, system):
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    system(str(tmp_path / "damaged.ttf"), write_font(tmp_path / "good.ttf", "Good", YI))
    assert fonts.families(YI) == ["DejaVu Sans", "Good"]


def test_latin_names_need_no_font_but_the_default(system):
    system("/does/not/exist.ttf")
    assert fonts.families("Äpfel, яблоко") == ["DejaVu Sans"]


def test_emoji_without_a_font_are_named(system):
    system()
    assert fonts.in_words("🍎 apple") == "(red apple) apple"
    assert fonts.in_words("👨\u200d🌾") == "(man) (ear of rice)"
    assert fonts.in_words("😀 is in the default font") == "😀 is in the default font"
    assert fonts.in_words(YI) == YI
