"""Layers that work on [N, H, W, C], inside of a network of maps [N, C, H, W]."""

from __future__ import annotations

from paddle import Tensor, nn


def to_channels_last(x: Tensor) -> Tensor:
    """[N, C, H, W] → [N, H, W, C]."""
    return x.transpose([0, 2, 3, 1])


def to_channels_first(x: Tensor) -> Tensor:
    """[N, H, W, C] → [N, C, H, W]."""
    return x.transpose([0, 3, 1, 2])


class ChannelsLast(nn.Sequential):
    """Layers in a row. They map [N, H, W, C], the whole maps [N, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        return to_channels_first(super().forward(to_channels_last(x)))


class MapLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of [N, C, H, W], at each position."""

    def __init__(self, channels: int, epsilon: float = 1e-5) -> None:
        super().__init__(channels, epsilon)

    def forward(self, x: Tensor) -> Tensor:
        return to_channels_first(super().forward(to_channels_last(x)))


class ToChannelsLast(nn.Layer):
    """[N, C, H, W] → [N, H, W, C]."""

    def forward(self, x: Tensor) -> Tensor:
        return to_channels_last(x)


class ToChannelsFirst(nn.Layer):
    """[N, H, W, C] → [N, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        return to_channels_first(x)
