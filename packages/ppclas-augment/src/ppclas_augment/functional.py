"""Augmentations as pure functions on one image [H, W, C]. Nothing here is random, and no input is
written to.

Colours and geometry are defined as in Pillow, which the papers' code uses: with nearest resampling
the same pixels but for a few in a thousand that lie between two, colours within two grey levels,
several times faster. They take uint8 in 0..255; what erases takes floats too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import ArrayLike, NDArray
from ppclas_core.contracts.data import Image

Resampling = Literal["nearest", "bilinear", "bicubic"]

_CV2_RESAMPLING = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
}
_TILE = 4096
"""Largest side, in pixels, that a mask is made for at once."""
_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey level (ITU-R 601)."""


# Colours


def invert(image: Image) -> Image:
    """``255 - image``."""
    return _like(cv2.bitwise_not(image), image)


def solarize(image: Image, threshold: float) -> Image:
    """Invert the values from ``threshold`` (0..256) on; 256 changes nothing."""
    limit = math.ceil(threshold)
    if limit > 255:
        return image
    # All bits are flipped where the comparison holds: -1 is 255 in uint8.
    return image ^ np.negative((image >= max(limit, 0)).view(np.uint8))


def solarize_add(image: Image, added: int) -> Image:
    """Add ``added`` (0..255) to the values below 128."""
    return cv2.LUT(
        image, np.array([min(255, v + added) if v < 128 else v for v in range(256)], np.uint8)
    ).reshape(image.shape)


def posterize(image: Image, bits: int) -> Image:
    """Keep the highest ``bits`` (1..8) of each value; 8 changes nothing."""
    return image if bits >= 8 else image & np.uint8(256 - (1 << (8 - bits)))


def autocontrast(image: Image) -> Image:
    """Stretch each channel to 0..255. A channel of one value stays."""
    height, width, channels = image.shape
    # Rows first: NumPy compares whole rows many values at a time.
    rows = image.reshape(height, width * channels)
    low = rows.min(axis=0).reshape(width, channels).min(axis=0).astype(np.float64)
    high = rows.max(axis=0).reshape(width, channels).max(axis=0).astype(np.float64)
    single = low == high
    low[single], high[single] = 0.0, 255.0
    if not low.any() and (high == 255.0).all():
        return image
    scale = 255.0 / (high - low)
    return _mix_channels(image, np.diag(scale), -low * scale)


def equalize(image: Image) -> Image:
    """Give each channel an even histogram, by Pillow's rule. A channel of one value stays."""
    # Copies, in which values are counted and looked up faster than beside each other.
    planes = cv2.split(image)
    # OpenCV 4 gives [256, 1], OpenCV 5 [256].
    counts = np.stack(
        [cv2.calcHist([plane], [0], None, [256], [0, 256]).ravel() for plane in planes]
    )
    # Whole numbers all the way: doubles hold and divide them exactly, several times as fast as
    # integers.
    tables = counts.cumsum(axis=1, dtype=np.float64)
    pixels = tables[:, -1:].copy()  # as counted: OpenCV's floats are whole numbers up to 2**24 only
    tables -= counts
    # The brightest value that occurs ends at 255, so its own count is left out of the step.
    steps = np.where(tables < pixels, tables, 0.0).max(axis=1) // 255
    step = np.maximum(steps, 1.0)[:, None]
    tables += step // 2
    tables /= step
    levels = np.minimum(tables, 255.0, out=tables).astype(np.uint8)
    levels[steps == 0.0] = np.arange(256, dtype=np.uint8)
    for plane, table in zip(planes, levels, strict=True):
        cv2.LUT(plane, table, dst=plane)
    return _like(cv2.merge(planes), image)


def brightness(image: Image, factor: float) -> Image:
    """``factor · image``: 0 is black, 1 the image."""
    return _scale(image, max(0.0, factor), 0.0)


def contrast(image: Image, factor: float) -> Image:
    """Away from the mean grey level of the image: 0 is that grey, 1 the image."""
    means = cv2.mean(image)
    grey = (
        sum(weight * mean for weight, mean in zip(_LUMA, means, strict=False))
        if image.shape[2] == 3
        else means[0]
    )
    return _scale(image, factor, (1.0 - factor) * int(grey + 0.5))


def saturation(image: Image, factor: float) -> Image:
    """``Color`` in the papers: ``factor`` 0 gives each pixel's grey, 1 the image; RGB only."""
    return _mix_channels(image, (1.0 - factor) * np.tile(_LUMA, (3, 1)) + factor * np.eye(3), 0.0)


def sharpness(image: Image, factor: float) -> Image:
    """Away from the image smoothed by [[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13: 0 is that, 1 the
    image.

    The outermost pixels stay as they are.
    """
    if min(image.shape[:2]) < 3:
        return image
    # The kernel is 9 parts of a mean over 3 x 3 pixels and 4 parts of the pixel itself.
    smooth = 1.0 - factor
    sharp = _like(
        cv2.addWeighted(
            cv2.blur(image, (3, 3)), smooth * 9 / 13, image, factor + smooth * 4 / 13, 0
        ),
        image,
    )
    sharp[0], sharp[-1] = image[0], image[-1]
    sharp[:, 0], sharp[:, -1] = image[:, 0], image[:, -1]
    return sharp


