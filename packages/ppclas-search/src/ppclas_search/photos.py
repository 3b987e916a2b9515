"""Photos of a command: with labels where their source has some, without where it has none."""

from __future__ import annotations

from collections.abc import Sequence

from ppclas_core.contracts.data import ImageSet, Record
from ppclas_core.errors import DataError
from ppclas_data.sources.opening import load_image_set
from ppclas_engine.results.predict import expand_paths

from ppclas_search.features import UNKNOWN


def open_photos(paths: Sequence[str], notes: list[str] | None = None) -> ImageSet:
    """One data set with labels, or any files, folders, lists and globs, whose labels are unknown.

    Raises:
        DataError: there are no photos, or they may have several labels.
    """
    if len(paths) == 1:
        try:
            images = load_image_set(paths[0])
        except DataError:
            pass  # no data set: photos without labels
        else:
            images.labels()
            return images
    files = expand_paths(paths, notes)
    records = tuple(Record(file, UNKNOWN, file) for file in files)
    return ImageSet(records, (), ", ".join(paths))
