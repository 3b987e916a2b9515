"""Squeeze-and-excitation: scale each channel by a gate that sees the whole map.

Paper: "Squeeze-and-Excitation Networks", Hu et al. 2018, https://arxiv.org/abs/1709.01507
"""

from __future__ import annotations

from collections.abc import Callable

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812

from ppclas_models.layers.pool import global_average_pool


class ConvSqueezeExcite(nn.Layer):
    """[N, channels, H, W] → the same, gated by two 1x1 convolutions (checkpoint keys ``conv1``, ``conv2``)."""

    def __init__(self, channels: int, reduction: int, gate: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(channels, channels // reduction, 1)
        self.conv2 = nn.Conv2D(channels // reduction, channels, 1)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        squeezed = F.relu(self.conv1(F.adaptive_avg_pool2d(x, 1)))
        return x * self.gate(self.conv2(squeezed))


class LinearSqueezeExcite(nn.Layer):
    """[N, channels, H, W] → the same, gated by two linear layers (checkpoint keys ``squeeze``, ``excitation``)."""

    def __init__(self, channels: int, reduction: int, gate: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excitation = nn.Linear(channels // reduction, channels)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        squeezed = F.relu(self.squeeze(global_average_pool(x)))
        return x * self.gate(self.excitation(squeezed)).unsqueeze([2, 3])
