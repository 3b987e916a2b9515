"""The transform behind test-time augmentation."""

from __future__ import annotations

from ppclas_core.config.schema import Fraction, Size
from ppclas_core.contracts.data import Draw, Image, Transform
from ppclas_data.transforms import functional
from ppclas_data.transforms.basic import size_pair


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
