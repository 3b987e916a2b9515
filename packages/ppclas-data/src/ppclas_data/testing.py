"""For tests of plugins: a tiny data set, and the contract check of readers of batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.readers import BatchReader
from ppclas_core.testing.components import check_params, expect, fail

from ppclas_data.loading.loader import Batch, Loader
from ppclas_data.loading.pipeline import Pipeline
from ppclas_data.loading.workers import Workers
from ppclas_data.sources.opening import open_image_set
from ppclas_data.transforms.basic import RandomFlip, RandomResizedCrop

__all__ = ["check_reader", "make_tiny_dataset"]


def make_tiny_dataset(
    folder: Path, classes: int = 3, per_class: int = 12, size: int = 48, seed: int = 0
) -> tuple[Path, tuple[str, ...]]:
    """Write photos that a small net learns in a few steps, a folder a class, and return the folder
    and the class names.

    A class has its hue and the direction of its stripes; brightness, phase and noise differ from
    photo to photo. Half of the photos are JPEG, half PNG, and none is square: ``size`` is the short
    side in pixels.
    """
    rng = np.random.default_rng(seed)
    names = tuple(f"class_{index:02d}" for index in range(classes))
    for index, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            height, width = (size, size + size // 4) if number % 3 else (size + size // 4, size)
            photo = _striped_photo(index / classes, height, width, rng)
            suffix = ".jpg" if number % 2 else ".png"
            _, encoded = cv2.imencode(suffix, photo[:, :, ::-1])
            (folder / name / f"{number:03d}{suffix}").write_bytes(encoded.tobytes())
    return folder, names


def _striped_photo(
    kind: float, height: int, width: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """RGB [height, width, 3]; ``kind`` in 0..1 is the hue (of the circle) and the angle (of π)."""
    y, x = np.mgrid[0:height, 0:width]
    along = x * np.cos(np.pi * kind) + y * np.sin(np.pi * kind)
    stripes = 0.5 + 0.5 * np.sin(along / 3.0 + rng.uniform(0, 2 * np.pi))
    hue = 2 * np.pi * (kind + np.array([0, 1 / 3, 2 / 3]))
    colour = rng.uniform(0.7, 1.0) * (0.5 + 0.4 * np.cos(hue))
    photo = 255 * (0.3 + 0.7 * stripes[:, :, None]) * colour + rng.normal(0, 8, (height, width, 3))
    return np.clip(photo, 0, 255).astype(np.uint8)


def check_reader(reader: BatchReader, folder: Path, difference: float = 4.0) -> None:
    """A reader keeps the contract of ``ppclas_core.contracts.readers.BatchReader``.

    It reads photos that are written to ``folder``, one of which is no image, and is compared with
    reading in this process: order, labels, bad images, and the pixels of each photo to within
    ``difference`` of 255 on average. An epoch is entered in the middle and left in the middle.
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
            if len(batches) != len(expected):
                fail(f"{name} gives {len(batches)} batches, not {len(expected)}")
            for batch, wanted in zip(batches, expected, strict=True):
                _expect_same(name, batch, wanted, difference)
            if tried.bad_images != left_out:
                fail(f"{name} tells of bad images {tried.bad_images}, expected {left_out}")
            for batch, wanted in zip(tried.epoch(1, start=3), expected[3:], strict=True):
                _expect_same(
                    f"{name}, entered in the middle of an epoch,", batch, wanted, difference
                )
        tried.close()


def _expect_same(name: str, batch: Batch, wanted: Batch, difference: float) -> None:
    place = f"in batch {wanted.position}"
    if batch.indices.tolist() != wanted.indices.tolist():
        fail(
            f"{name} gives the images {batch.indices.tolist()} {place}, expected "
            f"{wanted.indices.tolist()}"
        )
    images, expected = np.asarray(batch.images), np.asarray(wanted.images)
    if not (images.shape == expected.shape and images.dtype == expected.dtype):
        fail(
            f"{name} gives {images.dtype} {list(images.shape)} {place}, expected {expected.dtype} "
            f"{list(expected.shape)}"
        )
    found = np.abs(images.astype(np.float32) - expected).mean(axis=(1, 2, 3)).max().item()
    expect(found <= difference, f"{name} shows an image that differs by {found:.1f} of 255 {place}")
