"""Batch norm, ReLU and convolution in a row: the pre-activation order."""

from __future__ import annotations

from paddle import nn

from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.conv_norm import UNDERSCORED


class NormReluConv(nn.Sequential):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉] for odd kernels.

    The convolution has no bias and pads by half its kernel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        conv = conv2d(in_channels, out_channels, kernel_size, stride, groups=groups)
        super().__init__(
            (UNDERSCORED.norm, nn.BatchNorm2D(in_channels)),
            ("act", nn.ReLU()),
            (UNDERSCORED.conv, conv),
        )
