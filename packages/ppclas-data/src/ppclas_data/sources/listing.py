"""Write list files: ``path label`` a line, and the names of the classes.

Where images may have several labels a line is ``path<TAB>0|3``; with commas, lines of ``0,1`` alone
would be read as one 0 or 1 a class.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path

import numpy as np
from ppclas_core.config.schema import DataSection
from ppclas_core.contracts.data import SEVERAL, Record
from ppclas_core.errors import DataError
from ppclas_core.files import write_text
from ppclas_core.wording import first_few

from ppclas_data.sources.mat_file import read_mat
from ppclas_data.sources.photo_files import is_listable, is_utf8
from ppclas_data.sources.splits import open_splits

FLOWERS_LABELS, FLOWERS_SPLIT = "imagelabels.mat", "setid.mat"
_FLOWERS_PARTS = {"train": "trnid", "val": "valid", "test": "tstid"}
"""Part of flowers102 → the array of its image numbers. As in PaddleClas' quick start, training uses
``trnid``."""
_Parts = Mapping[str, Sequence[Record]]


@dataclass(frozen=True)
class ListFile:
    """A list that was written."""

    path: str
    num_lines: int


def write_lists(section: DataSection, output: str | Path, notes: list[str]) -> list[ListFile]:
    """Write ``train_list.txt``, ``val_list.txt`` and ``label_list.txt`` into the folder ``output``.

    ``section`` is what training would open, so that what it holds out is held out here too. A
    folder with ``imagelabels.mat`` and ``setid.mat`` beside ``jpg`` is flowers102, split as these
    say. Paths are relative to where ``output`` really is, links followed; no list that is there
    already is overwritten.

    Raises:
        DataError: photos in an archive, a path or class name that no list can hold, a list that
            exists, or a folder that cannot be written to. No list is left then.
    """
    parts, names = _parts_and_names(section, notes)
    return write_parts(Path(output), parts, names, notes)


def write_parts(
    folder: Path,
    parts: Mapping[str, Sequence[Record]],
    names: Sequence[str] | None,
    notes: list[str],
) -> list[ListFile]:
    """Write ``<part>_list.txt`` of each part, and ``label_list.txt`` of ``names``, as
    ``write_lists`` does.
    """
    _check_files(parts)
    real = os.path.realpath(folder)
    texts = {f"{part}_list.txt": _lines(records, real) for part, records in parts.items()}
    counts = {f"{part}_list.txt": len(records) for part, records in parts.items()}
    if names is not None:
        texts["label_list.txt"] = _names(names, notes)
        counts["label_list.txt"] = len(names)
    _write(folder, texts)
    return [ListFile(str(folder / name), count) for name, count in counts.items()]


def _parts_and_names(section: DataSection, notes: list[str]) -> tuple[_Parts, Sequence[str] | None]:
    given = Path(section.train) if section.train is not None else None
    if given is not None and os.path.isfile(given / FLOWERS_LABELS):  # noqa: PTH113 - Path raises where it is closed
        notes.append(f"{given} is flowers102: split as {FLOWERS_SPLIT} says, labels from 0.")
        return _flowers102(given, notes), None
    splits = open_splits(section)
    notes += splits.notes
    train = splits.train
    if train.task == "multilabel" and all(len(record.class_ids) < 2 for record in train.records):
        notes.append(
            "No training photo has two labels: reading the lists takes data.task: multilabel."
        )
    return {"train": train.records, "val": splits.val.records}, train.class_names


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    for name in texts:
        if os.path.lexists(folder / name):
            raise DataError(
                f"{folder / name} exists already; it is not overwritten. Remove it, or use another "
                "folder"
            )
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_text(folder / name, text)
            written.append(folder / name)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise DataError(
            f"The lists cannot be written to {folder} ({error.strerror or error}); expected a "
            "folder, or a name that is free. Choose another --output"
        ) from error


def _check_files(parts: _Parts) -> None:
    for record in (record for records in parts.values() for record in records):
        if record.member:
            raise DataError(
                f"{record.path}: expected files, got photos in an archive, which a list cannot name"
            )


def _lines(records: Sequence[Record], folder: str) -> str:
    without_up = functools.cache(_without_up)
    lines = []
    for record in records:
        parent, name = os.path.split(record.path)
        path = os.path.relpath(os.path.join(without_up(parent), name), folder).replace(os.sep, "/")  # noqa: PTH118 - fast
        if not is_listable(path):
            where = record.where if record.where.isprintable() else repr(record.where)
            raise DataError(
                f"{where}: expected a path of UTF-8 text without tabs, line ends or a space at its "
                f"end, got {path!r}; rename the file or its folder"
            )
        if path.lstrip().lstrip("\ufeff") != path:  # which a reader strips
            path = f"./{path}"
        lines.append(f"{path}{_labels(record)}\n")
    return "".join(lines)


def _without_up(folder: str) -> str:
    """``folder`` without ``..``, which after a link leads up from where that points."""
    return os.path.realpath(folder) if os.pardir in Path(folder).parts else folder


def _labels(record: Record) -> str:
    return (
        f"\t{'|'.join(map(str, record.classes))}" if record.label == SEVERAL else f" {record.label}"
    )


def _names(names: Sequence[str], notes: list[str]) -> str:
    """A line ``id name`` a class; readers strip the names."""
    plain: dict[str, str] = {}
    for name in names:
        if not name.strip() or "\n" in name or "\r" in name or not is_utf8(name):
            raise DataError(
                "label_list.txt: expected class names of one line of UTF-8 text each, got "
                f"{name!r}; rename the class"
            )
        other = plain.setdefault(name.strip(), name)
        if other != name:
            raise DataError(
                "label_list.txt: expected class names that differ in more than spaces at their "
                f"ends, got {other!r} and {name!r}; rename one"
            )
    changed = [f"{name!r} is {short!r} there" for short, name in plain.items() if short != name]
    if changed:
        notes.append(
            f"label_list.txt keeps no spaces at the ends of class names: {first_few(changed)}."
        )
    return "".join(f"{label} {name}\n" for label, name in enumerate(names))


def _flowers102(folder: Path, notes: list[str]) -> _Parts:
    if not (folder / FLOWERS_SPLIT).is_file():
        raise DataError(
            f"{folder}: expected {FLOWERS_SPLIT} beside {FLOWERS_LABELS}, found none; download both"
        )
    labels = _array(folder / FLOWERS_LABELS, "labels")
    split = {name: _array(folder / FLOWERS_SPLIT, name) for name in _FLOWERS_PARTS.values()}
    _check_split(split, len(labels), folder / FLOWERS_SPLIT)
    parts = {}
    for part, name in _FLOWERS_PARTS.items():
        paths = [str(folder / "jpg" / f"image_{number:05d}.jpg") for number in split[name]]
        parts[part] = tuple(
            Record(path, labels[number - 1] - 1, path)
            for path, number in zip(paths, split[name], strict=True)
        )
    first = parts["train"][0] if parts["train"] else None
    if first is None or not Path(first.path).is_file():
        raise DataError(
            f"{folder}: expected the photos in {folder / 'jpg'}, found none; unpack 102flowers.tgz "
            "there"
        )
    _note_gaps(folder, {labels[number - 1] for number in split["trnid"]}, max(labels), notes)
    return parts


def _check_split(split: Mapping[str, Sequence[int]], num_images: int, path: Path) -> None:
    for name, numbers in split.items():
        if numbers and max(numbers) > num_images:
            raise DataError(
                f"{path}: expected image numbers from 1 to {num_images} in {name!r}, got "
                f"{max(numbers)}; download it again, with {FLOWERS_LABELS}"
            )
    for one, other in combinations(split, 2):
        shared = set(split[one]) & set(split[other])
        if shared:
            raise DataError(
                f"{path}: expected each image in one part, got {min(shared)} in {one!r} and in "
                f"{other!r} ({len(shared)} such image(s)); download it again"
            )


def _note_gaps(folder: Path, trained: set[int], num_classes: int, notes: list[str]) -> None:
    """Labels are from 1 here."""
    missing = num_classes - len(trained)
    if missing:
        first = islice((label for label in range(1, num_classes + 1) if label not in trained), 4)
        notes.append(
            f"{folder}: no training photo of {missing} of {num_classes} classes (the first: "
            f"{first_few(map(str, first))}): reading the lists takes a file of class names "
            "(data.labels)."
        )


def _array(path: Path, name: str) -> list[int]:
    arrays = read_mat(path)
    if name not in arrays:
        raise DataError(f"{path}: expected an array {name!r}, got {', '.join(arrays) or 'none'}")
    values = arrays[name]
    wrong = values[~(np.isfinite(values) & (values >= 1) & (values == np.floor(values)))]
    if wrong.size:
        raise DataError(
            f"{path}: expected whole numbers from 1 on in {name!r}, got {wrong[0]:g}; download it "
            "again, or number from 1"
        )
    return [int(value) for value in values.tolist()]
