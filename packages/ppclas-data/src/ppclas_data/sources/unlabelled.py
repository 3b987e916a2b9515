"""Photos without labels, which objectives that need none (distillation) train on beside the
labelled ones.

In an image set such a record has ``UNLABELLED`` in the place of a class; so has a batch's label.
They come after the labelled records.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ppclas_core.contracts.data import ImageSet, Record
from ppclas_core.errors import DataError

from ppclas_data.sources.labels import read_lines
from ppclas_data.sources.lists import ListSource, check_files_exist
from ppclas_data.sources.photo_files import (
    IMAGE_SUFFIXES,
    LeftOut,
    image_files,
    is_photo,
    why_no_photos,
)

UNLABELLED = -1
"""What stands in the place of a class index."""


def add_unlabelled(
    train: ImageSet, val: ImageSet, location: str, root: str | None, notes: list[str]
) -> ImageSet:
    """``train`` and after it the photos of ``location`` that are not in it; what was decided goes
    to ``notes``.

    Raises:
        DataError: see ``load_unlabelled``; or nothing is left.
    """
    if train.task != "classification":
        raise DataError(
            f"{location}: photos without labels go with photos of one label each, not of several"
        )
    found = load_unlabelled(location, root, notes)
    known = {_plain(record.name) for record in train.records}
    validated = {_plain(record.name) for record in val.records}
    new = [record for record in found if _plain(record.name) not in known]
    if len(new) < len(found):
        notes.append(
            f"{len(found) - len(new)} photos of {location} are training photos already; they count "
            "once."
        )
    extra = tuple(record for record in new if _plain(record.name) not in validated)
    if len(extra) < len(new):
        notes.append(
            f"{len(new) - len(extra)} photos of {location} are validation photos and are left out. "
            "There may be copies of others: 'ppclas distill dedup' finds them."
        )
    if not extra:
        raise DataError(
            f"{location}: expected photos beside the training photos, got no other; leave "
            "train_extra out"
        )
    notes.append(f"{len(extra)} more training photos without labels: {location}")
    return replace(train, records=(*train.records, *extra))


def load_unlabelled(location: str, root: str | None, notes: list[str]) -> tuple[Record, ...]:
    """Every photo below a folder, or in a list file: one path per line, relative to ``root`` or the
    list's folder.

    A label after the path is not looked at, and a note says so. A photo that is named twice counts
    once.

    Raises:
        DataError: nothing there, a line that names no photo, or files that do not exist.
    """
    path = Path(location)
    if path.is_dir():
        left_out = LeftOut()
        photos = image_files(location, left_out)
        if not photos:
            raise DataError(
                f"{location}: expected a folder with photos in it, at any depth; got none"
                f"{why_no_photos(location, left_out)}"
            )
        notes += left_out.notes(location)
        return tuple(Record(photo, UNLABELLED, photo) for photo in photos)
    if not ListSource.recognises(location):
        raise DataError(
            f"{location}: expected a folder of photos or a list file with one path per line"
        )
    base = root if root is not None else str(path.parent)
    records: dict[str, Record] = {}
    labelled = 0
    for number, line in enumerate(read_lines(location), 1):
        if not line.strip():
            continue
        where = f"{location}:{number}"
        photo, had_label = _path_of(line.strip(), where)
        labelled += had_label
        full = os.path.join(base, photo)  # noqa: PTH118 - a million Paths take seconds
        records.setdefault(full, Record(full, UNLABELLED, where))
    if not records:
        raise DataError(f"{location}: expected one path per line, got an empty file")
    if labelled:
        notes.append(
            f"The labels in {location} are not looked at: train_extra is for photos without labels."
        )
    check_files_exist(tuple(records.values()), ListSource(location=location, root=root))
    return tuple(records.values())


def labelled_part(images: ImageSet) -> ImageSet:
    """The records with a label."""
    if all(record.label != UNLABELLED for record in images.records):
        return images
    return images.subset(
        [index for index, record in enumerate(images.records) if record.label != UNLABELLED]
    )


def _path_of(line: str, where: str) -> tuple[str, bool]:
    """The path in a line, and whether a label stood after it."""
    if is_photo(line):
        return line, False
    path, _, label = line.replace("\t", " ").rpartition(" ")
    if path.strip() and label.removeprefix("-").isdigit():
        return line[: len(path)].strip(), True
    raise DataError(
        f"{where}: expected the path of a photo ({_some(sorted(IMAGE_SUFFIXES))}), got {line!r}"
    )


def _plain(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - as above


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:4])} …"
