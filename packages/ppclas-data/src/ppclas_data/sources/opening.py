"""Open whatever a location holds: the registered sources are asked in turn whether it is theirs."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ppclas_core.config.schema import Task
from ppclas_core.contracts.data import ImageSet, Source
from ppclas_core.errors import DataError
from ppclas_core.plugins import get_registries
from ppclas_core.registry import resolve

from ppclas_data.sources import multilabel
from ppclas_data.sources.lists import ARCHIVES
from ppclas_data.sources.parts import validation_part
from ppclas_data.sources.photo_files import IMAGE_SUFFIXES
from ppclas_data.sources.split_column import measured_rows


def open_image_set(
    location: str | Path,
    *,
    root: str | Path | None = None,
    labels: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    task: Task | None = None,
) -> ImageSet:
    """The photos to evaluate on: a folder of class folders, a list file or a CSV, with checked
    labels.

    Of a data set's folder with a training and a validation part, the latter is taken, and a note
    says so.

    Args:
        location: what the user gave; registered sources are asked in turn whether it is theirs.
        root: folder that relative paths inside a list or CSV start from; by default the file's own
            folder.
        labels: file of class names.
        class_names: names that are settled already (the training set's, the model's), which this
            set must fit; where they are only ids ("0", "1", …), as many names that the set brings
            take their place.
        task: whether an image may have several labels; by default as the source looks.

    Raises:
        DataError: nothing there, nobody recognises it, or a record is wrong; with file and line.
    """
    notes: list[str] = []
    part = validation_part(str(location), notes)
    image_set = load_image_set(part, root=root, labels=labels, class_names=class_names, task=task)
    image_set = measured_rows(image_set, notes) or image_set
    return replace(image_set, notes=(*notes, *image_set.notes), parts=())


def load_image_set(
    location: str | Path,
    *,
    root: str | Path | None = None,
    labels: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    task: Task | None = None,
) -> ImageSet:
    """As ``open_image_set``, of exactly what is at ``location``."""
    text = str(location)
    registry = get_registries().datasets
    for name in registry:
        source_class: type[Source] = resolve(registry.entry(name).builder)
        if source_class.recognises(text):
            source = source_class(
                location=text,
                root=None if root is None else str(root),
                labels=None if labels is None else str(labels),
                class_names=None if class_names is None else tuple(class_names),
                task=task,
            )
            try:
                image_set = source.load()
            except OSError as error:
                raise DataError(
                    f"{error.filename or text}: cannot be read: {error.strerror}"
                ) from error
            if not image_set.records:
                raise DataError(f"{text}: expected images, found none")
            if task == "multilabel" and image_set.task != task:
                return multilabel.from_single(image_set)
            return image_set
    instead = (
        _what_else(Path(text)) if Path(text).exists() else f"there is nothing.{_near(Path(text))}"
    )
    raise DataError(f"{text}: expected a folder of class folders, a list file or a CSV; {instead}")


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f" Nor is there a folder {path.parent}."
    beside = [other.name for other in path.parent.iterdir()]
    near = difflib.get_close_matches(path.name, beside, n=1)
    return f" Did you mean {path.parent / near[0]}?" if near else ""


def _what_else(path: Path) -> str:
    if path.suffix.lower() in ARCHIVES:
        return (
            "this is a compressed archive: unpack it first (tar without compression, and zip, are "
            "read as they are)"
        )
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return "this is a single photo"
    with path.open("rb") as file:
        head = file.read(4096)
    # Without a byte-order mark every second byte of plain letters is a zero.
    sides = (head[::2], head[1::2]), (head[1::2], head[::2])
    wide = any(0 not in full and empty.count(0) * 2 > len(empty) for full, empty in sides)
    if wide or head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "this is text in UTF-16 or UTF-32: save the file as UTF-8"
    return "this is a binary file"
