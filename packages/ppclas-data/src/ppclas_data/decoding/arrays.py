"""Images that are in memory already, as the pixels that the decoder would have given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import ShapeError


def rgb_pixels(
    image: NDArray[Any], where: str = "the image", channels: int = 3
) -> NDArray[np.uint8]:
    """Pixels [H, W, 3] uint8 RGB from an array of grey, RGB or RGBA pixels.

    Grey becomes three equal channels, transparency is laid over white, as in ``decode``.

    Args:
        image: uint8 in 0..255: [H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA, alpha not
            multiplied in).
        where: what to call it in messages.
        channels: of a model that takes others than RGB: [H, W, channels] is left as it is.

    Raises:
        ShapeError: another shape or dtype; the message says how to turn the usual ones into it.

    >>> rgb_pixels(np.full((2, 4), 7, np.uint8)).shape
    (2, 4, 3)
    >>> clear_black = np.zeros((1, 1, 4), np.uint8)
    >>> rgb_pixels(clear_black)[0, 0].tolist()
    [255, 255, 255]
    """
    if image.dtype != np.uint8:
        hint = (
            "Are they in 0..1? Use (image * 255).round().astype('uint8')."
            if image.dtype.kind == "f" and image.size and image.max() <= 1
            else "Bring them to 0..255 and use image.astype('uint8')."
        )
        raise ShapeError(f"{where}: expected uint8 pixels in 0..255, got {image.dtype}. {hint}")
    if image.ndim == 3 and image.shape[2] == channels > 4:
        return image
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        hint = ""
        if image.ndim == 3 and image.shape[0] in (1, 3, 4):
            hint = " Are the channels first? Use image.transpose(1, 2, 0) or layout='CHW'."
        raise ShapeError(
            f"{where}: expected pixels [H, W], or [H, W, C] with 1, 3 (RGB) or 4 (RGBA) channels, "
            f"got {list(image.shape)}.{hint}"
        )
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    if image.shape[2] == 4:
        colour, alpha = image[..., :3].astype(np.uint16), image[..., 3:].astype(np.uint16)
        return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return image
