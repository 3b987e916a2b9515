"""The basic image transforms: frozen parameters that map an image [H, W, C] to another.

Sizes are (height, width).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from ppclas_core.config.schema import Fraction, Size
from ppclas_core.contracts.data import Draw, Image, Transform
from pydantic import PositiveFloat, PositiveInt, model_validator

from ppclas_data.transforms import functional
from ppclas_data.transforms.functional import Axis, Fill, Interpolation
from ppclas_data.transforms.window import Window, WindowTransform


def size_pair(size: Size) -> tuple[int, int]:
    """(height, width) of a side or a pair."""
    return (size, size) if isinstance(size, int) else size


class Resize(WindowTransform):
    """Resize to an exact size, or by the short side, keeping the aspect ratio.

    >>> import numpy as np
    >>> from ppclas_core.contracts.data import sample_draw
    >>> photo = np.zeros((200, 300, 3), np.uint8)
    >>> Resize(short=100)(photo, sample_draw(seed=0, epoch=0, index=0)).shape
    (100, 150, 3)
    """

    size: Size | None = None
    """(height, width) or a side, in pixels; the aspect ratio may change."""
    short: PositiveInt | None = None
    """Length of the shorter side, in pixels; the other follows, rounded half to even."""
    interpolation: Interpolation = "bilinear"
    """As OpenCV has them: only "area" antialiases."""
    antialias: bool = False
    """Resize as Pillow does, which averages pixels where it shrinks: RGB photos alone."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Resize:
        if (self.size is None) == (self.short is None):
            raise ValueError(
                "give either size (height, width) or short (the shorter side), and not both"
            )
        return self

    def window(self, height: int, width: int, draw: Draw) -> Window:
        """The whole image."""
        if self.size is not None:
            size = size_pair(self.size)
        else:
            assert self.short is not None  # one of the two is given
            size = functional.short_side_size(height, width, self.short)
        return Window(0, 0, height, width, size, self.interpolation, self.antialias)


class CenterCrop(Transform):
    """The middle of the image; an image smaller than that is padded on all sides.

    >>> import numpy as np
    >>> from ppclas_core.contracts.data import sample_draw
    >>> pixels = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    >>> CenterCrop(size=2)(pixels, sample_draw(seed=0, epoch=0, index=0))[..., 0].tolist()
    [[5, 6], [9, 10]]
    """

    size: Size
    """(height, width) or a side, in pixels."""
    fill: Fill = None
    """Colour of the padding: one value, or one a channel, in the image's units (0..255 before
    Normalize). Nothing: ImageNet's mean colour, which is 0 once normalised."""

    def __call__(self, image: Image, draw: Draw) -> Image:
        """[H, W, C] to [height, width, C]."""
        return functional.center_crop(image, size_pair(self.size), self.fill)


