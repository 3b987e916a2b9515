"""Which real photos an export is proven on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ppclas_core.bundle import Bundle
from ppclas_core.config.load import load_config
from ppclas_core.errors import DataError, ImageError, PpclasError
from ppclas_data.builtin import builtin_photos
from ppclas_data.decoding.web import read_file
from ppclas_data.loading.pipeline import Pipeline, bundle_pipeline
from ppclas_data.sources.photo_files import image_files
from ppclas_data.sources.splits import open_splits
from ppclas_engine.results.predict import expand_paths

DEFAULT_COUNT = 16


@dataclass(frozen=True)
class Photos:
    """Readable image files."""

    paths: tuple[Path, ...]
    origin: str
    """Where they come from, for the receipt."""
    notes: tuple[str, ...] = ()
    """What was passed over on the way, a sentence each."""

    def names(self) -> list[str]:
        """Folder and file of each, without where they lie on this machine."""
        return [f"{path.parent.name}/{path.name}" for path in self.paths]


def choose_photos(bundle: Bundle, given: str | None, count: int = DEFAULT_COUNT) -> Photos:
    """``count`` photos, or all where there are fewer, spread evenly over what there is.

    That is ``given`` (a file, folder, list or glob), else the validation photos of the run that the
    bundle lies in, else the built-in ones.

    Raises:
        DataError: nothing readable there.
    """
    pipeline = bundle_pipeline(bundle)
    if given is not None:
        return _pick(pipeline, expand_paths([given]), count, given)
    config = bundle.folder.parent / "config.yaml"
    notes: tuple[str, ...] = ()
    if config.is_file():
        try:
            splits = open_splits(load_config(config).config.data)
            if any(record.member for record in splits.val.records):
                raise DataError(f"{splits.val.origin} is an archive, and files are needed here")
            files = [record.path for record in splits.val.records]
            return _pick(pipeline, files, count, "the run's validation photos")
        except PpclasError as error:
            notes = (
                f"The run's validation photos cannot be used ({error}); taking the built-in ones.",
            )
    files = image_files(builtin_photos() / "val")
    return _pick(pipeline, files, count, "the built-in photos", notes)


def _pick(
    pipeline: Pipeline, files: Sequence[str], count: int, origin: str, notes: tuple[str, ...] = ()
) -> Photos:
    """The first readable file of each of ``count`` equal stretches of ``files``."""
    count = min(count, len(files))
    bounds = [len(files) * part // count for part in range(count + 1)]
    chosen, bad = [], []
    for start, stop in itertools.pairwise(bounds):
        for file in files[start:stop]:
            try:
                pipeline.read(read_file(str(file)), file)
            except (ImageError, OSError) as error:
                bad.append(f"{error}; passed over.")
                continue
            chosen.append(Path(file))
            break
    if not chosen:
        raise DataError(
            f"{origin}: expected at least one readable photo, found none of {len(files)}. "
            f"{' '.join(bad[:1])}"
        )
    return Photos(tuple(chosen), origin, (*notes, *bad))
