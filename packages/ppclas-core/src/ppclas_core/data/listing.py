"""Write list files: ``path label`` a line, and the names of the classes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppclas_core.config.schema import DataSection
from ppclas_core.data.base import ImageSet, Record
from ppclas_core.data.mat_file import read_mat
from ppclas_core.data.splits import open_splits
from ppclas_core.errors import DataError
from ppclas_core.files import write_text

FLOWERS_LABELS, FLOWERS_SPLIT = "imagelabels.mat", "setid.mat"
_FLOWERS_PARTS = {"train": "trnid", "val": "valid", "test": "tstid"}
"""Part of flowers102 → the array of its image numbers. As in PaddleClas' quick start, training uses ``trnid``."""


@dataclass(frozen=True)
class ListFile:
    """A list that was written."""

    path: str
    num_lines: int


def write_lists(section: DataSection, output: str | Path, notes: list[str]) -> list[ListFile]:
    """Write ``train_list.txt``, ``val_list.txt`` and ``label_list.txt`` into the folder ``output``.

    ``section`` is what training would open, so that what it holds out is held out here too. A folder with
    ``imagelabels.mat`` and ``setid.mat`` beside ``jpg`` is flowers102, split as these say. Paths are relative to
    ``output``; no list that is there already is overwritten.

    Raises:
        DataError: photos in an archive, a path that no list can hold, or a list that exists.
    """
    folder = Path(output)
    given = Path(section.train) if section.train is not None else None
    names: Sequence[str] | None
    if given is not None and (given / FLOWERS_LABELS).is_file():
        parts, names = _flowers102(given), None
        notes.append(f"{given} is flowers102: split as {FLOWERS_SPLIT} says, labels from 0.")
    else:
        splits = open_splits(section)
        notes += splits.notes
        parts, names = {"train": splits.train.records, "val": splits.val.records}, splits.train.class_names
        _check_files(splits.train, splits.val)
    texts = {f"{part}_list.txt": _lines(records, folder) for part, records in parts.items()}
    counts = {f"{part}_list.txt": len(records) for part, records in parts.items()}
    if names is not None:
        texts["label_list.txt"] = "".join(f"{label} {name}\n" for label, name in enumerate(names))
        counts["label_list.txt"] = len(names)
    for name in texts:
        if (folder / name).exists():
            raise DataError(f"{folder / name} exists already; it is not overwritten. Remove it, or use another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [ListFile(str(folder / name), count) for name, count in counts.items()]


def _check_files(*sets: ImageSet) -> None:
    for images in sets:
        if any(record.member for record in images.records):
            raise DataError(f"{images.origin}: expected files, got photos in an archive, which a list cannot name")


def _lines(records: Sequence[Record], folder: Path) -> str:
    lines = []
    for record in records:
        path = os.path.relpath(record.path, folder).replace(os.sep, "/")
        if any(mark in path for mark in "\r\n\t"):
            raise DataError(
                f"{record.where}: expected a path without tabs and line ends, got {path!r}; rename the file"
            )
        lines.append(f"{path} {','.join(map(str, record.class_ids))}\n")
    return "".join(lines)


def _flowers102(folder: Path) -> Mapping[str, tuple[Record, ...]]:
    if not (folder / FLOWERS_SPLIT).is_file():
        raise DataError(f"{folder}: expected {FLOWERS_SPLIT} beside {FLOWERS_LABELS}, found none; download both")
    labels = _array(folder / FLOWERS_LABELS, "labels")
    parts = {}
    for part, name in _FLOWERS_PARTS.items():
        numbers = _array(folder / FLOWERS_SPLIT, name)
        if numbers and not 1 <= min(numbers) <= max(numbers) <= len(labels):
            raise DataError(f"{folder / FLOWERS_SPLIT}: expected image numbers from 1 to {len(labels)} in {name!r}")
        paths = [str(folder / "jpg" / f"image_{number:05d}.jpg") for number in numbers]
        parts[part] = tuple(
            Record(path, labels[number - 1] - 1, path) for path, number in zip(paths, numbers, strict=True)
        )
    first = parts["train"][0] if parts["train"] else None
    if first is None or not Path(first.path).is_file():
        raise DataError(f"{folder}: expected the photos in {folder / 'jpg'}, found none; unpack 102flowers.tgz there")
    return parts


def _array(path: Path, name: str) -> list[int]:
    arrays = read_mat(path)
    if name not in arrays:
        raise DataError(f"{path}: expected an array {name!r}, got {', '.join(arrays) or 'none'}")
    return [int(value) for value in arrays[name].tolist()]
