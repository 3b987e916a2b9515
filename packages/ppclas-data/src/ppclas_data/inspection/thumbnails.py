"""Photos made small, and what shows them inside a page."""

from __future__ import annotations

import base64
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import ImageError

from ppclas_data.decoding.decode import decode
from ppclas_data.decoding.samples import three_bands

_SIDE = 220
"""Of a thumbnail, in pixels."""


def thumbnail(read: Callable[[], bytes], name: str) -> NDArray[np.uint8]:
    """[220, 220, 3], the whole photo on grey; grey alone where it cannot be read any more."""
    try:
        data = read()
        bands = three_bands(data)
        return small(decode(data, name) if bands is None else bands)
    except (ImageError, OSError):
        return np.full((_SIDE, _SIDE, 3), 238, np.uint8)


def small(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A photo [H, W, 3] as a thumbnail."""
    tile = np.full((_SIDE, _SIDE, 3), 238, np.uint8)
    scale = _SIDE / max(photo.shape[:2])
    height, width = (max(1, round(length * scale)) for length in photo.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    top, left = (_SIDE - height) // 2, (_SIDE - width) // 2
    tile[top : top + height, left : left + width] = cv2.resize(
        photo, (width, height), interpolation=method
    )
    return tile


def jpeg_uri(pixels: NDArray[np.uint8]) -> str:
    """RGB pixels [H, W, 3] for the ``src`` of an ``img``."""
    bgr = np.ascontiguousarray(pixels[:, :, ::-1])
    return data_uri(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes(), "jpeg")


def data_uri(data: bytes, kind: str) -> str:
    """An encoded picture for the ``src`` of an ``img``."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
