"""Check of readers of batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ppclas_core.data.loader import Batch, Loader
from ppclas_core.data.pipeline import Pipeline
from ppclas_core.data.readers import BatchReader, Workers
from ppclas_core.data.sources import open_image_set
from ppclas_core.data.transforms import RandomFlip, RandomResizedCrop
from ppclas_core.testing.components import check_params, expect
from ppclas_core.testing.data import make_tiny_dataset


def check_reader(reader: BatchReader, folder: Path, difference: float = 4.0) -> None:
    """A reader keeps the contract of ``ppclas_core.data.readers.BatchReader``.

    It reads photos that are written to ``folder``, one of which is no image, and is compared with
    reading in this
    process: order, labels, bad images, and the pixels of each photo to within ``difference`` of 255
        on average. An
    epoch is entered in the middle and left in the middle.
    """
    name = type(reader).__name__
    check_params(reader)
    photos, _ = make_tiny_dataset(folder, per_class=7)
    images = open_image_set(str(photos))
    bad = folder / "bad.jpg"
    bad.write_text("no image")
    images = replace(
        images,
        records=(*images.records, replace(images.records[0], path=str(bad), where="list:22")),
    )

    def loader(of: BatchReader, workers: int) -> Loader:
        pipeline = Pipeline((RandomResizedCrop(size=32), RandomFlip()))
        return Loader(
            images, pipeline, 4, shuffle=True, workers=workers, reader=of, max_bad_fraction=0.1
        )

    with loader(Workers(), 0) as plain:
        expected, left_out = list(plain.epoch(1)), plain.bad_images
    for workers in (0, 2):
        with loader(reader, workers) as tried:
            next(tried.epoch(0))
            batches = list(tried.epoch(1))
            expect(
                len(batches) == len(expected),
                f"{name} gives {len(batches)} batches, not {len(expected)}",
            )
            for batch, wanted in zip(batches, expected, strict=True):
                _expect_same(name, batch, wanted, difference)
            expect(
                tried.bad_images == left_out,
                f"{name} tells of bad images {tried.bad_images}, expected {left_out}",
            )
            for batch, wanted in zip(tried.epoch(1, start=3), expected[3:], strict=True):
                _expect_same(
                    f"{name}, entered in the middle of an epoch,", batch, wanted, difference
                )
        tried.close()


def _expect_same(name: str, batch: Batch, wanted: Batch, difference: float) -> None:
    place = f"in batch {wanted.position}"
    expect(
        batch.indices.tolist() == wanted.indices.tolist(),
        f"{name} gives the images {batch.indices.tolist()} {place}, expected "
        f"{wanted.indices.tolist()}",
    )
    images, expected = np.asarray(batch.images), np.asarray(wanted.images)
    expect(
        images.shape == expected.shape and images.dtype == expected.dtype,
        f"{name} gives {images.dtype} {list(images.shape)} {place}, expected {expected.dtype} "
        f"{list(expected.shape)}",
    )
    found = np.abs(images.astype(np.float32) - expected).mean(axis=(1, 2, 3)).max().item()
    expect(found <= difference, f"{name} shows an image that differs by {found:.1f} of 255 {place}")
