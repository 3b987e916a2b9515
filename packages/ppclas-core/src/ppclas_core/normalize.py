"""From pixels to what a model takes: the normalisation of training, exports and engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ppclas_core.config.schema import NormalizeConfig

if TYPE_CHECKING:
    from paddle import Tensor


def normalize_batch(images: NDArray[Any], config: NormalizeConfig) -> NDArray[np.float32]:
    """Images [N, H, W, C] → float32 [N, C, H, W], ``(image / 255 - mean) / std``.

    uint8 images are pixels in 0..255. float32 ones are normalised and only change layout.
    """
    # Transposing while the pixels are bytes moves a quarter of the memory.
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if images.dtype != np.uint8:
        return channels_first.astype(np.float32, copy=False)
    scale, shift = _scale_and_shift(config)
    batch = channels_first.astype(np.float32)
    batch *= scale[:, None, None]
    batch += shift[:, None, None]
    return batch


def normalize_on_device(images: NDArray[Any] | Tensor, config: NormalizeConfig) -> Tensor:
    """``normalize_batch`` as a tensor on Paddle's device; a GPU gets bytes and does the rest.

    Images that are a tensor already, [N, H, W, C] uint8, stay on their device.
    """
    import paddle

    pixels = images
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 or paddle.get_device() == "cpu":
            return paddle.to_tensor(normalize_batch(images, config))
        pixels = paddle.to_tensor(images)
    per_channel = (values.reshape(1, -1, 1, 1) for values in _scale_and_shift(config))
    scale, shift = (paddle.to_tensor(values) for values in per_channel)
    return pixels.transpose([0, 3, 1, 2]).astype("float32") * scale + shift


def _scale_and_shift(config: NormalizeConfig) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    mean, std = np.asarray(config.mean), np.asarray(config.std)
    return (1.0 / (255.0 * std)).astype(np.float32), (-mean / std).astype(np.float32)
