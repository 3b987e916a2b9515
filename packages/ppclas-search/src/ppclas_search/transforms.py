"""The transform behind test-time augmentation, and that of progressive image sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from ppclas_core.config.schema import Fraction, Size
from ppclas_core.contracts.data import BatchTransform, Draw, Image, Transform
from ppclas_data.transforms import functional
from ppclas_data.transforms.basic import size_pair
from pydantic import Field, PositiveInt

if TYPE_CHECKING:
    from paddle import Tensor
    from ppclas_core.contracts.training import Targets


class PlacedCrop(Transform):
    """A box of fixed size at a fixed place; an image smaller than that is padded on all sides.

    >>> import numpy as np
    >>> from ppclas_core.contracts.data import sample_draw
    >>> pixels = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    >>> corner = PlacedCrop(size=2, down=1.0, right=0.0)
    >>> corner(pixels, sample_draw(seed=0, epoch=0, index=0))[..., 0].tolist()
    [[8, 9], [12, 13]]
    """

    size: Size
    """(height, width) or a side, in pixels."""
    down: Fraction = 0.5
    """0: at the top; 1: at the bottom."""
    right: Fraction = 0.5
    """0: at the left side; 1: at the right side."""

    def __call__(self, image: Image, draw: Draw) -> Image:
        """[H, W, C] to [height, width, C]."""
        height, width = size_pair(self.size)
        padded = functional.pad_to(image, (height, width))
        top = round(self.down * (padded.shape[0] - height))
        left = round(self.right * (padded.shape[1] - width))
        return functional.crop(padded, top, left, height, width)


class ProgressiveSize(BatchTransform):
    """Small images at first, full ones at the end: the first epochs take a fraction of the time.

    The size rises by a straight line from ``start`` of the full one to all of it after ``until`` of
    the epochs (Tan & Le 2021, section 3.2, https://arxiv.org/abs/2104.00298). It never goes below
    ``multiple`` pixels.

    >>> half = ProgressiveSize(start=0.5, until=0.8)
    >>> [half.size_at(224, epoch, epochs=10) for epoch in (0, 4, 8, 9)]
    [128, 160, 224, 224]
    """

    start: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Share of the full size in the first epoch."""
    until: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    """Share of the epochs after which images have their full size."""
    multiple: PositiveInt = 32
    """Sides are rounded to a multiple of so many pixels, the stride of most networks."""

    def size_at(self, full: int, epoch: int, epochs: int) -> int:
        """Pixels that a side of ``full`` pixels has in ``epoch``, 0-based."""
        done = min(1.0, epoch / (self.until * epochs)) if epochs > 1 else 1.0
        wanted = full * (self.start + (1.0 - self.start) * done)
        rounded = self.multiple * round(wanted / self.multiple + 1e-9)
        return full if done == 1.0 else min(full, max(self.multiple, rounded))

    def __call__(self, images: Tensor, targets: Targets, draw: Draw) -> tuple[Tensor, Targets]:
        """[N, C, H, W] to [N, C, height, width]."""
        from paddle.nn.functional import interpolate

        full = tuple(images.shape[2:])
        size = [self.size_at(side, draw.epoch, draw.epochs) for side in full]
        if tuple(size) == full:
            return images, targets
        return interpolate(images, size, mode="area"), targets
