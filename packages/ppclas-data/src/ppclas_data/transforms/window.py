"""Transforms that resize one box of the image, known before a photo is decoded."""

from __future__ import annotations

from typing import NamedTuple

from ppclas_core.contracts.data import Draw, Image, Transform

from ppclas_data.transforms import functional
from ppclas_data.transforms.functional import Interpolation


class Window(NamedTuple):
    """A box of an image, in pixels of the upright image, and what it is resized to."""

    top: int
    left: int
    height: int
    width: int
    size: tuple[int, int]
    """(height, width) after the resize."""
    interpolation: Interpolation = "bilinear"
    antialias: bool = False
    """Average the pixels that a smaller one stands for, as Pillow does."""

    def resize(self, pixels: Image, out: Image | None = None) -> Image:
        """The box's pixels, [h, w, C] of any resolution, to [*size, C]; in ``out`` if that fits."""
        if self.antialias:
            return functional.resize_antialiased(pixels, self.size, self.interpolation)
        return functional.resize(pixels, self.size, self.interpolation, out)


class WindowTransform(Transform):
    """Resize one box of the image.

    As the first of a list it is asked for its window before a JPEG is decoded; the decoder then
    reads only the rows it needs, at the smallest scale that still has as many pixels as
    ``Window.size``. Subclasses give ``window``, and ``finish`` if something follows the resize.
    """

    def window(self, height: int, width: int, draw: Draw) -> Window:
        """The box of an image of ``height`` x ``width`` pixels; all chance is in here."""
        raise NotImplementedError

    def finish(self, image: Image) -> Image:
        """What the resized box [*size, C] becomes."""
        return image

    def __call__(self, image: Image, draw: Draw) -> Image:
        """[H, W, C] to what ``finish`` makes of [*size, C]."""
        window = self.window(image.shape[0], image.shape[1], draw)
        box = functional.crop(image, window.top, window.left, window.height, window.width)
        return self.finish(window.resize(box))
