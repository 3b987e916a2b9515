"""Erasing a part of one image [H, W, C]: Cutout, RandomErasing, HideAndSeek, GridMask.

Before normalisation (uint8) what is erased becomes ImageNet's mean colour, after it (float32) 0,
which is the same colour; ``color`` sets another.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from ppclas_core.config.schema import Fraction
from ppclas_core.contracts.data import Draw, Image, Transform
from ppclas_core.errors import ShapeError
from ppclas_data.transforms.functional import fill_color
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from ppclas_augment import functional

Period = Annotated[int, Field(ge=2)]
"""In pixels: there is room for a bar and a square."""


class _Erasing(Transform):
    """What the erasing transforms share."""

    probability: Fraction = 1.0
    """Share of the images that are erased."""
    color: tuple[float, ...] | None = None
    """One value a channel, in the image's units (whole numbers in 0..255 for uint8). Nothing:
    ImageNet's mean colour, which is 0 in a float image, taken as normalised."""

    def __call__(self, image: Image, draw: Draw) -> Image:
        if image.ndim != 3 or image.shape[2] > 4:
            raise ShapeError(
                f"{type(self).__name__} takes an image [H, W, C] with C up to 4; got "
                f"{list(image.shape)}. Place it before the layout changes to [C, H, W]."
            )
        if draw.rng.random() >= self._chance(draw):
            return image
        return self._erase(image, draw.rng)

    def _chance(self, draw: Draw) -> float:
        return self.probability

    def _erase(self, image: Image, rng: np.random.Generator) -> Image:
        raise NotImplementedError

    def _color(self, image: Image) -> NDArray[np.generic]:
        """A colour [C] in the image's dtype."""
        return fill_color(self.color, image.shape[2], image.dtype, f"{type(self).__name__}.color")


