"""Augmentations under the names ``light``, ``medium`` and ``strong``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ppclas_core.config.schema import ComponentConfig as Use


@dataclass(frozen=True)
class Preset:
    """What is added behind the crop and flip of training."""

    summary: str
    transforms: tuple[Use, ...]
    """Of single images, uint8 [H, W, 3]."""
    batch_transforms: tuple[Use, ...] = ()
    """Of whole batches."""


PRESETS: Mapping[str, Preset] = {
    "light": Preset(
        "small changes of brightness, contrast and saturation",
        (Use(name="ColorJitter", brightness=0.2, contrast=0.2, saturation=0.2),),
    ),
    "medium": Preset(
        "one random operation of random strength (TrivialAugment)", (Use(name="TrivialAugment"),)
    ),
    "strong": Preset(
        "two random operations (RandAugment), erased boxes, batches mixed by Mixup or CutMix",
        (
            Use(name="RandAugment", num_layers=2, magnitude=5.0),
            Use(name="RandomErasing", probability=0.25),
        ),
        (Use(name="MixupOrCutMix"),),
    ),
}
"""Name → what it adds; ``--augment`` of ``ppclas train`` and ``ppclas data preview``."""
