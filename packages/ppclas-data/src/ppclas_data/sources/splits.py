"""The training and validation set of a run: as given, as found side by side, or split by rule."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from ppclas_core.config.schema import DataSection
from ppclas_core.contracts.data import ImageSet
from ppclas_core.errors import DataError

from ppclas_data.builtin import builtin_photos
from ppclas_data.sources.leaks import same_paths
from ppclas_data.sources.multilabel import held_out as held_out_of_several
from ppclas_data.sources.opening import load_image_set, open_image_set
from ppclas_data.sources.parts import training_part, validation_beside
from ppclas_data.sources.split_column import measured_rows, training_rows


@dataclass(frozen=True)
class Splits:
    """What a run trains on and what it is judged by; both know the same classes."""

    train: ImageSet
    val: ImageSet
    notes: tuple[str, ...] = ()
    """What was decided on the way, a sentence each, for the console."""


def roots(section: DataSection) -> tuple[str | None, str | None]:
    """The folders that paths of the training set and of the validation set are relative to."""
    return section.root if isinstance(section.root, tuple) else (section.root, section.root)


def open_splits(section: DataSection) -> Splits:
    """Open the training and validation sets of a config.

    Without ``val``, it is looked for below or beside ``train`` (``val``, ``valid``, ``validation``,
    ``test``, as a folder or a list); failing that, ``val_fraction`` of each class is held out by
    ``split``.

    Raises:
        DataError: a set that cannot be used, with file and line; fewer than two classes; classes
            that disagree.
    """
    notes: list[str] = []
    train_at = section.train if section.train is not None else str(builtin_photos())
    if section.train is None:
        notes.append("No data given: the built-in photos are used (8 kinds of groceries).")
    train_at = training_part(train_at, notes)
    root, val_root = roots(section)
    given = load_image_set(train_at, root=root, labels=section.labels, task=section.task)
    train = training_rows(given, notes)
    val = measured_rows(given, notes) if section.val is None else None
    val_at = section.val
    if val is None and val_at is None:
        val_at = validation_beside(train_at, notes)
    trained = {label for record in train.records for label in record.class_ids}
    if len(trained) < 2 and train.task == "classification":
        raise DataError(
            f"{train.origin}: expected images of two classes or more, got one class "
            f"({train.class_names[train.records[0].label]}); "
            f"add a folder, or lines, of another class"
        )
    untrained = [label for label in range(len(train.class_names)) if label not in trained]
    if untrained:
        named = ", ".join(train.class_names[label] for label in untrained[:5])
        notes.append(
            f"{len(untrained)} of {len(train.class_names)} classes have no training image (first: "
            f"{named})."
        )
    if val is None and val_at is None:
        train, val = split(train, section.val_fraction, _base(train_at, root), notes)
    elif val is None:
        val = open_image_set(
            str(val_at),
            root=val_root,
            labels=section.labels,
            class_names=train.class_names,
            task=train.task,
        )
    notes += same_paths(train, val)
    untaught = (
        (record, label)
        for record in val.records
        for label in record.class_ids
        if label not in trained
    )
    first, label = next(untaught, (None, 0))
    if first is not None:
        raise DataError(
            f"{first.where}: expected a class of the training set, got "
            f"{train.class_names[label]!r}, which {train.origin} has no image of; add training "
            "images of it, or take it out of the validation set"
        )
    from_val = val.notes if val_at is not None else ()
    return Splits(train, val, (*notes, *train.notes, *from_val))


def split(
    image_set: ImageSet, fraction: float, base: str | Path, notes: list[str]
) -> tuple[ImageSet, ImageSet]:
    """Hold out ``fraction`` of each class (at least one image, unless it has only one): those whose
    paths hash lowest.

    A photo that is named several times is on one side. The rule looks at nothing but the paths
    relative to ``base``: the same files give the same split on any machine, whatever the seed.
    """
    by_class: dict[int, list[tuple[bytes, int]]] = defaultdict(list)
    lines: dict[str, list[int]] = defaultdict(list)
    for index, record in enumerate(image_set.records):
        relative = Path(os.path.relpath(record.name, base)).as_posix()
        lines[relative].append(index)
        if len(lines[relative]) > 1:
            continue
        by_class[record.label].append((hashlib.sha256(_bytes_of(relative)).digest(), index))
    held_out: set[int] = set()
    alone = []
    if image_set.task == "multilabel":
        order = [index for members in by_class.values() for _, index in sorted(members)]
        held_out, by_class = held_out_of_several(image_set, fraction, order), {}
    for label, members in sorted(by_class.items()):
        if len(members) == 1:
            alone.append(image_set.class_names[label])
            continue
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        held_out.update(index for _, index in sorted(members)[:count])
    for first, *others in lines.values():
        held_out.difference_update(others)
        if first in held_out:
            held_out.update(others)
    if not held_out:
        raise DataError(
            f"{image_set.origin}: expected two images or more of some class, to hold one out for "
            "validation; got one each. Add images, or give a validation set"
        )
    train = image_set.subset([i for i in range(len(image_set)) if i not in held_out])
    val = image_set.subset(sorted(held_out))
    notes.append(
        f"No validation set: {len(val)} of {len(image_set)} images are held out, {fraction:.0%} of "
        "each class, chosen by a hash of their paths."
    )
    if alone:
        notes.append(
            f"{len(alone)} class(es) with a single image stay in training: {', '.join(alone[:5])}."
        )
    return train, val


def _bytes_of(path: str) -> bytes:
    """UTF-8 on every system, so that splits agree; a name that is not UTF-8 as it is on disk."""
    return path.encode(errors="surrogateescape")


def _base(location: str, root: str | None) -> str:
    if Path(location).is_dir():  # a root is for the paths in a list
        return location
    return root if root is not None else str(Path(location).parent)
