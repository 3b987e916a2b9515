"""Photos that stand in both sets, or in one set with two labels: by path, and by their bytes."""

from __future__ import annotations

import functools
import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from ppclas_core.contracts.data import ImageSet, Record

MAX_COMPARED = 50_000
"""Photos up to which training compares bytes; ``ppclas data check`` does so for any number."""
_END = 4096
"""Bytes at the beginning and end of a file that are compared before all of it is."""


def same_paths(train: ImageSet, val: ImageSet) -> list[str]:
    """A sentence if photos are in both sets by their paths, and one if a photo has two labels."""
    trained: dict[str, Record] = {}
    contradictions: list[tuple[Record, Record]] = []
    shared = []
    for images in (train, val):
        first: dict[str, Record] = {}
        for record in images.records:
            path = _real(record.name)
            earlier = first.setdefault(path, record)
            if earlier.class_ids != record.class_ids:
                contradictions.append((earlier, record))
            if images is val and path in trained:
                shared.append(record)
        trained = trained or first
    return [
        *_trained_on(shared, len(val)),
        *_contradicting(contradictions, train.class_names, "photo(s) are listed"),
    ]


def same_bytes(train: ImageSet, val: ImageSet) -> list[str]:
    """The same of photos with equal bytes and different paths.

    A file that cannot be read is left to training. Archives in which photos are compressed are
    left to ``ppclas data check``.
    """
    if len(train) + len(val) > MAX_COMPARED:
        return [
            f"More than {MAX_COMPARED:,} photos: copies under other names are not looked for; "
            "'ppclas data check' does."
        ]
    in_train = set(train.records)
    across: dict[str, tuple[Record, Record]] = {}
    contradictions = []
    for group in _split(_split(_split([[*train.records, *val.records]], _size), _ends), _digest):
        first = group[0]
        for record in group[1:]:
            if _real(first.name) == _real(record.name):
                continue
            if record not in in_train and first in in_train:
                across[record.where] = (first, record)
            if record.class_ids != first.class_ids:
                contradictions.append((first, record))
    pairs = list(across.values())
    leaked = (
        [
            f"warning: {len(pairs)} of {len(val)} validation images have the bytes of a training "
            f"image (first: {pairs[0][1].where} and {pairs[0][0].where}); the validation result "
            "will be too good."
        ]
        if pairs
        else []
    )
    return [
        *leaked,
        *_contradicting(contradictions, train.class_names, "file(s) are there under other names"),
    ]


def _real(path: str) -> str:
    """The file itself, links followed; a folder is looked up once."""
    if os.path.islink(path):  # noqa: PTH114 - a million Paths take seconds
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    return os.path.join(_real_folder(folder), name)  # noqa: PTH118 - as above


@functools.lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def _trained_on(shared: Sequence[Record], count: int) -> list[str]:
    if not shared:
        return []
    return [
        f"warning: {len(shared)} of {count} validation images are also trained on (first: "
        f"{shared[0].where}); the validation result will be too good."
    ]


def _contradicting(
    pairs: Sequence[tuple[Record, Record]], names: Sequence[str], what: str
) -> list[str]:
    if not pairs:
        return []
    one, other = (_labels(record, names) for record in pairs[0])
    return [
        f"warning: {len(pairs)} {what} with different labels, of which one must be wrong (first: "
        f"{pairs[0][0].where} says {one}, {pairs[0][1].where} says {other})."
    ]


def _labels(record: Record, names: Sequence[str]) -> str:
    return ", ".join(names[label] for label in record.class_ids) or "no label"


def _split(
    groups: Iterable[Sequence[Record]], key: Callable[[Record], Hashable]
) -> list[list[Record]]:
    """The records of each group that have a key in common, two or more at a time."""
    found = []
    for group in groups:
        by_key: dict[Hashable, list[Record]] = defaultdict(list)
        for record in group:
            try:
                by_key[key(record)].append(record)
            except OSError:
                continue
        found += [records for records in by_key.values() if len(records) > 1]
    return found


def _size(record: Record) -> int:
    if record.span is not None:
        return record.span[1]
    if record.member:
        raise OSError("a member of a zip file, whose bytes are compressed")
    if not os.path.isfile(record.path):  # noqa: PTH113 - a million Paths take seconds
        raise OSError("a pipe or a device")
    return os.path.getsize(record.path)  # noqa: PTH202 - as above


def _ends(record: Record) -> bytes:
    start, size = record.span or (0, _size(record))
    with open(record.path, "rb") as file:
        file.seek(start)
        head = file.read(min(_END, size))
        file.seek(start + max(0, size - _END))
        return hashlib.sha256(head + file.read(min(_END, size))).digest()


def _digest(record: Record) -> bytes:
    start, size = record.span or (0, _size(record))
    with open(record.path, "rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read(size)).digest()
