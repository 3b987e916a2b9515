"""A batch of pixels on Paddle's device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.normalize import normalize_batch, scale_and_shift

if TYPE_CHECKING:
    from paddle import Tensor
    from ppclas_core.config.schema import NormalizeConfig


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
    per_channel = (values.reshape(1, -1, 1, 1) for values in scale_and_shift(config))
    scale, shift = (paddle.to_tensor(values) for values in per_channel)
    return pixels.transpose([0, 3, 1, 2]).astype("float32") * scale + shift
