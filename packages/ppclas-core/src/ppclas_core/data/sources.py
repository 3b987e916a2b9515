"""Where records come from: whatever source recognises a location, and the plainest, a folder of
class folders.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ppclas_core.config.schema import Task
from ppclas_core.data import multilabel
from ppclas_core.data.base import ImageSet, Record, Source
from ppclas_core.data.labels import ClassIds, are_ids, read_class_names
from ppclas_core.data.lists import ARCHIVES
from ppclas_core.data.parts import VAL_NAMES, validation_part
from ppclas_core.data.photo_files import IMAGE_SUFFIXES, folders_in, image_files
from ppclas_core.errors import DataError
from ppclas_core.plugins import get_registries
from ppclas_core.registry import resolve
from ppclas_core.wording import first_few


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
    return replace(image_set, notes=(*notes, *image_set.notes))


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


class FolderSource(Source):
    """A folder a class, named after it; deeper folders belong to the class above them.

    Bytes of a name that are not UTF-8 are spelt out: ``caf\\xe9``.
    """

    @classmethod
    def recognises(cls, location: str) -> bool:
        """Whether it is a folder."""
        return Path(location).is_dir()

    def load(self) -> ImageSet:
        """Every photo of every class folder; class ids follow the sorted folder names, or the known
        class names.
        """
        top, notes = Path(self.location), []
        found: dict[str, list[str]] = {}
        skipped = 0
        for folder in folders_in(top):
            photos, others = image_files(folder)
            skipped += others
            name = _as_text(folder.name)
            if name in found:
                raise DataError(
                    f"{top}: expected class folders of different names, got two for {name!r}; "
                    "rename one"
                )
            if photos:
                found[name] = photos
            else:
                notes.append(f"{folder} holds no photos and is left out.")
        if "train" in found and len(found) > 1 and found.keys() <= {"train", *VAL_NAMES}:
            raise DataError(
                f"{top}: expected a folder of class folders, got a data set with the parts "
                f"{', '.join(found)}; give one of them"
            )
        if not found:
            raise DataError(
                f"{top}: expected a folder of class folders with photos in them; "
                f"{self._what_instead()}"
            )
        if skipped:
            notes.append(
                f"{skipped} file(s) in {top} are no photos by their name and are left out."
            )
        if self.root is not None:
            notes.append(
                f"data.root ({self.root}) is for the paths in lists and CSVs; it changes nothing "
                f"in {top}."
            )
        loose = sum(
            path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES for path in top.iterdir()
        )
        if loose:
            notes.append(
                f"{loose} photo(s) directly in {top} have no class folder and are left out."
            )
        names = self._names(found, notes)
        known = set(names)
        for name in found:
            if name not in known:
                raise DataError(
                    f"{top / name}: expected a folder of a known class ({first_few(names)}), got "
                    f"{name!r}; rename the folder, or add the class to the training set"
                )
        empty = [name for name in names if name not in found]
        if empty:
            notes.append(
                f"{top} has no photos of {len(empty)} of {len(names)} classes: {first_few(empty)}."
            )
        class_ids = ClassIds(names, self.labels)
        ids = {name: class_ids.find(name, str(top / name)) for name in found}
        records = tuple(
            Record(path, ids[name], path) for name, photos in found.items() for path in photos
        )
        return ImageSet(
            class_names=tuple(names), records=records, origin=self.location, notes=tuple(notes)
        )

    def _names(self, found: dict[str, list[str]], notes: list[str]) -> Sequence[str]:
        if self.class_names is not None:
            nameless = are_ids(self.class_names) and len(self.class_names) == len(found)
            return (
                sorted(found)
                if nameless and not found.keys() <= set(self.class_names)
                else self.class_names
            )
        if self.labels is not None:
            return read_class_names(self.labels)
        return sorted(found)

    def _what_instead(self) -> str:
        photos, others = image_files(self.location)
        if photos:
            return (
                f"it holds {len(photos)} photo(s) without class folders; put each in a folder "
                "named after its class, or give a list file"
            )
        return f"it holds no photo at all ({others} other file(s))"


def _as_text(name: str) -> str:
    """A folder's name, with bytes that are not UTF-8 spelt out, as in archives: bundles and exports
    hold text.
    """
    return os.fsencode(name).decode(errors="backslashreplace")


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
    return "this is a binary file"
