"""Pure functions on images [H, W, C]: nothing random, every parameter explicit, the input never
written to.

Sizes are (height, width) throughout.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.data import Image
from ppclas_core.errors import ConfigError, ShapeError

Interpolation = Literal["nearest", "bilinear", "bicubic", "area", "lanczos"]
Fill = float | tuple[float, ...] | None
"""One value, or one a channel, in the image's units: whole numbers in 0..255 for uint8. None:
ImageNet's mean colour, which is 0 in a float image, taken as normalised."""
IMAGENET_MEAN = (124, 116, 104)
"""Mean colour of ImageNet, RGB in 0..255: (0.485, 0.456, 0.406) · 255. Normalising turns it into
0."""
Axis = Literal["horizontal", "vertical", "both"]

_CV2_INTERPOLATION: dict[str, int] = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}
_CHANNELS_OF_AREA = 4
"""OpenCV averages no more."""
_CV2_FLIP = {"horizontal": 1, "vertical": 0, "both": -1}


def resize(
    image: Image,
    size: tuple[int, int],
    interpolation: Interpolation = "bilinear",
    out: Image | None = None,
) -> Image:
    """Resize to ``size`` (height, width), changing the aspect ratio if it must. No antialiasing,
    except by "area".

    ``out``, where it is given and has the shape and dtype of the result, is what the result is
    written to.
    """
    height, width = size
    fits = (
        out is not None
        and image.shape[2] <= _CHANNELS_OF_AREA
        and out.shape == (height, width, image.shape[2])
        and out.dtype == image.dtype
    )
    if image.shape[:2] == size:
        if out is None or not fits:
            return image
        out[...] = image
        return out
    if fits:
        cv2.resize(image, (width, height), dst=out, interpolation=_CV2_INTERPOLATION[interpolation])
        assert out is not None
        return out
    if interpolation == "area" and image.shape[2] > _CHANNELS_OF_AREA:
        parts = np.array_split(image, -(-image.shape[2] // _CHANNELS_OF_AREA), axis=2)
        return np.concatenate([resize(part, size, interpolation) for part in parts], axis=2)
    return _with_channels(
        cv2.resize(image, (width, height), interpolation=_CV2_INTERPOLATION[interpolation]), image
    )


def resize_antialiased(
    image: Image, size: tuple[int, int], interpolation: Interpolation = "bilinear"
) -> Image:
    """Resize uint8 [H, W, 3] to ``size`` (height, width) by Pillow: where it shrinks, the kernel
    covers all the pixels that one of the result stands for.
    """
    import PIL.Image  # deferred: few configs ask for it

    kernel = PIL.Image.Resampling[_PILLOW_NAMES.get(interpolation, interpolation).upper()]
    return np.asarray(PIL.Image.fromarray(np.ascontiguousarray(image)).resize(size[::-1], kernel))


_PILLOW_NAMES = {"area": "box"}


def short_side_size(height: int, width: int, short: int) -> tuple[int, int]:
    """(height, width) after scaling the shorter side to ``short``; both rounded, halves to even."""
    factor = short / min(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def fitting_size(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the largest image of the same aspect that fits into ``size``, rounded."""
    factor = min(size[0] / height, size[1] / width)
    return max(1, min(size[0], round(height * factor))), max(1, min(size[1], round(width * factor)))


def resize_short(image: Image, short: int, interpolation: Interpolation = "bilinear") -> Image:
    """Resize so that the shorter side has ``short`` pixels, keeping the aspect ratio."""
    return resize(image, short_side_size(image.shape[0], image.shape[1], short), interpolation)


def crop(image: Image, top: int, left: int, height: int, width: int) -> Image:
    """The box [height, width, C] at (top, left), a view.

    Raises:
        ShapeError: the box reaches outside the image.
    """
    if (
        top < 0
        or left < 0
        or height < 1
        or width < 1
        or top + height > image.shape[0]
        or left + width > image.shape[1]
    ):
        raise ShapeError(
            f"expected a crop inside the image of {image.shape[0]}x{image.shape[1]} (height x "
            f"width), got {height}x{width} at top {top}, left {left}; resize first, or pad"
        )
    return image[top : top + height, left : left + width]


@functools.lru_cache(maxsize=64)
def fill_color(
    fill: Fill, channels: int, dtype: np.dtype[np.generic], name: str = "fill"
) -> NDArray[np.generic]:
    """The colour [C] of ``fill`` in an image's dtype, read-only; ``name`` is what messages call it.

    Raises:
        ConfigError: not as many values as channels, or values that uint8 does not have.
    """
    # Kept: NumPy takes as long to make three values an array as to fill a small box with them.
    if fill is not None:
        values = fill if isinstance(fill, tuple) else (fill,) * channels
    elif dtype == np.uint8:
        values = IMAGENET_MEAN if channels == 3 else (round(sum(IMAGENET_MEAN) / 3),) * channels
    else:
        values = (0.0,) * channels
    if len(values) != channels:
        raise ConfigError(
            f"{name} has {len(values)} values and the image {channels} channels. Give one value, "
            "or one a channel."
        )
    if dtype == np.uint8 and any(value not in range(256) for value in values):
        raise ConfigError(
            f"{name}: expected whole numbers in 0..255 for an image that is not normalised yet, "
            f"got {', '.join(f'{value:g}' for value in values)}."
        )
    made = np.asarray(values).astype(dtype)
    made.flags.writeable = False
    return made


def pad_to(image: Image, size: tuple[int, int], fill: Fill = None) -> Image:
    """Pad symmetrically with the colour ``fill`` to at least ``size``; an odd pixel goes below and
    to the right.

    Raises:
        ConfigError: ``fill`` is no colour of the image.
    """
    missing_height, missing_width = (
        max(0, want - have) for want, have in zip(size, image.shape[:2], strict=True)
    )
    if not missing_height and not missing_width:
        return image
    height, width, channels = image.shape
    padded = np.empty((height + missing_height, width + missing_width, channels), image.dtype)
    padded[...] = fill_color(fill, channels, image.dtype)
    padded[missing_height // 2 :, missing_width // 2 :][:height, :width] = image
    return padded


def center_crop(image: Image, size: tuple[int, int], fill: Fill = None) -> Image:
    """The middle [height, width, C], offset ``(image - size) // 2``; smaller images are padded."""
    padded = pad_to(image, size, fill)
    top, left = ((have - want) // 2 for have, want in zip(padded.shape[:2], size, strict=True))
    return crop(padded, top, left, *size)


def flip(image: Image, axis: Axis = "horizontal") -> Image:
    """Mirror left-right ("horizontal"), top-bottom ("vertical") or both."""
    flipped = image.copy()  # into other memory OpenCV takes longer than both
    flip_in_place(flipped, axis)
    return flipped


def flip_in_place(image: Image, axis: Axis = "horizontal") -> None:
    """``flip`` of an image that is the caller's own."""
    cv2.flip(image, _CV2_FLIP[axis], dst=image)


def normalize(
    image: Image, mean: Sequence[float], std: Sequence[float], scale: float = 1 / 255
) -> NDArray[np.float32]:
    """``(image * scale - mean) / std`` as float32; one mean and std a channel.

    Raises:
        ShapeError: another number of channels than of means.
    """
    if image.shape[2] != len(mean) or len(mean) != len(std):
        raise ShapeError(
            f"expected one mean and std a channel, got {len(mean)} and {len(std)} for an image "
            f"{list(image.shape)}"
        )
    scaled = image.astype(np.float32) * np.float32(scale)
    return (scaled - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)


def to_chw(image: Image) -> Image:
    """[H, W, C] as [C, H, W], a view."""
    return image.transpose(2, 0, 1)


def _with_channels(result: Image, like: Image) -> Image:
    # OpenCV drops the channel axis of one-channel images.
    return result if result.ndim == like.ndim else result[..., None]
