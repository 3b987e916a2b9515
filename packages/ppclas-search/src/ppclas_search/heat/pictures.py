"""Heat maps as pictures: laid over the image, and many images on one sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ppclas_search.writing import write_bytes

_STRONGEST = 0.6
"""Share of the colour where a map is 1; where it is 0 the image is as it was."""


def overlay(image: NDArray[Any], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """RGB [H, W, 3]: the image, with colours from blue to red where ``heat`` [H, W] says so.

    Of an ``image`` [H, W, C] with many channels the first three are shown, of fewer the first.
    """
    image = _shown(image)
    colours = cv2.applyColorMap((255 * heat).round().astype(np.uint8), cv2.COLORMAP_TURBO)
    share = (_STRONGEST * np.sqrt(heat))[:, :, None]
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    # Less colour below: what is red in the photo must not look like evidence.
    pale = 0.5 * image + 0.5 * grey
    mixed = (1 - share) * pale + share * colours[:, :, ::-1]
    return np.asarray(mixed.round().clip(0, 255), np.uint8)


def _shown(image: NDArray[Any]) -> NDArray[np.uint8]:
    """RGB of an image of any number of channels; other samples than bytes up to their largest."""
    if image.shape[2] != 3:
        image = image[:, :, [0, 1, 2] if image.shape[2] > 3 else [0, 0, 0]]
    if image.dtype != np.uint8:
        image = (image / max(1.0, float(image.max())) * 255).round()
    return np.asarray(image, np.uint8)


def encode_picture(image: NDArray[np.uint8]) -> bytes:
    """RGB [H, W, 3] as a PNG."""
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
    return encoded.tobytes()


def write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    """Write RGB [H, W, 3] as a PNG."""
    write_bytes(path, encode_picture(image))
