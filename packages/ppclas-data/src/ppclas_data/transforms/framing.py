"""Ways to bring an image to a size without changing its scale, or without losing any of it."""

from __future__ import annotations

from ppclas_core.config.schema import Size
from ppclas_core.contracts.data import Draw, Image, Transform
from pydantic import NonNegativeInt

from ppclas_data.transforms import functional
from ppclas_data.transforms.basic import size_pair
from ppclas_data.transforms.functional import Fill, Interpolation
from ppclas_data.transforms.window import Window, WindowTransform


class Letterbox(WindowTransform):
    """All of the image, as large as fits, in the middle of ``size``, between bars of one colour.

    A white image twice as wide as high gets a row of bars above and below:

    >>> import numpy as np
    >>> from ppclas_core.contracts.data import sample_draw
    >>> white = np.full((2, 4, 3), 255, np.uint8)
    >>> boxed = Letterbox(size=4, fill=0.0)(white, sample_draw(seed=0, epoch=0, index=0))
    >>> boxed[:, 0, 0].tolist()
    [0, 255, 255, 0]
    """

    size: Size
    """(height, width) or a side, in pixels."""
    interpolation: Interpolation = "bilinear"
    """As OpenCV has them: only "area" antialiases."""
    fill: Fill = None
    """Colour of the bars: one value, or one a channel, in the image's units (0..255 before
    Normalize). Nothing: ImageNet's mean colour, which is 0 once normalised."""

    def window(self, height: int, width: int, draw: Draw) -> Window:
        """The whole image, as large as fits."""
        fitting = functional.fitting_size(height, width, size_pair(self.size))
        return Window(0, 0, height, width, fitting, self.interpolation)

    def finish(self, image: Image) -> Image:
        """[h, w, C] to [height, width, C]."""
        return functional.pad_to(image, size_pair(self.size), self.fill)


class RandomCrop(Transform):
    """A box of ``size`` anywhere in the image, at its own scale; smaller images are padded first.

    With padding 4 as for CIFAR (He et al. 2016, section 4.2, https://arxiv.org/abs/1512.03385):

    >>> import numpy as np
    >>> from ppclas_core.contracts.data import sample_draw
    >>> photo = np.zeros((32, 32, 3), np.uint8)
    >>> RandomCrop(size=32, padding=4)(photo, sample_draw(seed=0, epoch=0, index=0)).shape
    (32, 32, 3)
    """

    size: Size
    """(height, width) or a side, in pixels."""
    padding: NonNegativeInt = 0
    """Pixels added on all sides first, so that the box may reach over the border: 4 for CIFAR."""
    fill: Fill = None
    """Colour of the padding, as for Letterbox."""

    def __call__(self, image: Image, draw: Draw) -> Image:
        """[H, W, C] to [height, width, C]."""
        height, width = size_pair(self.size)
        wanted = (
            max(height, image.shape[0] + 2 * self.padding),
            max(width, image.shape[1] + 2 * self.padding),
        )
        top, left = draw.rng.integers((wanted[0] - height + 1, wanted[1] - width + 1)).tolist()
        return functional.crop(
            functional.pad_to(image, wanted, self.fill), top, left, height, width
        )
