"""Which labels of a data set are to be looked at, and a list and a page for that."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from ppclas_core.errors import DataError
from ppclas_core.files import write_json, write_text
from ppclas_data.inspection.thumbnails import jpeg_uri, thumbnail

from ppclas_search.audit.confident import UNSURE, doubtful, label_quality, sure_classes
from ppclas_search.audit.photos import Photo, Photos
from ppclas_search.audit.twins import find_twins
from ppclas_search.writing import write_csv

LIST, PAGE, FACTS = "audit.csv", "audit.html", "audit.json"
COLUMNS = (
    "path",
    "label",
    "action",
    "new_label",
    "reason",
    "label_probability",
    "new_label_probability",
    "copy",
    "part",
)
ACTIONS = ("keep", "relabel", "remove")
"""What a person writes into the column ``action``; left empty, the photo stays as it is."""
LABEL, COPY = "unlikely label", "a copy has another label"


@dataclass(frozen=True)
class Doubt:
    """A photo whose label is to be looked at."""

    photo: Photo
    new_label: str
    """The class that the model holds for the true one; of a copy it may be the label itself."""
    reasons: tuple[str, ...]
    label_probability: float | None
    """Of the label it has, by models that were not trained on the photo. None: not asked."""
    new_label_probability: float | None
    copy: Photo | None

    def row(self) -> dict[str, Any]:
        """For the list; nothing is decided yet."""
        return {
            "path": self.photo.path,
            "label": self.photo.label,
            "action": "",
            "new_label": self.new_label,
            "reason": "; ".join(self.reasons),
            "label_probability": _digits(self.label_probability),
            "new_label_probability": _digits(self.new_label_probability),
            "copy": self.copy.path if self.copy is not None else "",
            "part": self.photo.part,
        }


def audit(
    photos: Photos,
    answers: tuple[NDArray[np.int64], NDArray[np.float64]],
    *,
    most: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Doubt]:
    """The photos to look at: copies with two labels first, then the least probable labels.

    Args:
        photos: of the data set.
        answers: places of photos, and probabilities [N, C] of models that were not trained on them.
        most: so many of the least probable labels, whether the model is sure or not. Nothing:
            those that confident learning doubts.
        progress: gets (done, total) while copies are looked for.
    """
    every, labels = list(photos), photos.labels()
    places, probabilities = answers
    given = labels[places]
    quality = label_quality(given, probabilities)
    doubts = doubtful(given, probabilities)
    order = np.argsort(quality, kind="stable").tolist()
    unlikely = order[:most] if most is not None else [row for row in order if doubts[row]]
    row_of = {int(place): row for row, place in enumerate(places)}
    sure = sure_classes(given, probabilities)
    twins = find_twins(every, labels, progress)
    chosen = [*sorted(twins), *(int(places[row]) for row in unlikely)]
    doubted = {int(places[row]) for row in unlikely}
    found = []
    for place in dict.fromkeys(chosen):
        row, own = row_of.get(place), int(labels[place])
        # Of two copies one is right as it is: only the model can tell which.
        suggested = own
        if row is not None and sure[row] != UNSURE:
            suggested = int(sure[row])
        if row is not None and place in doubted and suggested == own:
            suggested = _most_probable_other(probabilities[row], own)
        twin = twins.get(place)
        found.append(
            Doubt(
                every[place],
                photos.class_names[suggested],
                (*([COPY] if twin is not None else []), *([LABEL] if place in doubted else [])),
                None if row is None else float(quality[row]),
                None if row is None else float(probabilities[row, suggested]),
                None if twin is None else every[twin],
            )
        )
    return found


def _most_probable_other(probabilities: NDArray[np.float64], label: int) -> int:
    others = probabilities.copy()
    others[label] = -1.0
    return int(others.argmax())


def check_free(folder: Path) -> None:
    """Refuse to write over a list that somebody may have edited.

    Raises:
        DataError: there is one.
    """
    if (folder / LIST).exists():
        raise DataError(
            f"{folder / LIST} is there already, perhaps with decisions in it; it is not "
            "overwritten. Choose another --output, or remove it."
        )


def write_audit(folder: Path, photos: Photos, doubts: Sequence[Doubt], by: str) -> None:
    """``audit.html`` to look at, ``audit.csv`` to edit, ``audit.json`` with what they are about.

    ``by`` says in words where the probabilities come from.

    Raises:
        DataError: there is a list already, which somebody may have edited.
    """
    check_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [doubt.row() for doubt in doubts]
    write_csv(folder / LIST, rows, COLUMNS)
    facts = {
        name: None if path is None else os.path.abspath(path)  # noqa: PTH100 - as in photos
        for name, path in (
            ("data", photos.location),
            ("root", photos.root),
            ("labels", photos.names_file),
        )
    }
    write_json(folder / FACTS, {**facts, "photos": len(photos), "answers": by})
    cards = [
        {
            **row,
            "place": place,
            "picture": _picture(doubt.photo),
            "copy_picture": _picture(doubt.copy) if doubt.copy is not None else None,
            "copy_label": doubt.copy.label if doubt.copy is not None else "",
            "name": Path(row["path"]).name,
        }
        for place, (doubt, row) in enumerate(zip(doubts, rows, strict=True))
    ]
    page = Environment(
        loader=PackageLoader("ppclas_search", "audit"), autoescape=True, undefined=StrictUndefined
    ).get_template("audit.html.j2")
    shown = {
        "origin": photos.location,
        "count": len(photos),
        "by": by,
        "cards": cards,
        "classes": photos.class_names,
        "actions": ACTIONS,
        # In a script, < could end it.
        "table": json.dumps({"columns": COLUMNS, "rows": rows}).replace("<", "\\u003c"),
    }
    write_text(folder / PAGE, page.render(shown))


def _picture(photo: Photo) -> str:
    return jpeg_uri(thumbnail(photo.read, photo.path))


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
