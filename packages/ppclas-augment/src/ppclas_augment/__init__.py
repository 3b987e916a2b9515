"""Augmentations for ppclas: random erasing, mixup and more, as plugins.

Importing this module imports neither Paddle nor NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppclas_augment.batch import Mixup
    from ppclas_augment.image import RandomErasing

__all__ = ["Mixup", "RandomErasing"]

_LAZY = {"Mixup": "ppclas_augment.batch", "RandomErasing": "ppclas_augment.image"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