def hue(image: Image, shift: float) -> Image:
    """Turn the colour circle by ``shift`` (-0.5..0.5 of it); in steps of 1/256. RGB only."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[:, :, 0] += np.uint8(round(shift * 256) % 256)  # uint8 wraps around as the circle does
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _scale(image: Image, factor: float, shift: float) -> Image:
    """``factor · image + shift``, rounded and limited to 0..255."""
    if factor >= 0 and shift >= 0:
        return _like(cv2.convertScaleAbs(image, alpha=factor, beta=shift), image)
    # OpenCV has no such operation for what may become negative but this one, whose second image
    # counts nothing.
    return _like(cv2.addWeighted(image, factor, image, 0.0, shift), image)


def _mix_channels(image: Image, matrix: NDArray[np.float64], shift: ArrayLike) -> Image:
    """``matrix [C, C] · pixel + shift``, rounded and limited to 0..255."""
    channels = image.shape[2]
    columns = np.broadcast_to(np.asarray(shift, np.float64), (channels,))[:, None]
    return _like(cv2.transform(image, np.hstack([matrix, columns]).astype(np.float32)), image)


# Geometry


def shear_x(
    image: Image, slope: float, fill: Sequence[float], resampling: Resampling = "nearest"
) -> Image:
    """Shift each row left by ``slope`` times its distance from the top; right where negative."""
    if resampling != "nearest":
        return _warp(image, ((1.0, slope), (0.0, 1.0)), fill, resampling)
    # By the nearest pixel, rows move as a whole: each is a cut from a row of the image with fill
    # beside it.
    height, width, channels = image.shape
    shifts = np.floor(slope * (np.arange(height) + 0.5) + 0.5).clip(-width, width).astype(np.intp)
    beside = abs(shifts[-1].item())
    start, filled_from = (beside, 0) if slope < 0 else (0, width)
    wide = np.empty((height, width + beside, channels), image.dtype)
    wide[:, start : start + width] = image
    wide[:, filled_from : filled_from + beside] = _row(fill, beside, image)
    cuts = as_strided(
        wide,
        (height, beside + 1, width * channels),
        (wide.strides[0], wide.strides[1], wide.itemsize),
        writeable=False,
    )
    return cuts[np.arange(height), start + shifts].reshape(image.shape)


def shear_y(
    image: Image, slope: float, fill: Sequence[float], resampling: Resampling = "nearest"
) -> Image:
    """Shift each column up by ``slope`` times its distance from the left; down where negative."""
    return _warp(image, ((1.0, 0.0), (slope, 1.0)), fill, resampling)


def rotate(
    image: Image, degrees: float, fill: Sequence[float], resampling: Resampling = "nearest"
) -> Image:
    """Turn the image about its centre, counterclockwise where ``degrees`` is positive."""
    height, width = image.shape[:2]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return _warp(image, ((cos, -sin), (sin, cos)), fill, resampling, centre=(width / 2, height / 2))


def translate(image: Image, right: int, down: int, fill: Sequence[float]) -> Image:
    """Shift the image by whole pixels; negative ones go left and up."""
    height, width = image.shape[:2]
    rows, columns = max(0, height - abs(down)), max(0, width - abs(right))
    if not rows or not columns:
        return filled(image, fill)
    top, left = max(0, down), max(0, right)
    shifted = np.empty(image.shape, image.dtype)
    row = _row(fill, width, image)
    shifted[:top], shifted[top + rows :] = row, row
    middle = shifted[top : top + rows]
    middle[:, :left], middle[:, left + columns :] = row[:left], row[left + columns :]
    middle[:, left : left + columns] = image[max(0, -down) :][:rows, max(0, -right) :][:, :columns]
    return shifted


def _warp(
    image: Image,
    matrix: tuple[tuple[float, float], tuple[float, float]],
    fill: Sequence[float],
    resampling: Resampling,
    centre: tuple[float, float] = (0.0, 0.0),
) -> Image:
    """The pixel at p comes from ``matrix · (p - centre) + centre``; pixel centres are at .5."""
    height, width = image.shape[:2]
    (a, b), (c, d) = matrix
    x, y = 0.5 - centre[0], 0.5 - centre[1]
    from_output = np.array([[a, b, a * x + b * y - x], [c, d, c * x + d * y - y]])
    flags = _CV2_RESAMPLING[resampling] | cv2.WARP_INVERSE_MAP
    border = tuple(float(value) for value in fill)
    if resampling == "nearest" and image.dtype == np.uint8 and image.shape[2] == 3:
        # A pixel with a fourth byte is moved as one float, faster than as three bytes. The border's
        # fourth byte makes it an ordinary number, which OpenCV converts from a double and back
        # without loss.
        whole = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA).view(np.float32)[:, :, 0]
        beside = np.array([*border, 0x40]).round().astype(np.uint8).view(np.float32).item()
        warped = cv2.warpAffine(
            whole, from_output, (width, height), flags=flags, borderValue=(beside,)
        )
        return cv2.cvtColor(warped.view(np.uint8).reshape(height, width, 4), cv2.COLOR_RGBA2RGB)
    return _like(
        cv2.warpAffine(image, from_output, (width, height), flags=flags, borderValue=border), image
    )


# Erasing


def filled(image: Image, color: ArrayLike) -> Image:
    """An image of ``color`` [C], in the shape and dtype of ``image``."""
    result = np.empty(image.shape, image.dtype)
    result[...] = _row(color, image.shape[1], image)
    return result


def erase(image: Image, top: int, left: int, height: int, width: int, fill: ArrayLike) -> Image:
    """A copy of ``image`` with a rectangle (pixels, inside the image) replaced by ``fill``.

    ``fill`` is in the image's units: a value, a colour [C] or a patch [height, width, C].
    """
    fill = np.asarray(fill, image.dtype)
    erased = np.array(image)
    erased[top : top + height, left : left + width] = (
        fill if fill.ndim == 3 else _row(fill, width, image)
    )
    return erased


def keep_where(image: Image, mask: NDArray[np.uint8], color: ArrayLike) -> Image:
    """``image`` where ``mask`` [H, W] is not 0, and ``color`` [C] elsewhere."""
    height, width, channels = image.shape
    kept = filled(image, color)
    if image.dtype == np.uint8:
        cv2.copyTo(image, mask, kept)
    else:
        # Channels side by side: OpenCV copies single floats under a mask much faster than pixels of
        # several.
        wide = cv2.merge([mask] * channels).reshape(height, width * channels)
        cv2.copyTo(np.ascontiguousarray(image).reshape(wide.shape), wide, kept.reshape(wide.shape))
    return kept


def cell_mask(cells: NDArray[np.uint8], cell: int, height: int, width: int) -> NDArray[np.uint8]:
    """``cells`` [rows, columns] as squares of ``cell`` pixels, cut to [height, width]."""
    return np.ascontiguousarray(cells.repeat(cell, axis=1)[:, :width]).repeat(cell, axis=0)[:height]


def grid_mask(
    height: int, width: int, period: int, bar: int, offset: tuple[int, int], degrees: float = 0.0
) -> NDArray[np.uint8]:
    """[height, width], 1 in the squares between bars of ``bar`` pixels, one every ``period``, in
    both directions.

    ``offset`` (down, right) shifts the grid, which then turns about the centre of the image. It
    covers all of it.
    """
    if not degrees:
        return np.outer(
            _bars(0, height, offset[0], period, bar), _bars(0, width, offset[1], period, bar)
        )
    mask = np.empty((height, width), np.uint8)
    # In tiles: turned, a long image reaches over a square of its length.
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            tile = mask[top : top + _TILE, left : left + _TILE]
            centre = (height - 1) / 2 - top, (width - 1) / 2 - left
            tile[...] = _turned_bars(
                tile.shape,
                centre,
                math.ceil(math.hypot(height, width)),
                period,
                bar,
                offset,
                degrees,
            )
    return mask


def _bars(start: int, end: int, offset: int, period: int, bar: int) -> NDArray[np.uint8]:
    """Along one side, from pixel ``start`` to before ``end``: 1 between bars."""
    return ((np.arange(start, end) - offset) % period >= bar).astype(np.uint8)


def _turned_bars(
    shape: tuple[int, ...],
    centre: tuple[float, float],
    side: int,
    period: int,
    bar: int,
    offset: tuple[int, int],
    degrees: float,
) -> NDArray[np.uint8]:
    """A part [h, w] of a grid of ``side`` turned about its middle, which is ``centre`` (y, x)."""
    height, width = shape
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    (y, x), middle = centre, (side - 1) / 2
    right, down = middle - cos * x + sin * y, middle - sin * x - cos * y
    # Where the corners come from: no more of the grid is needed.
    columns = [right + cos * j - sin * i for i in (0, height - 1) for j in (0, width - 1)]
    rows = [down + sin * j + cos * i for i in (0, height - 1) for j in (0, width - 1)]
    left, top = math.floor(min(columns)) - 1, math.floor(min(rows)) - 1
    grid = np.outer(
        _bars(top, math.ceil(max(rows)) + 2, offset[0], period, bar),
        _bars(left, math.ceil(max(columns)) + 2, offset[1], period, bar),
    )
    from_output = np.array([[cos, -sin, right - left], [sin, cos, down - top]])
    return cv2.warpAffine(
        grid, from_output, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )


def _row(color: ArrayLike, width: int, image: Image) -> NDArray[np.generic]:
    """A row [width, C] of one colour: NumPy copies rows several times faster than pixels."""
    row: NDArray[np.generic] = np.empty((width, image.shape[2]), image.dtype)
    row[...] = np.asarray(color)
    return row


def _like(result: Image, image: Image) -> Image:
    # OpenCV drops the channel axis of one-channel images.
    return result.reshape(image.shape)
