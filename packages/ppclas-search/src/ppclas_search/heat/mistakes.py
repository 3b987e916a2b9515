"""Heat maps of the mistakes, put into a ``report.html`` that is there."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ppclas_core.bundle import Bundle
from ppclas_core.errors import ConfigError, ShapeError
from ppclas_core.files import write_text
from ppclas_data.inspection.thumbnails import jpeg_uri
from ppclas_engine.results.pictures import worst_answers
from ppclas_engine.results.tables import Answer, read_tables

from ppclas_search.heat.explaining import draw_maps, gives_heat
from ppclas_search.seen import see

MARK = "<!-- heat maps of the mistakes -->"
"""Where the page has room for them."""


def add_heat_maps(folder: Path, bundle: Bundle) -> int:
    """Show in the report in ``folder`` what ``bundle`` looked at in its worst mistakes; how many.

    The maps are Grad-CAM of the class that was said; of an export, its own. None are drawn of
    photos that may have several labels or that lie in an archive, of an export without maps, or of
    a model without a feature map.
    """
    page, tables = folder / "report.html", read_tables(folder)
    if tables is None or tables.confusion is None or not page.is_file():
        return 0
    text = page.read_text(encoding="utf-8")
    wrong = [answer for answer in worst_answers(tables.answers) if not answer.right]
    if MARK not in text or not wrong or not gives_heat(bundle):
        return 0
    seen = list(see(bundle, [answer.path for answer in wrong]))
    known = [place for place, one in enumerate(seen) if one.pixels is not None]
    if not known:
        return 0
    pixels = np.stack([one.pixels for one in seen if one.pixels is not None])
    classes = [tables.class_names.index(wrong[place].predicted[0]) for place in known]
    try:
        drawn = draw_maps(bundle, pixels, classes)
    except (ShapeError, ConfigError):  # no feature map, or an answer that the engine rounds away
        return 0
    cards = [
        _card(wrong[place], jpeg_uri(picture)) for place, picture in zip(known, drawn, strict=True)
    ]
    write_text(page, text.replace(MARK, _section(cards), 1))
    return len(cards)


def _section(cards: Sequence[str]) -> str:
    return (
        "<h2 style='margin-top:18px'>What it looked at</h2>\n"
        "<p><small>Red is strong evidence for the class that was said ('ppclas explain').</small>"
        "</p>\n"
        f'<div class="cards">{"".join(cards)}</div>'
    )


def _card(answer: Answer, source: str) -> str:
    name, said, label = (
        html.escape(text)
        for text in (Path(answer.path).name, answer.predicted[0], answer.labels[0])
    )
    return (
        f'<figure title="{html.escape(answer.path)}"><img alt="{name}" src="{source}"><figcaption>'
        f'<span class="wrong">evidence for {said}</span><span class="missed">it is {label}</span>'
        f"<small>{name}</small></figcaption></figure>"
    )
