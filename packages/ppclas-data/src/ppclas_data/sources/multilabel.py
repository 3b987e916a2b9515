"""Several labels per image: how lists and CSVs say them, as arrays, and a split that keeps rare
classes in both parts.

A list has a line ``path 0,3,5`` or ``path<TAB>cat|dog`` an image; ``path<TAB>`` alone is an image
with no label; one 0 or 1 a class (``path<TAB>0,1,0``) is PaddleClas' form. A CSV has a column of
labels with a separator between them, or one column of 0 and 1 a class.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from ppclas_core.config.schema import Task
from ppclas_core.contracts.data import SEVERAL, ImageSet, Record
from ppclas_core.errors import DataError
from ppclas_core.wording import first_few

from ppclas_data.sources.labels import (
    ClassIds,
    are_ids,
    check_labels,
    check_name,
    ids_as_meant,
    in_class_order,
)

LABELS_COLUMNS = ("labels", "tags", "classes", "categories", "targets")
"""Headers of a CSV column that says by its name that an image may have several."""
_BINARY = {
    "0": False,
    "1": True,
    "0.0": False,
    "1.0": True,
    "-1": False,
    "false": False,
    "true": True,
}


@dataclass(frozen=True)
class Row:
    """What a list or CSV says of one image."""

    path: str
    labels: tuple[str, ...]
    """Class ids or names, as written."""
    where: str


@dataclass(frozen=True)
class Table:
    """The rows of a list or CSV whose images have several labels."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """How it was read, a sentence each."""
    class_names: tuple[str, ...] | None = None
    """Where the file itself names the classes: a column each."""


def read_list(lines: Sequence[tuple[int, str]], location: str, task: Task | None) -> Table | None:
    """The rows of a list file's numbered, unstripped lines; None where its images have one label
    each.

    That is decided by what is written, unless ``task`` says it.

    Raises:
        DataError: a line without a label, with file and line.
    """
    if task == "classification":
        return None
    fields = [(number, *_split_line(line)) for number, line in lines if line.strip()]
    if task is None and not any(
        _says_several(labels) for _, _, labels in fields if labels is not None
    ):
        return None
    for number, path, labels in fields:
        if labels is None:
            raise DataError(
                f"{location}:{number}: expected 'path labels' with labels like 0,3 or, behind a "
                f"tab, cat|dog; got only {path!r}. A photo with no label ends with a tab"
            )
    written = [str(labels) for _, _, labels in fields]
    width = _width_of_vectors(written)
    rows = [
        Row(
            path,
            _from_vector(str(labels)) if width else _split_labels(str(labels)),
            f"{location}:{number}",
        )
        for number, path, labels in fields
    ]
    form = f"one 0 or 1 for each of {width} classes" if width else "labels separated by , or |"
    names = tuple(str(index) for index in range(width)) if width else None
    return Table(tuple(rows), (f"{location}: several labels per image, {form}.",), names)


def read_table(
    header: Sequence[str] | None,
    rows: Sequence[tuple[int, Sequence[str]]],
    columns: tuple[int, int | None],
    location: str,
    task: Task | None,
) -> Table | None:
    """The rows of a CSV; None where its images have one label each.

    ``columns`` are the places of the paths and of the labels; without the latter each column of
    zeros and ones is a class.

    Raises:
        DataError: a row is too short or has no path; no column says a label.
    """
    path_column, label_column = columns
    if task == "classification":
        return None
    if label_column is None:
        assert header is not None  # columns without names are the first two
        return _binary_columns(header, rows, path_column, location)
    cells = [row[label_column] for _, row in rows if len(row) > label_column]
    plural = header is not None and header[label_column].lower() in LABELS_COLUMNS
    if not plural and task is None and not any(_says_several(cell) for cell in cells):
        return None
    for number, row in rows:
        if len(row) <= max(path_column, label_column) or not row[path_column]:
            raise DataError(
                f"{location}:{number}: expected a path and labels, got {in_one_line(row)}; fill in "
                "what is missing"
            )
    separator = next(
        (mark for mark in ("|", ";", ",") if any(mark in cell for cell in cells)), None
    )
    if separator is None and plural and any(" " in cell for cell in cells):
        separator = " "
    found = [
        Row(row[path_column], _parts(row[label_column], separator), f"{location}:{number}")
        for number, row in rows
    ]
    how = {None: "one each here", " ": "separated by spaces (use | where names have spaces)"}
    return Table(
        tuple(found),
        (
            f"{location}: several labels per image, "
            f"{how.get(separator, f'separated by {separator}')}.",
        ),
    )


def image_set(
    table: Table,
    known: tuple[str, ...] | None,
    base: str,
    origin: str,
    names_file: str | None = None,
) -> ImageSet:
    """The image set of a table.

    Args:
        table: what is written.
        known: class names that are settled already.
        base: where paths start.
        origin: what the user gave.
        names_file: the file that ``known`` comes from, if a file.

    Raises:
        DataError: a name that is unknown, or that several classes have, an id outside the classes,
            or no label at all; with file and line.
    """
    names, more = known, list(table.notes)
    said = [label for row in table.rows for label in row.labels]
    if not said:
        raise DataError(
            f"{origin}: expected labels, got {len(table.rows)} photos and not one label among them"
        )
    if table.class_names is not None and are_ids(table.class_names):  # PaddleClas' vectors
        if known is not None and len(known) != len(table.class_names):
            raise DataError(
                f"{origin}: expected one 0 or 1 for each of the {len(known)} classes, got "
                f"{len(table.class_names)} a line"
            )
        names = known or table.class_names
        ids = _by_number(table.rows)
    elif table.class_names is not None:
        names = (
            table.class_names if known is None or _takes_names(known, table.class_names) else known
        )
        lost = [name for name in table.class_names if name not in names]
        if lost or len(names) != len(table.class_names):
            raise DataError(
                f"{origin}: expected a column for each of the classes {first_few(names)}, got "
                f"{first_few(table.class_names)}"
            )
        ids = _by_name(table.rows, ClassIds(names, names_file))
    elif all(label.isdecimal() for label in said):
        if known is not None and names_file is None:
            numbers = [(int(label), row.where) for row in table.rows for label in row.labels]
            meant = iter(ids_as_meant(numbers, known, origin, more))
            ids = [tuple(sorted(next(meant) for _ in row.labels)) for row in table.rows]
        else:
            ids = _by_number(table.rows)
        flat = [
            Record(row.path, label, row.where)
            for row, own in zip(table.rows, ids, strict=True)
            for label in own
        ]
        check_labels(flat, len(known) if known else None, origin)
        names = known or tuple(
            str(label) for label in range(max(record.label for record in flat) + 1)
        )
    else:
        for row in table.rows:
            for label in row.labels:
                check_name(label, row.where)
        names = known if known is not None else in_class_order(said)
        ids = _by_name(table.rows, ClassIds(names, names_file))
    records = tuple(
        Record(os.path.join(base, row.path), SEVERAL, row.where, own)  # noqa: PTH118 - a million Paths take seconds
        for row, own in zip(table.rows, ids, strict=True)
    )
    return ImageSet(records, tuple(names), origin, tuple(more), task="multilabel")


def in_one_line(cells: Sequence[str]) -> str:
    """What a row holds, for a message."""
    return " ".join(", ".join(cells).split()) or "nothing"


def from_single(images: ImageSet) -> ImageSet:
    """The same images with one label, for training that allows several."""
    records = tuple(
        replace(record, label=SEVERAL, classes=(record.label,)) for record in images.records
    )
    note = (
        f"{images.origin}: one label per image, trained as images that may have several "
        "(data.task: multilabel)."
    )
    return replace(images, records=records, task="multilabel", notes=(*images.notes, note))


def held_out(images: ImageSet, fraction: float, order: Sequence[int]) -> set[int]:
    """Places of about ``fraction`` of the images, of each class that share, but never all of a
    class.

    Classes choose in turn, the rarest first, from the images in ``order`` that no rarer one has
    decided on (Sechidis et al. 2011, "On the Stratification of Multi-Label Data").
    """
    counts = Counter(label for record in images.records for label in record.class_ids)
    wanted = {
        label: min(max(1, round(fraction * count)), count - 1) if count > 1 else 0
        for label, count in counts.items()
    }
    members: dict[int, list[int]] = {label: [] for label in counts}
    for index in order:
        for label in images.records[index].class_ids:
            members[label].append(index)
    chosen: set[int] = set()
    decided: set[int] = set()
    taken: Counter[int] = Counter()
    for label in sorted(counts, key=lambda label: (counts[label], label)):
        for index in members[label]:
            classes = images.records[index].class_ids
            if (
                index not in decided
                and taken[label] < wanted[label]
                and all(taken[c] < counts[c] - 1 for c in classes)
            ):
                chosen.add(index)
                taken.update(classes)
            decided.add(index)
    without = [index for index in order if index not in decided]
    chosen.update(without[: round(fraction * len(without))])
    return chosen


class ManyHot:
    """The labels of a set as rows to index with places: ``table[places]`` is [N, C] float32, 1
    where a class is there.

    Rows are made when they are asked for: a million images of a thousand classes would fill 4 GB.
    """

    def __init__(self, images: ImageSet) -> None:
        self._num_classes = len(images.class_names)
        counts = [len(record.class_ids) for record in images.records]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._classes = np.fromiter(
            (label for record in images.records for label in record.class_ids), np.int64
        )

    def __getitem__(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = np.zeros((len(places), self._num_classes), np.float32)
        for row, place in zip(rows, places.tolist(), strict=True):
            row[self._classes[self._starts[place] : self._starts[place + 1]]] = 1.0
        return rows


def _split_line(line: str) -> tuple[str, str | None]:
    """Path and labels, which follow the last tab, else the last space; None if there is neither."""
    if "\t" in line:
        path, _, labels = line.rpartition("\t")
        return path.strip(), labels.strip()
    path, _, labels = line.strip().rpartition(" ")
    return (path.strip(), labels) if path.strip() else (line.strip(), None)


def _says_several(labels: str) -> bool:
    return "|" in labels or (
        "," in labels and all(part.strip().isdecimal() for part in labels.split(","))
    )


def _split_labels(labels: str) -> tuple[str, ...]:
    return _parts(labels, "|" if "|" in labels or not _says_several(labels) else ",")


def _parts(labels: str, separator: str | None) -> tuple[str, ...]:
    parts = labels.split(separator) if separator else [labels]
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _width_of_vectors(written: Sequence[str]) -> int:
    """The number of classes where every line has one 0 or 1 a class, else 0.

    Ids never repeat within a line, so that two lines of ids that look like this would have the same
    two classes, 0 and 1, and nothing to learn.
    """
    split = [labels.split(",") for labels in written]
    widths = {len(parts) for parts in split}
    binary = all(part.strip() in ("0", "1") for parts in split for part in parts)
    return widths.pop() if binary and len(widths) == 1 and min(widths) > 1 else 0


def _from_vector(labels: str) -> tuple[str, ...]:
    return tuple(str(index) for index, part in enumerate(labels.split(",")) if part.strip() == "1")


def _binary_columns(
    header: Sequence[str],
    rows: Sequence[tuple[int, Sequence[str]]],
    path_column: int,
    location: str,
) -> Table:
    others = [index for index in range(len(header)) if index != path_column]
    for number, row in rows:
        if len(row) != len(header) or not row[path_column]:
            raise DataError(
                f"{location}:{number}: expected {len(header)} values, got {in_one_line(row)}"
            )
    binary = [
        index
        for index in others
        if header[index] and all(row[index].lower() in _BINARY for _, row in rows)
    ]
    if not binary:
        raise DataError(
            f"{location}:1: expected a column of labels (label, labels, tags …) or columns of 0 "
            f"and 1, a class each; got {in_one_line(header)}"
        )
    names = tuple(header[index] for index in binary)
    for name in names:
        check_name(name, f"{location}:1")
    if len(set(names)) < len(names):
        raise DataError(f"{location}:1: expected each class in one column, got {first_few(names)}")
    found = [
        Row(
            row[path_column],
            tuple(header[index] for index in binary if _BINARY[row[index].lower()]),
            f"{location}:{number}",
        )
        for number, row in rows
    ]
    left_out = [header[index] for index in others if index not in binary]
    notes = [
        f"{location}: several labels per image, a column of 0 and 1 for each of {len(names)} "
        "classes."
    ]
    if left_out:
        notes.append(f"{location}: not classes, as they hold other values: {first_few(left_out)}.")
    return Table(tuple(found), tuple(notes), names)


def _by_number(rows: Iterable[Row]) -> list[tuple[int, ...]]:
    return [tuple(sorted(int(label) for label in row.labels)) for row in rows]


def _by_name(rows: Iterable[Row], ids: ClassIds) -> list[tuple[int, ...]]:
    return [tuple(sorted(ids.find(label, row.where) for label in row.labels)) for row in rows]


def _takes_names(known: tuple[str, ...], found: tuple[str, ...]) -> bool:
    """Whether ``known`` are only ids, which the names of as many columns may replace."""
    return are_ids(known) and len(known) == len(found)
