"""Channels: their counts in scaled networks, and their order."""

from __future__ import annotations

import paddle
from paddle import Tensor


def round_channels(channels: float, divisor: int) -> int:
    """The multiple of ``divisor`` nearest to ``channels``, at least ``divisor``, never below 90 %
    of ``channels``.

    From the MobileNet reference code,
    https://github.com/tensorflow/models/tree/master/research/slim/nets/mobilenet
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def interleave(left: Tensor, right: Tensor) -> Tensor:
    """Two [N, C, H, W] → [N, 2 C, H, W] with their channels in turn: concatenation and channel
    shuffle in one.
    """
    return paddle.stack([left, right], axis=2).flatten(1, 2)
