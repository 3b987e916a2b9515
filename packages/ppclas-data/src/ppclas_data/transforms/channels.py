"""How many channels an image has."""

from __future__ import annotations

import cv2
from ppclas_core.contracts.data import Draw, Image, Transform


class Grayscale(Transform):
    """Brightness alone, one channel: 0.299 red + 0.587 green + 0.114 blue (ITU-R 601), rounded.

    For models with ``in_channels: 1``. The last transform of a list but Normalize: others expect
    three channels.

    >>> import numpy as np
    >>> from ppclas_core.contracts.data import sample_draw
    >>> red = np.full((1, 1, 3), (255, 0, 0), np.uint8)
    >>> Grayscale()(red, sample_draw(seed=0, epoch=0, index=0)).tolist()
    [[[76]]]
    """

    def __call__(self, image: Image, draw: Draw) -> Image:
        """[H, W, 3] to [H, W, 1]; an image of one channel stays as it is."""
        return image if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