class Cutout(_Erasing):
    """Fill squares of one size, centred anywhere; less of one that reaches over the border is seen.

    Example:
        Of a square of 4 x 4 pixels, between 2 x 2 and all are in the image:

        >>> import numpy as np
        >>> from ppclas_core.contracts.data import Draw
        >>> image = np.full((8, 8, 3), 200, np.uint8)
        >>> erased = Cutout(length=4, color=(0, 0, 0))(image, Draw(np.random.default_rng(0)))
        >>> erased.shape, bool(4 <= np.sum(erased[..., 0] == 0) <= 16)
        ((8, 8, 3), True)

    Paper: "Improved Regularization of Convolutional Neural Networks with Cutout", DeVries & Taylor
    2017, https://arxiv.org/abs/1708.04552
    """

    length: PositiveInt | None = None
    """Side in pixels. Nothing: half the shorter side of the image, 112 of 224."""
    holes: PositiveInt = 1
    """Squares an image."""

    def _erase(self, image: Image, rng: np.random.Generator) -> Image:
        height, width = image.shape[:2]
        length = self.length or max(1, min(height, width) // 2)
        color = self._color(image)
        for y, x in rng.random((self.holes, 2)).tolist():
            top, left = int(y * height) - length // 2, int(x * width) - length // 2
            bottom, right = min(height, top + length), min(width, left + length)
            top, left = max(0, top), max(0, left)
            image = functional.erase(image, top, left, bottom - top, right - left, color)
        return image


class RandomErasing(_Erasing):
    """Fill a rectangle of random place, area and shape.

    For a share a of the image's area S and an aspect r its height is ``√(a · S · r)`` and its width
    ``√(a · S / r)``. A rectangle that does not fit into the image is drawn again.

    Example:
        A quarter of 8 x 8 pixels as a square is 4 x 4 = 16 pixels:

        >>> import numpy as np
        >>> from ppclas_core.contracts.data import Draw
        >>> image = np.full((8, 8, 3), 200, np.uint8)
        >>> quarter = RandomErasing(
        ...     probability=1.0, area=(0.25, 0.25), aspect=(1.0, 1.0), color=(0, 0, 0)
        ... )
        >>> int(np.sum(quarter(image, Draw(np.random.default_rng(0)))[..., 0] == 0))
        16

    Paper: "Random Erasing Data Augmentation", Zhong et al. 2017, https://arxiv.org/abs/1708.04896
    """

    probability: Fraction = 0.5
    """Share of the images that are erased."""
    area: tuple[Fraction, Fraction] = (0.02, 0.4)
    """Smallest and largest share of the image's area, drawn uniformly."""
    aspect: tuple[PositiveFloat, PositiveFloat] = (0.3, 1 / 0.3)
    """Smallest and largest height / width, drawn uniformly as in the paper: 77 % of them are
    upright."""
    log_aspect: bool = False
    """Draw the logarithm of the aspect uniformly: upright and flat are then equally likely."""
    attempts: PositiveInt = 100
    """Draws until the image is left as it is."""
    fill: Literal["color", "pixels"] = "color"
    """``color``: one colour; ``pixels``: noise, the paper's best: uniform in 0..255, standard
    normal in floats."""

    @field_validator("area", "aspect")
    @classmethod
    def _rising(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if limits[0] > limits[1]:
            raise ValueError(f"the smaller limit comes first; got {list(limits)}")
        return limits

    @field_validator("area")
    @classmethod
    def _leaves_something(cls, area: tuple[float, float]) -> tuple[float, float]:
        if area[0] > 0.9:
            raise ValueError(f"expected a smallest area of 0.9 or less, got {area[0]:g}")
        return area

    @model_validator(mode="after")
    def _noise_has_no_color(self) -> RandomErasing:
        if self.fill == "pixels" and self.color is not None:
            raise ValueError(
                "fill 'pixels' takes no color: leave color out, or set fill to 'color'"
            )
        return self

    def _erase(self, image: Image, rng: np.random.Generator) -> Image:
        box = self._box(image.shape[0], image.shape[1], rng)
        if box is None:
            return image
        if self.fill == "color":
            return functional.erase(image, *box, fill=self._color(image))
        shape = (box[2], box[3], image.shape[2])
        if image.dtype == np.uint8:
            # Eight bytes a draw: twice as fast as the generator's own bytes.
            raw = rng.bit_generator.random_raw(math.prod(shape) // 8 + 1)
            noise: NDArray[np.generic] = raw.view(np.uint8)[: math.prod(shape)].reshape(shape)
        else:
            noise = rng.standard_normal(shape, dtype=np.float32)
        return functional.erase(image, *box, fill=noise)

    def _box(
        self, height: int, width: int, rng: np.random.Generator
    ) -> tuple[int, int, int, int] | None:
        """Top, left, height and width in pixels."""
        low, high = (math.log(limit) for limit in self.aspect) if self.log_aspect else self.aspect
        for _ in range(self.attempts):
            share, shape, y, x = rng.random(4).tolist()
            area = height * width * (self.area[0] + (self.area[1] - self.area[0]) * share)
            aspect = low + (high - low) * shape
            if self.log_aspect:
                aspect = math.exp(aspect)
            h, w = max(1, round(math.sqrt(area * aspect))), max(1, round(math.sqrt(area / aspect)))
            if h < height and w < width:
                return int(y * (height - h + 1)), int(x * (width - w + 1)), h, w
        return None


_PAPER_CELLS = (0, 16, 32, 44, 56)
"""Sides of Hide-and-Seek's cells in pixels, for images of 224."""


class HideAndSeek(_Erasing):
    """Hide the cells of a grid, each with ``hide_probability``.

    Example:
        Cells of 4 x 4 pixels are hidden as a whole:

        >>> import numpy as np
        >>> from ppclas_core.contracts.data import Draw
        >>> image = np.full((8, 8, 3), 200, np.uint8)
        >>> hide = HideAndSeek(grid_sizes=(4,), color=(0, 0, 0))
        >>> hidden = hide(image, Draw(np.random.default_rng(0)))[..., 0] == 0
        >>> sorted({int(cell.sum()) for row in np.split(hidden, 2) for cell in np.split(row, 2, 1)})
        [0, 16]

    Paper: "Hide-and-Seek: A Data Augmentation Technique for Weakly-Supervised Localization and
    Beyond", Singh et al. 2018, https://arxiv.org/abs/1811.02545
    """

    grid_sizes: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] | None = None
    """Sides of the cells in pixels, of which one is drawn for an image; 0 leaves it as it is.
    Nothing: 0 and 1/14, 1/7, 11/56 and 1/4 of the image's shorter side, which are the paper's 0,
    16, 32, 44 and 56 at 224 pixels."""
    hide_probability: Fraction = 0.5
    """Share of the cells that are hidden."""

    def _erase(self, image: Image, rng: np.random.Generator) -> Image:
        height, width = image.shape[:2]
        sizes = self.grid_sizes or _PAPER_CELLS
        cell = sizes[rng.integers(len(sizes))]
        if self.grid_sizes is None:
            cell = -(-cell * min(height, width) // 224)
        # No larger than the image: cells are made whole before they are cut off at its borders.
        cell = min(cell, max(height, width))
        if not cell:
            return image
        shown = rng.random((-(-height // cell), -(-width // cell))) >= self.hide_probability
        mask = functional.cell_mask(shown.view(np.uint8), cell, height, width)
        return functional.keep_where(image, mask, self._color(image))


class GridMask(_Erasing):
    """Remove the squares of a turned grid: ``(1 - ratio)²`` of the image.

    In epoch e of E the probability is ``probability · min(1, e / (ramp · E))``.

    Example:
        Bars of 2 pixels every 4 leave squares of 2 x 2, a quarter of the image:

        >>> import numpy as np
        >>> from ppclas_core.contracts.data import Draw
        >>> image = np.full((8, 8, 3), 200, np.uint8)
        >>> grid = GridMask(
        ...     probability=1.0, period=(4, 4), ratio=0.5, rotate=0, color=(0, 0, 0)
        ... )
        >>> float(np.mean(grid(image, Draw(np.random.default_rng(0))) == 0))
        0.25

    Paper: "GridMask Data Augmentation", Chen et al. 2020, https://arxiv.org/abs/2001.04086
    """

    probability: Fraction = 0.8
    """Share of the images that are masked, once it is reached."""
    ramp: Fraction = 0.8
    """Share of the epochs over which the probability grows in a straight line: 240 of 300 in the
    paper. 0: it is there from the first epoch, as in a run of one."""
    period: tuple[Period, Period] | None = None
    """Smallest and largest distance of the bars in pixels, 2 or more, drawn uniformly. Nothing:
    from 3/7 of the image's shorter side to all of it, which is the paper's 96 to 224 at 224
    pixels."""
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """Width of a bar as a share of the period; 0.6 in the paper. The squares are what is between
    the bars."""
    remove: Literal["squares", "bars"] = "squares"
    """``squares`` removes (1 - ratio)² of the image, ``bars`` the rest."""
    rotate: Annotated[int, Field(ge=0, le=360)] = 360
    """The angle is uniform from 0 to below this many degrees."""

    @field_validator("period")
    @classmethod
    def _rising(cls, limits: tuple[int, int] | None) -> tuple[int, int] | None:
        if limits is not None and limits[0] > limits[1]:
            raise ValueError(f"the smaller limit comes first; got {list(limits)}")
        return limits

    def _chance(self, draw: Draw) -> float:
        if not self.ramp or draw.epochs == 1:
            return self.probability
        return self.probability * min(1.0, draw.epoch / (self.ramp * draw.epochs))

    def _erase(self, image: Image, rng: np.random.Generator) -> Image:
        height, width = image.shape[:2]
        side = min(height, width)
        low, high = self.period or (max(1, round(side * 3 / 7)), side)
        period = rng.integers(low, high + 1).item()
        down, right = rng.integers(period, size=2).tolist()
        degrees = rng.integers(self.rotate).item() if self.rotate else 0
        # Neither bars nor squares vanish, as in the authors' code.
        bar = min(max(1, int(period * self.ratio + 0.5)), max(1, period - 1))
        squares = functional.grid_mask(height, width, period, bar, (down, right), degrees)
        kept = squares if self.remove == "bars" else 1 - squares
        return functional.keep_where(image, kept, self._color(image))
