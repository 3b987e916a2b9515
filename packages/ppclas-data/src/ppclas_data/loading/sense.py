"""Transforms that are each allowed and make no sense for what they are for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from ppclas_core.config.schema import ComponentConfig, DataSection
from ppclas_core.contracts.data import Transform, sample_draw
from ppclas_core.errors import ConfigError

from ppclas_data.loading.pipeline import Pipeline, build_transforms
from ppclas_data.transforms.basic import CenterCrop, Resize

if TYPE_CHECKING:
    from ppclas_core.contracts.data import Image

_DRAWS = 8


def check_transforms(data: DataSection) -> list[str]:
    """What is odd about the transforms of a data section, a sentence each.

    Raises:
        ConfigError: evaluation is random, or nothing of a photo is left to train on.
    """
    _check_eval(data.eval_transforms or ())
    _check_train(build_transforms(data.train_transforms or (), "data.train_transforms"))
    notes = []
    for name in ("train_transforms", "eval_transforms"):
        built = build_transforms(getattr(data, name) or (), f"data.{name}")
        for resize, crop in pairwise(built):
            short = resize.short if isinstance(resize, Resize) else None
            size = crop.size if isinstance(crop, CenterCrop) else 0
            most = size if isinstance(size, int) else max(size)
            if short is not None and short < most:
                notes.append(
                    f"warning: data.{name} resizes the short side to {short} and then crops "
                    f"{most}: every photo gets a border."
                )
    return notes


def _photo(transforms: Sequence[Transform]) -> Image:
    shape = (300, 400, Pipeline(transforms).channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _check_eval(listed: Sequence[ComponentConfig]) -> None:
    """Two draws must give one image: a random transform would measure something else each time."""
    transforms = build_transforms(listed, "data.eval_transforms")
    image = _photo(transforms)
    for component, transform in zip(listed, transforms, strict=True):
        results = [transform(image, sample_draw(0, 0, index)) for index in range(_DRAWS)]
        if not all(np.array_equal(results[0], other) for other in results[1:]):
            raise ConfigError(
                f"data.eval_transforms has {component.name}, which is random: evaluation would "
                "measure something else each time. Expected transforms like Resize and CenterCrop."
            )
        image = results[0]


def _check_train(transforms: Sequence[Transform]) -> None:
    images = [_photo(transforms)] * _DRAWS
    for transform in transforms:
        images = [transform(image, sample_draw(0, 0, index)) for index, image in enumerate(images)]
        if all(np.ptp(image, axis=(0, 1)).max() == 0 for image in images):
            raise ConfigError(
                f"data.train_transforms: after {type(transform).__name__} a photo is of one colour "
                "alone, so there is nothing to learn from. Crop more of it, or erase less."
            )
