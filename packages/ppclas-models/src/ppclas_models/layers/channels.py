"""Channels: their counts in scaled networks, and their order."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn


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


class ChannelShuffle(nn.Layer):
    """[N, C, H, W] → the same shape, the channels of ``groups`` groups in turn.

    Paddle has a layer of this name too, whose operator neither ONNX nor Paddle Lite knows.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        channels, height, width = x.shape[1:]
        apart = x.reshape([0, self.groups, channels // self.groups, height, width])
        return apart.transpose([0, 2, 1, 3, 4]).reshape([0, channels, height, width])
