"""From pixels to what a model takes: the normalisation of training, exports and engines."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppclas_core.config.schema import NormalizeConfig


def normalize_batch(images: NDArray[Any], config: NormalizeConfig) -> NDArray[np.float32]:
    """Images [N, H, W, C] → float32 [N, C, H, W], ``(image / 255 - mean) / std``.

    uint8 images are pixels in 0..255. float32 ones are normalised and only change layout.
    """
    # Transposing while the pixels are bytes moves a quarter of the memory.
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if images.dtype != np.uint8:
        return channels_first.astype(np.float32, copy=False)
    scale, shift = scale_and_shift(config)
    batch = channels_first.astype(np.float32)
    batch *= scale[:, None, None]
    batch += shift[:, None, None]
    return batch


def scale_and_shift(config: NormalizeConfig) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two values [C] for each channel: normalised is ``pixel * scale + shift``."""
    mean, std = np.asarray(config.mean), np.asarray(config.std)
    return (1.0 / (255.0 * std)).astype(np.float32), (-mean / std).astype(np.float32)
