"""The tables of an evaluation: written beside it, read back for pictures and the report page.

``per_class.csv``, ``confusion.csv`` (one label per image), ``reliability.csv`` and
``predictions.csv``, one row per image.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ppclas_components.confusion import Confusion
from ppclas_components.metrics import Reliability
from ppclas_core.contracts.data import ImageSet
from ppclas_core.files import write_text
from ppclas_data.csv_cells import csv_cells, csv_value

from ppclas_engine.scoring.evaluate import Evaluation

_MATRIX_CLASSES = 1000
"""Beyond it ``confusion.csv`` has a row a pair of classes."""
_CORNER, _PAIRS = "true \\ predicted", ("true", "predicted", "count")

NAMES = ("per_class.csv", "confusion.csv", "reliability.csv", "predictions.csv")


@dataclass(frozen=True)
class Answer:
    """What a model said of one image."""

    image: int
    """Place in the image set."""
    path: str
    labels: tuple[str, ...]
    """Class names that are true."""
    predicted: tuple[str, ...]
    """Class names that were said: the most probable one, or all above their thresholds."""
    probability: float
    """Of the predicted class; with several labels of the class that the answer is furthest off
    about."""
    label_probability: float
    """Of the label; with several labels of the class that the answer is furthest off about being as
    it is."""
    loss: float
    """Cross entropy of this image; with several labels binary, summed over classes."""

    @property
    def right(self) -> bool:
        """Whether the label was said; with several, whether exactly they were."""
        return set(self.labels) == set(self.predicted)


@dataclass(frozen=True)
class Tables:
    """What ``read_tables`` finds in a folder."""

    per_class: list[dict[str, Any]]
    confusion: Confusion | None
    """None where images have several labels."""
    reliability: Reliability
    answers: list[Answer]

    @property
    def class_names(self) -> list[str]:
        """In the order of the logits."""
        return [str(row["class"]) for row in self.per_class]


def write_tables(folder: Path, evaluation: Evaluation, images: ImageSet) -> None:
    """Write the tables of an evaluation of ``images`` into ``folder``."""
    names = [str(row["class"]) for row in evaluation.per_class]
    columns = list(evaluation.per_class[0])
    _write(
        folder / "per_class.csv",
        columns,
        ([row[column] for column in columns] for row in evaluation.per_class),
    )
    if evaluation.confusion is None:
        (folder / "confusion.csv").unlink(missing_ok=True)
    else:
        _write_confusion(folder / "confusion.csv", evaluation.confusion, names)
    curve = evaluation.reliability
    bins = zip(
        curve.confidence.tolist(), curve.accuracy.tolist(), curve.count.tolist(), strict=True
    )
    edges = np.linspace(0.0, 1.0, len(curve.count) + 1).tolist()
    _write(
        folder / "reliability.csv",
        ["above", "up_to", "confidence", "accuracy", "count"],
        ([f"{edges[i]:.4f}", f"{edges[i + 1]:.4f}", *values] for i, values in enumerate(bins)),
    )
    answers = answers_of(evaluation, images)
    _write(
        folder / "predictions.csv",
        ["image", "path", "labels", "predicted", "probability", "label_probability", "loss"],
        (
            [a.image, a.path, "|".join(a.labels), "|".join(a.predicted)]
            + [f"{value:.6g}" for value in (a.probability, a.label_probability, a.loss)]
            for a in answers
        ),
    )


def answers_of(evaluation: Evaluation, images: ImageSet) -> list[Answer]:
    """What the model said of each image, in the order of the set."""
    names = np.array([str(row["class"]) for row in evaluation.per_class], dtype=object)
    probabilities, labels = evaluation.probabilities, evaluation.labels
    paths = [images.records[place].name for place in evaluation.indices.tolist()]
    places = evaluation.indices.tolist()
    if evaluation.thresholds is None:
        rows = np.arange(len(labels))
        predicted = evaluation.logits.argmax(axis=1)
        of_label = probabilities[rows, labels]
        losses = -np.log(np.maximum(of_label, 1e-300))
        columns = zip(
            names[labels],
            names[predicted],
            probabilities[rows, predicted],
            of_label,
            losses,
            strict=True,
        )
        return [
            Answer(place, path, (label,), (said,), float(p), float(q), float(loss))
            for place, path, (label, said, p, q, loss) in zip(places, paths, columns, strict=True)
        ]
    truth, given = labels > 0.5, probabilities >= evaluation.thresholds
    as_it_is = np.where(truth, probabilities, 1.0 - probabilities)
    worst = as_it_is.argmin(axis=1)
    wide = evaluation.logits.astype(np.float64)
    losses = (np.logaddexp(0.0, wide) - truth * wide).sum(axis=1)
    return [
        Answer(
            place,
            path,
            tuple(names[truth[row]]),
            tuple(names[given[row]]),
            float(probabilities[row, worst[row]]),
            float(as_it_is[row, worst[row]]),
            float(losses[row]),
        )
        for row, (place, path) in enumerate(zip(places, paths, strict=True))
    ]


def read_tables(folder: Path) -> Tables | None:
    """The tables in ``folder``; None where it has none, or not all."""
    if not all((folder / name).is_file() for name in NAMES if name != "confusion.csv"):
        return None
    per_class = [
        {key: _value(key, text) for key, text in row.items()}
        for row in _dictionaries(folder / "per_class.csv")
    ]
    confusion = None
    if (folder / "confusion.csv").is_file():
        confusion = _read_confusion(
            folder / "confusion.csv", [str(row["class"]) for row in per_class]
        )
    bins = _dictionaries(folder / "reliability.csv")
    curve = Reliability(
        np.array([float(row["confidence"]) for row in bins]),
        np.array([float(row["accuracy"]) for row in bins]),
        np.array([int(row["count"]) for row in bins], dtype=np.int64),
    )
    answers = [
        Answer(
            int(row["image"]),
            row["path"],
            _names(row["labels"], one=confusion is not None),
            _names(row["predicted"], one=confusion is not None),
            float(row["probability"]),
            float(row["label_probability"]),
            float(row["loss"]),
        )
        for row in _dictionaries(folder / "predictions.csv")
    ]
    return Tables(per_class, confusion, curve, answers)


def _write_confusion(path: Path, confusion: Confusion, names: Sequence[str]) -> None:
    """The matrix; of many classes, most of whose cells are 0, the pairs that occur."""
    if len(names) <= _MATRIX_CLASSES:
        rows = zip(names, confusion.matrix().tolist(), strict=True)
        _write(path, [_CORNER, *names], ([name, *row] for name, row in rows))
        return
    pairs = zip(confusion.true, confusion.predicted, confusion.count.tolist(), strict=True)
    _write(path, _PAIRS, ([names[true], names[said], count] for true, said, count in pairs))


def _read_confusion(path: Path, names: Sequence[str]) -> Confusion:
    with open(path, encoding="utf-8", newline="") as file:
        title, *rows = [[csv_value(cell) for cell in row] for row in csv.reader(file)]
    if title == list(_PAIRS):
        place = {name: index for index, name in enumerate(names)}
        found = [(place[true], place[said], int(count)) for true, said, count in rows]
        pairs = np.array(found, dtype=np.int64).reshape(-1, 3)
        return Confusion(pairs[:, 0], pairs[:, 1], pairs[:, 2], len(names))
    matrix = np.array([row[1:] for row in rows], dtype=np.int64).reshape(len(names), len(names))
    true, said = np.nonzero(matrix)
    return Confusion(true, said, matrix[true, said], len(names))


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(csv_cells(columns))
    writer.writerows(map(csv_cells, rows))
    write_text(path, text.getvalue())


def _dictionaries(path: Path) -> list[Mapping[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return [
            {csv_value(name): csv_value(cell) for name, cell in row.items()}
            for row in csv.DictReader(file)
        ]


def _value(key: str, text: str) -> Any:
    if key == "class":
        return text
    if not text:
        return None
    return int(text) if key == "images" else float(text)


def _names(text: str, *, one: bool) -> tuple[str, ...]:
    return (text,) if one else tuple(text.split("|")) if text else ()
