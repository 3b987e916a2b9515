"""Transforms that resize one box of the image: known before a photo is decoded, the rest of it need not be."""

from __future__ import annotations

from typing import NamedTuple

from ppclas_core.data import functional
from ppclas_core.data.base import Draw, Image, Transform
from ppclas_core.data.functional import Interpolation


class Window(NamedTuple):
    """A box of an image, in pixels of the upright image, and what it is resized to."""

    top: int
    left: int
    height: int
    width: int
    size: tuple[int, int]
    """(height, width) after the resize."""
    interpolation: Interpolation = "bilinear"

    def resize(self, pixels: Image, out: Image | None = None) -> Image:
        """The box's pixels, at any resolution, [h, w, C] to [*size, C]; written to ``out`` if that fits."""
        return functional.resize(pixels, self.size, self.interpolation, out)


class WindowTransform(Transform):
    """Resize one box of the image.

    As the first of a list it is asked for its window before a JPEG is decoded; the decoder then reads only the rows it
    needs, at the smallest scale that still has as many pixels as ``Window.size``. Subclasses give ``window``.
    """

    def window(self, height: int, width: int, draw: Draw) -> Window:
        """The box of an image of ``height`` x ``width`` pixels; all that is random about the transform."""
        raise NotImplementedError

    def __call__(self, image: Image, draw: Draw) -> Image:
        """[H, W, C] to [*size, C]."""
        window = self.window(image.shape[0], image.shape[1], draw)
        return window.resize(functional.crop(image, window.top, window.left, window.height, window.width))
