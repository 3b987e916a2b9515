"""An answer as a notebook shows it: the photo, small, and a bar for each class."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ppclas_data.decoding.web import is_address
from ppclas_data.inspection.thumbnails import jpeg_uri, small, thumbnail

_SIDE = 96
"""Pixels of a thumbnail's side."""


def picture_of(pixels: NDArray[np.uint8]) -> str:
    """What shows an image that is no file: its ``src``, from RGB pixels [H, W, 3]."""
    return jpeg_uri(small(pixels))


def card(path: str, answers: Sequence[tuple[str, float]], error: str, picture: str = "") -> str:
    """HTML of one answer: ``answers`` are names and probabilities in 0..1, best first; ``picture``
    is what is shown of an image that is no file.
    """
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
    if is_address(path):
        picture = escape(path)
    elif Path(path).is_file():
        picture = jpeg_uri(thumbnail(Path(path).read_bytes, path))
    image = f"<img alt='' width={_SIDE} src='{picture}'>" if picture else ""
    beside = "display:flex;gap:1em;align-items:center"
    return f"<div>{said}<div style='{beside}'>{image}{table}</div></div>"