class RandomResizedCrop(WindowTransform):
    """A box of random area and aspect ratio, resized to ``size``.

    Szegedy et al. 2015, section 6, https://arxiv.org/abs/1409.4842. A quarter of the area at aspect
    ratio 1 is a square with half the side:

    >>> import numpy as np
    >>> crop = RandomResizedCrop(size=32, scale=(0.25, 0.25), ratio=(1, 1))
    >>> top, left, height, width = crop.draw_box(100, 100, np.random.default_rng(0))
    >>> height, width
    (50, 50)
    """

    size: Size
    """(height, width) or a side, in pixels."""
    scale: tuple[PositiveFloat, PositiveFloat] = (0.08, 1.0)
    """Smallest and largest share of the image's area."""
    ratio: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3)
    """Smallest and largest width / height of the box."""
    interpolation: Interpolation | Literal["random"] = "bilinear"
    """As OpenCV has them: only "area" antialiases. random: bilinear or bicubic, drawn each time."""
    antialias: bool = False
    """Resize as Pillow does, as for Resize."""
    sampling: Literal["one_draw", "one_draw_log", "ten_tries"] = "one_draw"
    """one_draw: PaddleClas' rule, uniform in the aspect ratio, with the area share bounded by what
    fits. one_draw_log: the same, uniform in the logarithm of the ratio. ten_tries: Inception's and
    torchvision's rule, uniform in the area, log-uniform in the ratio, tried again while it does not
    fit."""

    @model_validator(mode="after")
    def _ranges_ascend(self) -> RandomResizedCrop:
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(
                    f"{name} goes from the smaller to the larger value, got {low} to {high}"
                )
        if self.scale[1] > 1:
            raise ValueError(
                f"scale is a share of the image's area, at most 1, got {self.scale[1]}"
            )
        return self

    def window(self, height: int, width: int, draw: Draw) -> Window:
        """A random box."""
        box, how = self.draw_box(height, width, draw.rng), self.interpolation
        if how == "random":
            how = "bilinear" if draw.rng.random() < 0.5 else "bicubic"
        return Window(*box, size_pair(self.size), how, self.antialias)

    def draw_box(
        self, height: int, width: int, rng: np.random.Generator
    ) -> tuple[int, int, int, int]:
        """Top, left, height and width of a box inside an image of ``height`` x ``width``."""
        if self.sampling == "ten_tries":
            return self._try_ten_times(height, width, rng)
        return _place(height, width, *self._draw_once(height, width, rng), rng)

    def _draw_once(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
        ratio = (
            _log_uniform(rng, self.ratio)
            if self.sampling == "one_draw_log"
            else _uniform(rng, *self.ratio)
        )
        bound = min(width / height / ratio, height / width * ratio)
        share = _uniform(rng, min(self.scale[0], bound), min(self.scale[1], bound))
        area = height * width * share
        # At least a pixel: a thin or tiny image would give a box of none. At most the image:
        # rounding may overshoot.
        return _clip(math.sqrt(area / ratio), height), _clip(math.sqrt(area * ratio), width)

    def _try_ten_times(
        self, height: int, width: int, rng: np.random.Generator
    ) -> tuple[int, int, int, int]:
        (smallest, largest), (low, high) = self.scale, self.ratio
        for _ in range(10):
            # All that a try needs at once: a call of the generator takes longer than the rest of
            # it.
            share, shape, down, right = rng.random(4).tolist()
            area = height * width * (smallest + (largest - smallest) * share)
            ratio = low * (high / low) ** shape
            box_height, box_width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < box_height <= height and 0 < box_width <= width:
                top, left = (
                    int(down * (height - box_height + 1)),
                    int(right * (width - box_width + 1)),
                )
                return top, left, box_height, box_width
        # The largest box of an allowed ratio, in the middle.
        box_height, box_width = (
            _clip(round(width / low), height),
            _clip(round(height * high), width),
        )
        return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


class RandomFlip(Transform):
    """Mirror the image by chance.

    >>> import numpy as np
    >>> from ppclas_core.contracts.data import sample_draw
    >>> row = np.array([[[0, 0, 0], [1, 1, 1], [2, 2, 2]]], np.uint8)
    >>> RandomFlip(probability=1.0)(row, sample_draw(seed=0, epoch=0, index=0))[..., 0].tolist()
    [[2, 1, 0]]
    """

    axis: Axis = "horizontal"
    """horizontal: left-right; vertical: top-bottom; both at once."""
    probability: Fraction = 0.5
    """Share of the images that are mirrored."""

    def __call__(self, image: Image, draw: Draw) -> Image:
        """[H, W, C], unchanged in shape."""
        return functional.flip(image, self.axis) if self._drawn(draw) else image

    def in_place(self, image: Image, draw: Draw) -> None:
        """The same of an image that is the caller's own."""
        if self._drawn(draw):
            functional.flip_in_place(image, self.axis)

    def _drawn(self, draw: Draw) -> bool:
        return draw.rng.random() < self.probability


class Normalize(Transform):
    """``(image / 255 - mean) / std``, for lists that want float32; else the device does it.

    White is (1 - 0.485) / 0.229 in the red channel:

    >>> import numpy as np
    >>> from ppclas_core.contracts.data import sample_draw
    >>> white = np.full((2, 2, 3), 255, np.uint8)
    >>> round(float(Normalize()(white, sample_draw(seed=0, epoch=0, index=0))[0, 0, 0]), 4)
    2.2489
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """One value a channel, for images in 0..1. The default is ImageNet's."""
    std: tuple[PositiveFloat, ...] = (0.229, 0.224, 0.225)
    """One value a channel, for images in 0..1."""

    @model_validator(mode="after")
    def _as_many_means_as_stds(self) -> Normalize:
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean has {len(self.mean)} values and std {len(self.std)}: give one a channel in "
                "both"
            )
        return self

    def __call__(self, image: Image, draw: Draw) -> Image:
        """[H, W, C] uint8 to float32."""
        return functional.normalize(image, self.mean, self.std)


class ToCHW(Transform):
    """[H, W, C] to [C, H, W], for code outside ppclas, which changes the layout on the device.

    >>> import numpy as np
    >>> from ppclas_core.contracts.data import sample_draw
    >>> ToCHW()(np.zeros((4, 6, 3), np.uint8), sample_draw(seed=0, epoch=0, index=0)).shape
    (3, 4, 6)
    """

    def __call__(self, image: Image, draw: Draw) -> Image:
        """The same pixels as [C, H, W], a view."""
        return functional.to_chw(image)


def _place(
    height: int, width: int, box_height: int, box_width: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    top, left = (
        int(rng.integers(0, room + 1)) for room in (height - box_height, width - box_width)
    )
    return top, left, box_height, box_width


def _log_uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return math.exp(_uniform(rng, math.log(limits[0]), math.log(limits[1])))


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()  # rng.uniform, four times as fast


def _clip(side: float, limit: int) -> int:
    return min(max(1, int(side)), limit)
