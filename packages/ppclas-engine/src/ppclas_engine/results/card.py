"""An answer as a notebook shows it: the photo, small, and a bar for each class."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from ppclas_engine.results.pictures import jpeg_uri, thumbnail

_SIDE = 96
"""Pixels of a thumbnail's side."""


def card(path: str, answers: Sequence[tuple[str, float]], error: str) -> str:
    """HTML of one answer: ``answers`` are names and probabilities in 0..1, best first."""
    said = f"<div><code>{escape(path)}</code></div>"
    if error:
        return f"<div>{said}<div>{escape(error)}</div></div>"
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td style='width:12em'><div style='background:#3b7dd8;"
        f"height:0.8em;width:{100 * value:.1f}%'></div></td>"
        f"<td style='text-align:right'>{value:.2%}</td></tr>"
        for name, value in answers
    )
    table = f"<table>{rows}</table>"
    image = ""
    if Path(path).is_file():  # not of an array that was given
        source = jpeg_uri(thumbnail(Path(path).read_bytes, path))
        image = f"<img alt='' width={_SIDE} src='{source}'>"
    beside = "display:flex;gap:1em;align-items:center"
    return f"<div>{said}<div style='{beside}'>{image}{table}</div></div>"
