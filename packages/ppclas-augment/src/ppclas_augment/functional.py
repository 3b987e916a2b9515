"""Augmentations as pure functions on one image [H, W, C]. Nothing here is random."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from ppclas_core.data import Image


def erase(image: Image, top: int, left: int, height: int, width: int, fill: ArrayLike) -> Image:
    """A copy of ``image`` with a rectangle (pixels, inside the image) replaced by ``fill``.

    ``fill`` is in the image's units: a value, a colour [C] or a patch [height, width, C].
    """
    erased = np.array(image)
    erased[top : top + height, left : left + width] = fill
    return erased
