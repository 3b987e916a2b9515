"""Photos to calibrate on, and other photos to judge by."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import Bundle
from ppclas_core.config.load import load_config
from ppclas_core.contracts.data import ImageSet, Record
from ppclas_core.errors import DataError
from ppclas_data.loading.loader import Loader
from ppclas_data.loading.pipeline import Pipeline
from ppclas_data.sources.opening import load_image_set, open_image_set
from ppclas_data.sources.splits import open_splits
from ppclas_engine.results.predict import expand_paths

BATCH = 32
"""Photos that are read at a time."""


@dataclass(frozen=True)
class Photos:
    """What calibration and judgement look at; no photo is in both."""

    calibrate: ImageSet
    pool: ImageSet
    """All that ``calibrate`` was taken from and ``judge`` was not: what training may look at."""
    judge: ImageSet
    labelled: bool
    """Whether ``judge`` has labels. If not, the float model's answers take their place."""
    notes: tuple[str, ...] = ()
    """What was decided on the way, a sentence each."""


def choose(
    bundle: Bundle, calibrate: str | None, data: str | None, *, count: int, judged: int
) -> Photos:
    """``count`` photos to calibrate on and up to ``judged`` to judge by, spread evenly over what
    there is.

    Calibration: ``calibrate`` (a folder, list, CSV or glob; labels are not needed), or else the
        training photos of the
    run that the bundle lies in. Judgement: ``data`` (labelled), else the run's validation photos,
    else what calibration leaves of its own, by agreement with the float model. Where both name the
    same photos, calibration takes its share first.

    Raises:
        DataError: nothing to calibrate on, or nothing left to judge by.
    """
    notes: list[str] = []
    config = bundle.folder.parent / "config.yaml"
    splits = (
        open_splits(load_config(config).config.data)
        if config.is_file() and (calibrate is None or data is None)
        else None
    )
    if calibrate is not None:
        pool = _unlabelled(_files(calibrate), calibrate)
    elif splits is not None:
        pool = splits.train
    else:
        raise DataError(
            "Which photos to calibrate on? This is no run, so name some: --calibrate "
            "FOLDER|LIST|CSV"
        )
    if data is not None:
        judge = open_image_set(data, class_names=bundle.labels, task=bundle.manifest.task)
    elif splits is not None:
        judge = splits.val
    else:
        judge = pool
        notes.append("No labelled photos (--data): judged by agreement with the float model.")
    known = {_key(record) for record in judge.records}
    others = [index for index, record in enumerate(pool.records) if _key(record) not in known]
    if others:
        pool = pool.subset(others)
        chosen = pool.subset(spread(len(pool), count))
    else:  # the same photos: a fifth at most goes to calibration
        pool = chosen = pool.subset(spread(len(pool), min(count, max(1, len(pool) // 5))))
        notes.append(
            f"Calibration and judgement share {judge.origin}: {len(chosen)} photos calibrate, "
            "others judge."
        )
    taken = {_key(record) for record in chosen.records}
    left = [index for index, record in enumerate(judge.records) if _key(record) not in taken]
    if not left:
        raise DataError(f"{judge.origin}: no photo is left to judge by. Name some with --data.")
    judge = judge.subset([left[index] for index in spread(len(left), judged)])
    return Photos(chosen, pool, judge, data is not None or splits is not None, tuple(notes))


def read(
    images: ImageSet, pipeline: Pipeline, on_batch: Callable[[], None] = lambda: None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels [N, H, W, 3] and labels [N] of the readable photos.

    Raises:
        DataError: none, or more than one in a hundred, cannot be read.
    """
    pixels, labels = [], []
    with Loader(images, pipeline, BATCH) as loader:
        for batch in loader.epoch(0):
            pixels.append(batch.images)
            labels.append(batch.labels)
            on_batch()
    if not pixels:
        raise DataError(f"{images.origin}: not one photo could be read. Run 'ppclas data check'.")
    return np.concatenate(pixels), np.concatenate(labels)


def spread(total: int, count: int) -> list[int]:
    """``count`` of ``total`` places (all where there are fewer), evenly spaced."""
    count = min(total, count)
    return [total * index // count for index in range(count)]


def _files(given: str) -> list[str]:
    if Path(given).suffix.lower() in (".csv", ".tsv"):
        return [record.path for record in load_image_set(given).records]
    return expand_paths([given])


def _unlabelled(files: Sequence[str], origin: str) -> ImageSet:
    return ImageSet(tuple(Record(file, 0, file) for file in files), ("photo",), origin)


def _key(record: Record) -> str:
    return os.path.realpath(record.name)
