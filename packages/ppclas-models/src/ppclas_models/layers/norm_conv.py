"""Batch norm, ReLU and convolution in a row: the pre-activation order."""

from __future__ import annotations

from paddle import ParamAttr, nn
from paddle.nn.initializer import KaimingNormal

from ppclas_models.layers.conv_norm import UNDERSCORED


class NormReluConv(nn.Sequential):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉] for odd kernels.

    The convolution has no bias and pads by half its kernel.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> None:
        conv = nn.Conv2D(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            groups=groups,
            weight_attr=ParamAttr(initializer=KaimingNormal()),
            bias_attr=False,
        )
        super().__init__((UNDERSCORED.norm, nn.BatchNorm2D(in_channels)), ("act", nn.ReLU()), (UNDERSCORED.conv, conv))
