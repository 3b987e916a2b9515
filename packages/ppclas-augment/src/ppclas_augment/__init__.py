"""Augmentations for ppclas as plugins: policies of operations, erasing, mixing of whole batches.

Importing this module imports neither Paddle nor NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppclas_augment.automatic import (
        AugMix,
        AutoAugment,
        ColorJitter,
        RandAugment,
        TrivialAugment,
    )
    from ppclas_augment.batch import CutMix, FMix, Mixup, MixupOrCutMix
    from ppclas_augment.erasing import Cutout, GridMask, HideAndSeek, RandomErasing
    from ppclas_augment.scales import MultiScale
    from ppclas_augment.timm_policy import TimmRandAugment

__all__ = [
    "AugMix",
    "AutoAugment",
    "ColorJitter",
    "CutMix",
    "Cutout",
    "FMix",
    "GridMask",
    "HideAndSeek",
    "Mixup",
    "MixupOrCutMix",
    "MultiScale",
    "RandAugment",
    "RandomErasing",
    "TimmRandAugment",
    "TrivialAugment",
]

_MODULES = {
    "automatic": ("AugMix", "AutoAugment", "ColorJitter", "RandAugment", "TrivialAugment"),
    "batch": ("CutMix", "FMix", "Mixup", "MixupOrCutMix"),
    "erasing": ("Cutout", "GridMask", "HideAndSeek", "RandomErasing"),
    "scales": ("MultiScale",),
    "timm_policy": ("TimmRandAugment",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
