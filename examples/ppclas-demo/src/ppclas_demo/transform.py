"""A transform: its fields are what a config may set, and are checked before training starts."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from ppclas_core.contracts.data import Draw, Image, Transform
from pydantic import Field, PositiveInt


class Pixelate(Transform):
    """Draw the image with large square pixels."""

    block: PositiveInt = 4
    """Side of the new pixels, in old ones."""
    probability: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Share of the images that are changed."""

    def __call__(self, image: Image, draw: Draw) -> Image:
        """[H, W, C], unchanged in shape."""
        if draw.rng.random() >= self.probability:
            return image
        height, width = image.shape[:2]
        coarse = image[:: self.block, :: self.block]
        return np.repeat(np.repeat(coarse, self.block, axis=0), self.block, axis=1)[:height, :width]
