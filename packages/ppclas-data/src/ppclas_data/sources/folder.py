"""Where records come from: any source that recognises a location; the plainest, class folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ppclas_core.contracts.data import ImageSet, Record, Source
from ppclas_core.errors import DataError
from ppclas_core.wording import first_few

from ppclas_data.sources.labels import (
    ClassIds,
    are_ids,
    composed,
    in_class_order,
    read_class_names,
)
from ppclas_data.sources.parts import VAL_NAMES
from ppclas_data.sources.photo_files import (
    LeftOut,
    folders_in,
    image_files,
    is_hidden,
    is_taken,
    why_no_photos,
)


class FolderSource(Source):
    """A folder a class, named after it; deeper folders belong to the class above them.

    Bytes of a name that are not UTF-8 are spelt out: ``caf\\xe9``.
    """

    @classmethod
    def recognises(cls, location: str) -> bool:
        """Whether it is a folder."""
        return Path(location).is_dir()

    def load(self) -> ImageSet:
        """Every photo of every class folder; ids follow known names, else ``in_class_order``."""
        top, notes = Path(self.location), []
        found: dict[str, list[str]] = {}
        left_out = LeftOut()
        for folder in folders_in(top, left_out):
            photos = image_files(folder, left_out)
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
        notes += left_out.notes(top)
        if self.root is not None:
            notes.append(
                f"data.root ({self.root}) is for the paths in lists and CSVs; it changes nothing "
                f"in {top}."
            )
        loose = sum(
            is_taken(path.name) and not is_hidden(path.name) and path.is_file()
            for path in top.iterdir()
        )
        if loose:
            notes.append(
                f"{loose} photo(s) directly in {top} have no class folder and are left out."
            )
        names = self._names(found, notes)
        known = {composed(name) for name in names}
        for name in found:
            if name not in known:
                raise DataError(
                    f"{top / name}: expected a folder of a known class ({first_few(names)}), got "
                    f"{name!r}; rename the folder, or add the class to the training set"
                )
        empty = [name for name in names if composed(name) not in found]
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
                in_class_order(found)
                if nameless and not found.keys() <= {composed(name) for name in self.class_names}
                else self.class_names
            )
        if self.labels is not None:
            return read_class_names(self.labels)
        return in_class_order(found)

    def _what_instead(self) -> str:
        left_out = LeftOut()
        photos = image_files(self.location, left_out)
        if photos:
            return (
                f"it holds {len(photos)} photo(s) without class folders; put each in a folder "
                "named after its class, or give a list file"
            )
        return f"it holds no photo at all{why_no_photos(self.location, left_out)}"


def _as_text(name: str) -> str:
    """A folder's name as text: bytes that are not UTF-8 are spelt out, as in archives, and accents
    are composed.
    """
    return composed(os.fsencode(name).decode(errors="backslashreplace"))
