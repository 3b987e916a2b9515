"""The known photos most like a photo, and a picture of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import ImageError, ShapeError
from ppclas_data.decoding.decode import decode
from ppclas_data.inspection.contact_sheet import Row, draw_sheet

from ppclas_search.features import Features, labelled_names, nearest

_CELL = 130
_ROWS = 40


@dataclass(frozen=True)
class Neighbour:
    """A known photo."""

    name: str
    label: str
    """Its class; empty where nobody said it."""
    cosine: float
    """Of its features and those of the photo asked about, in -1..1."""


@dataclass(frozen=True)
class Neighbours:
    """A photo and the known ones that are most like it, the nearest first."""

    name: str
    nearest: tuple[Neighbour, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def find_neighbours(
    asked: Features, known: Features, count: int, *, index: str = "numpy"
) -> list[Neighbours]:
    """The ``count`` known photos nearest to each; a photo is not its own neighbour.

    Raises:
        ShapeError: the features are of two models.
    """
    if asked.values.shape[1] != known.values.shape[1]:
        raise ShapeError(
            f"expected features of {asked.values.shape[1]} numbers, as this model gives; the known "
            f"photos have {known.values.shape[1]}. Write them again with the same model."
        )
    # One more, as the photo itself may be among them.
    places, cosines = nearest(asked.values, known.values, count + 1, index=index)
    found = []
    for name, row, alike in zip(asked.names, places.tolist(), cosines.tolist(), strict=True):
        labels = labelled_names(known, row)
        each = [
            Neighbour(known.names[place], label, cosine)
            for place, label, cosine in zip(row, labels, alike, strict=True)
            if Path(known.names[place]).absolute() != Path(name).absolute()
        ]
        found.append(Neighbours(name, tuple(each[:count])))
    return found


def draw_neighbours(found: Sequence[Neighbours], path: Path) -> None:
    """A sheet with a row for each photo, the first 40 of them; the photo itself comes first."""
    rows = [
        Row(
            title=Path(one.name).name,
            details="",
            images=(_small(one.name), *(_small(other.name) for other in one.nearest)),
            captions=(
                "asked",
                *(f"{other.label} {other.cosine:.2f}".strip() for other in one.nearest),
            ),
        )
        for one in found[:_ROWS]
    ]
    draw_sheet(rows, path, _CELL)


def _small(name: str) -> NDArray[np.uint8]:
    try:
        pixels = decode(Path(name).read_bytes(), name)
    except (OSError, ImageError):  # inside an archive, or gone since its features were written
        return np.full((_CELL, _CELL, 3), 200, np.uint8)
    scale = _CELL / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
