"""The zoo's convolution: weights drawn after He et al. 2015, height and width kept where the stride
is 1.
"""

from __future__ import annotations

import math

from paddle import nn
from paddle.nn.initializer import Initializer, KaimingNormal


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    *,
    padding: int | list[int] | None = None,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
    linear: bool = False,
    weight: Initializer | None = None,
) -> nn.Conv2D:
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉] for odd kernels.

    ``padding`` says otherwise where it is given: pixels on each side, or top, bottom, left and
    right. ``linear`` stands for a convolution that neither a ReLU nor a batch norm follows: its
    weights are drawn smaller. ``weight`` draws them for networks that do not follow He et al.
    """
    sizes = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    return nn.Conv2D(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding=[dilation * (size // 2) for size in sizes] if padding is None else padding,
        dilation=dilation,
        groups=groups,
        # Paddle's default takes the fan-in of an ungrouped convolution: far too little for a
        # depthwise one.
        weight_attr=weight or KaimingNormal(nonlinearity="linear" if linear else "relu"),
        bias_attr=None if bias else False,
    )


def same_padding(size: int, kernel_size: int, stride: int) -> list[int]:
    """Pixels on top, bottom, left and right with which a convolution puts its windows where
    TensorFlow's SAME does.

    That depends on ``size``, the side of the map. At the bottom and right there may be more than
    the last window of such a map needs: it makes maps of every other size come out at ⌈size /
    stride⌉ too.
    """
    before = max((math.ceil(size / stride) - 1) * stride + kernel_size - size, 0) // 2
    after = kernel_size - 1 - before
    return [before, after, before, after]
