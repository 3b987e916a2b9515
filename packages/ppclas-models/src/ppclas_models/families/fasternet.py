"""FasterNet: spatial convolutions on a quarter of the channels, 1x1 convolutions on all.

Paper: "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks", Chen et al. 2023,
https://arxiv.org/abs/2303.03667
"""

from __future__ import annotations

from typing import Literal

import paddle
from paddle import Tensor, nn
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.conv_norm import ConvNorm, ConvNormKeys
from ppclas_models.layers.stochastic_depth import DropPath, drop_path_rates

models = Variants()

EMBED_KEYS = ConvNormKeys("proj", "norm")
MERGE_KEYS = ConvNormKeys("reduction", "norm")
PARTIAL = 4
"""One of so many channels gets a spatial convolution."""
MLP_RATIO = 2
LAST_FEATURES = 1280
"""Features before the classifier."""

_WEIGHT = TruncatedNormal(std=0.02)


class FasterNetConfig(ModelConfig):
    """A FasterNet."""

    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Blocks in each stage."""
    channels: PositiveInt
    """Of the first stage; each next one has twice as many."""
    act: Literal["relu", "gelu"] = "relu"
    """Between the two 1x1 convolutions of a block, and before the classifier."""
    drop_path_rate: float = Field(0.0, ge=0, lt=1)
    """Of the last block."""


class PartialConv(nn.Layer):
    """[N, channels, H, W] → the same: a 3x3 convolution of the first quarter of the channels
    (section 3.2).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.split = [channels // PARTIAL, channels - channels // PARTIAL]
        self.partial_conv3 = conv2d(self.split[0], self.split[0], 3, weight=_WEIGHT)

    def forward(self, x: Tensor) -> Tensor:
        mixed, kept = paddle.split(x, self.split, axis=1)
        return paddle.concat([self.partial_conv3(mixed), kept], axis=1)


class FasterBlock(nn.Layer):
    """[N, channels, H, W] → the same: a partial convolution and two 1x1, added to the input."""

    def __init__(self, channels: int, act: nn.Layer, drop_path_rate: float) -> None:
        super().__init__()
        hidden = MLP_RATIO * channels
        self.mlp = nn.Sequential(
            conv2d(channels, hidden, 1, weight=_WEIGHT),
            nn.BatchNorm2D(hidden),
            act,
            conv2d(hidden, channels, 1, weight=_WEIGHT),
        )
        self.spatial_mixing = PartialConv(channels)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.mlp(self.spatial_mixing(x)))


@models.register(
    FasterNet_T0=FasterNetConfig(depths=(1, 2, 8, 2), channels=40, act="gelu"),
    FasterNet_T1=FasterNetConfig(depths=(1, 2, 8, 2), channels=64, act="gelu", drop_path_rate=0.02),
    FasterNet_T2=FasterNetConfig(depths=(1, 2, 8, 2), channels=96, drop_path_rate=0.05),
    FasterNet_S=FasterNetConfig(depths=(1, 2, 13, 2), channels=128, drop_path_rate=0.1),
    FasterNet_M=FasterNetConfig(depths=(3, 4, 18, 3), channels=144, drop_path_rate=0.2),
    FasterNet_L=FasterNetConfig(depths=(3, 4, 18, 3), channels=192, drop_path_rate=0.3),
)
class FasterNet(ChainModel):
    """Four stages of blocks, each after a convolution that shrinks the map. Images [N,
    in_channels, H, W] → logits [N, num_classes].

    The stage ``head`` holds the 1x1 convolution after the pool as well.
    """

    head = ("head",)
    config: FasterNetConfig

    def __init__(self, config: FasterNetConfig) -> None:
        super().__init__(config)
        for index, rates in enumerate(drop_path_rates(config.drop_path_rate, config.depths)):
            stage, channels = f"stage{index + 1}", config.channels * 2**index
            first = index == 0
            size, keys = (4, EMBED_KEYS) if first else (2, MERGE_KEYS)
            shrink = ConvNorm(
                self.out_channels, channels, size, size, padding=0, keys=keys, weight=_WEIGHT
            )
            name = "patch_embed" if first else f"stages.{2 * index - 1}"
            self.append("stem" if first else stage, name, shrink, channels, size)
            for position, rate in enumerate(rates):
                block = FasterBlock(channels, self._act(), rate)
                self.append(stage, f"stages.{2 * index}.blocks.{position}", block, channels)
        self.avgpool_pre_head = nn.Sequential(
            nn.AdaptiveAvgPool2D(1),
            conv2d(channels, LAST_FEATURES, 1, weight=_WEIGHT),
            self._act(),
        )
        self.close(LAST_FEATURES, weight=_WEIGHT)

    def _act(self) -> nn.Layer:
        return nn.GELU() if self.config.act == "gelu" else nn.ReLU()

    def pool(self, features: Tensor) -> Tensor:
        """[N, C, h, w] → [N, LAST_FEATURES]: the mean over all positions, then a 1x1
        convolution.
        """
        return self.avgpool_pre_head(features).flatten(1)

    def stages(self) -> dict[str, tuple[str, ...]]:
        return {**super().stages(), "head": ("avgpool_pre_head", *self.head)}
