"""A column of a CSV that says which rows train, validate and test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ppclas_core.contracts.data import ImageSet
from ppclas_core.errors import DataError
from ppclas_core.wording import first_few

SPLIT_COLUMNS = ("split", "subset", "partition", "set", "part", "usage", "phase", "fold", "dataset")
"""Headers of such a column. One called ``split`` must be usable; the others may mean anything."""

_PARTS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev", "eval", "evaluation", "publictest"),
    "test": ("test", "testing", "tst", "holdout", "heldout", "privatetest"),
}
_PART_OF = {word: part for part, words in _PARTS.items() for word in words}
_FLAGS = {
    "is_train": ("val", "train"),
    "is_training": ("val", "train"),
    "is_valid": ("train", "val"),
    "is_val": ("train", "val"),
    "is_validation": ("train", "val"),
    "is_test": ("train", "test"),
}
"""Header of a column of true and false → what false and true mean."""
_TRUTHS = {"0": 0, "1": 1, "false": 0, "true": 1, "no": 0, "yes": 1}


def find_parts(
    header: Sequence[str],
    rows: Sequence[tuple[int, Sequence[str]]],
    taken: Collection[int | None],
    location: str,
    notes: list[str],
) -> Mapping[str, str]:
    """Where each row is written (``all.csv:7``) → ``train``, ``val`` or ``test``; nothing without
    such a column.

    Without one of a known header, a column counts whose cells all name a part, ``train`` and
    another one among them. The columns ``taken`` are those of paths and labels.

    Raises:
        DataError: the column ``split`` holds something else.
    """
    folded = [name.strip().lower() for name in header]

    def cells_of(column: int) -> dict[str, str]:
        return {
            f"{location}:{number}": row[column].strip() if column < len(row) else ""
            for number, row in rows
        }

    for name in (*SPLIT_COLUMNS, *_FLAGS):
        if name not in folded:
            continue
        column = folded.index(name)
        cells = cells_of(column)
        found = {where: _part(name, cell) for where, cell in cells.items()}
        odd = next((where for where, part in found.items() if part is None), None)
        if odd is None:
            return {where: part for where, part in found.items() if part is not None}
        if name == "split":
            raise DataError(
                f"{odd}: expected train, val or test in the column {header[column]!r}, got "
                f"{cells[odd]!r}; correct it, or rename the column if it means something else"
            )
        if name in SPLIT_COLUMNS:
            notes.append(
                f"{location}: the column {header[column]!r} is not used: it says {cells[odd]!r}, "
                "where train, val or test would name a part."
            )
    for column, name in enumerate(folded):
        if column in taken or name in (*SPLIT_COLUMNS, *_FLAGS):
            continue
        named = {where: _part("", cell) for where, cell in cells_of(column).items()}
        if None not in named.values() and {"train"} < set(named.values()):
            called = repr(header[column]) if header[column] else str(column + 1)
            notes.append(f"{location}: the column {called} is its split column, by what it says.")
            return {where: part for where, part in named.items() if part is not None}
    return {}


def with_parts(images: ImageSet, parts: Mapping[str, str]) -> ImageSet:
    """The same images with the part of each."""
    if not parts:
        return images
    return replace(images, parts=tuple(parts[record.where] for record in images.records))


def training_rows(images: ImageSet, notes: list[str]) -> ImageSet:
    """The rows of the part ``train``; all where no part is said.

    Raises:
        DataError: there are none.
    """
    if not images.parts:
        return images
    if "train" not in images.parts:
        raise DataError(
            f"{images.origin}: expected rows that its split column calls train, got only "
            f"{first_few(sorted(set(images.parts)))}"
        )
    counts = Counter(images.parts)
    said = ", ".join(f"{part} {counts[part]}" for part in _PARTS if counts[part])
    notes.append(f"{images.origin}: its split column says which rows train ({said}).")
    return _rows_of(images, "train")


def measured_rows(images: ImageSet, notes: list[str]) -> ImageSet | None:
    """The rows of the part ``val``, else ``test``; None where neither is said."""
    part = next((part for part in ("val", "test") if part in images.parts), None)
    if part is None:
        return None
    notes.append(f"{images.origin}: the rows that its split column calls {part} are measured.")
    return _rows_of(images, part)


def _rows_of(images: ImageSet, part: str) -> ImageSet:
    rows = [index for index, own in enumerate(images.parts) if own == part]
    return replace(images.subset(rows), parts=())


def _part(name: str, cell: str) -> str | None:
    word = cell.lower()
    if name in _FLAGS:
        return _FLAGS[name][_TRUTHS[word]] if word in _TRUTHS else None
    return _PART_OF.get(word.replace("_", "").replace("-", ""))
