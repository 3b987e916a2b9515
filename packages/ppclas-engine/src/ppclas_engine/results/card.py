"""An answer as a notebook shows it: the photo, small, and a bar for each class."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ppclas_core.errors import ImageError

_SIDE = 96
"""Pixels of a thumbnail's longer side."""


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
    picture = _thumbnail(Path(path))
    image = f"<img alt='' src='data:image/jpeg;base64,{picture}'>" if picture else ""
    beside = "display:flex;gap:1em;align-items:center"
    return f"<div>{said}<div style='{beside}'>{image}{table}</div></div>"


def _thumbnail(path: Path) -> str:
    """A JPEG in base 64; empty where ``path`` is no photo, as of an array that was given."""
    import cv2
    from ppclas_data.decoding.decode import decode

    try:
        pixels = decode(path.read_bytes(), str(path))
    except (OSError, ImageError):
        return ""
    height, width = pixels.shape[:2]
    scale = _SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    return base64.b64encode(encoded.tobytes()).decode("ascii") if done else ""
