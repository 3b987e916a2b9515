"""Augmentations of one image [H, W, C]: draw the parameters, then call ``functional``."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from ppclas_core.data import Draw, Image, Transform
from ppclas_core.errors import ConfigError, ShapeError
from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from ppclas_augment import functional

Share = Annotated[float, Field(ge=0.0, le=1.0)]

IMAGENET_MEAN = (124, 116, 104)
"""Mean colour of ImageNet, RGB in 0..255: (0.485, 0.456, 0.406) · 255. Normalising turns it into 0."""


class RandomErasing(Transform):
    """Fill a rectangle of random place, area and shape (Zhong et al. 2017, https://arxiv.org/abs/1708.04896).

    A rectangle that does not fit into the image is drawn again.
    """

    probability: Share = 0.5
    """Share of the images that are erased."""
    area: tuple[Share, Share] = (0.02, 0.4)
    """Smallest and largest share of the image's area, drawn uniformly."""
    aspect: tuple[PositiveFloat, PositiveFloat] = (0.3, 1 / 0.3)
    """Smallest and largest height / width, drawn uniformly as in the paper: 77 % of them are upright."""
    log_aspect: bool = False
    """Draw the logarithm of the aspect uniformly: upright and flat are then equally likely."""
    attempts: PositiveInt = 100
    """Draws until the image is left as it is."""
    fill: Literal["color", "pixels"] = "color"
    """``color``: one colour; ``pixels``: noise, the paper's best: uniform in 0..255, standard normal in floats."""
    color: tuple[float, ...] | None = None
    """One value a channel, in the image's units (0..255 for uint8). Nothing: ImageNet's mean colour, which is 0 in a
    float image, taken as normalised."""

    @field_validator("area", "aspect")
    @classmethod
    def _rising(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if limits[0] > limits[1]:
            raise ValueError(f"the smaller limit comes first; got {list(limits)}")
        return limits

    @model_validator(mode="after")
    def _noise_has_no_color(self) -> RandomErasing:
        if self.fill == "pixels" and self.color is not None:
            raise ValueError("fill 'pixels' takes no color: leave color out, or set fill to 'color'")
        return self

    def __call__(self, image: Image, draw: Draw) -> Image:
        if image.ndim != 3 or image.shape[2] > 4:
            raise ShapeError(
                f"RandomErasing takes an image [H, W, C] with C up to 4; got {list(image.shape)}. "
                f"Place it before the layout changes to [C, H, W]."
            )
        if draw.rng.random() >= self.probability:
            return image
        box = self._box(image.shape[0], image.shape[1], draw.rng)
        if box is None:
            return image
        return functional.erase(image, *box, fill=self._fill(image, box, draw.rng))

    def _box(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int] | None:
        """Top, left, height and width in pixels."""
        for _ in range(self.attempts):
            area = height * width * rng.uniform(*self.area)
            if self.log_aspect:
                aspect = math.exp(rng.uniform(math.log(self.aspect[0]), math.log(self.aspect[1])))
            else:
                aspect = rng.uniform(*self.aspect)
            h, w = max(1, round(math.sqrt(area * aspect))), max(1, round(math.sqrt(area / aspect)))
            if h < height and w < width:
                return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
        return None

    def _fill(self, image: Image, box: tuple[int, int, int, int], rng: np.random.Generator) -> NDArray[np.generic]:
        """A colour [C] or a patch [h, w, C] in the image's dtype."""
        channels, is_uint8 = image.shape[2], image.dtype == np.uint8
        if self.fill == "pixels":
            shape = (box[2], box[3], channels)
            if is_uint8:
                return rng.integers(0, 256, shape, dtype=np.uint8)
            return rng.standard_normal(shape, dtype=np.float32).astype(image.dtype)
        color = self.color
        if color is None:
            color = IMAGENET_MEAN if is_uint8 else (0.0,) * channels
        if len(color) != channels:
            raise ConfigError(
                f"RandomErasing: color has {len(color)} values and the image {channels} channels. "
                f"Set one value a channel."
            )
        return np.asarray(color).astype(image.dtype)
