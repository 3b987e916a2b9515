"""All labelled photos of a data set, its training and its validation part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.data import ImageSet, Record
from ppclas_data.builtin import builtin_photos
from ppclas_data.sources.opening import load_image_set
from ppclas_data.sources.parts import training_part, validation_beside


@dataclass(frozen=True)
class Photo:
    """One of them."""

    images: ImageSet
    index: int
    part: str
    """``train``, ``val`` or ``test``; empty where the data set has no parts."""

    @property
    def record(self) -> Record:
        """Where it is, and its label."""
        return self.images.records[self.index]

    @property
    def path(self) -> str:
        """Its absolute path, and its name inside an archive."""
        return os.path.abspath(self.record.name)  # noqa: PTH100 - a million Paths take seconds

    @property
    def label(self) -> str:
        """The name of its class."""
        return self.images.class_names[self.record.label]

    def read(self) -> bytes:
        """Its encoded bytes.

        Raises:
            OSError: it cannot be read.
        """
        return self.images.read(self.index)


@dataclass(frozen=True)
class Photos:
    """The photos of all parts, which know the same classes."""

    location: str
    """What the user gave."""
    sets: tuple[tuple[str, ImageSet], ...]
    """Part and its photos."""
    root: str | None = None
    names_file: str | None = None
    """As ``open_all`` was given them."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the class indices."""
        return self.sets[0][1].class_names

    def __len__(self) -> int:
        return sum(len(images) for _, images in self.sets)

    def __iter__(self) -> Iterator[Photo]:
        for part, images in self.sets:
            for index in range(len(images)):
                yield Photo(images, index, images.parts[index] if images.parts else part)

    def labels(self) -> NDArray[np.int64]:
        """[N] class indices."""
        return np.concatenate([images.labels() for _, images in self.sets])


def open_all(
    location: str | None, notes: list[str], *, root: str | None = None, labels: str | None = None
) -> Photos:
    """Every photo of the data set at ``location``; without it, the built-in ones.

    Raises:
        DataError: it cannot be used, or its photos may have several labels.
    """
    place = location if location is not None else str(builtin_photos())
    part = training_part(place, notes)
    train = load_image_set(part, root=root, labels=labels)
    train.labels()
    beside = None if train.parts else validation_beside(part, notes)
    if beside is None:
        return Photos(place, (("", train),), root, labels)
    val = load_image_set(beside, root=root, labels=labels, class_names=train.class_names)
    return Photos(place, (("train", train), ("val", val)), root, labels)
