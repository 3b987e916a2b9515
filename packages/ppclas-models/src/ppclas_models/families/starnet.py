"""StarNet: blocks whose only non-linearity of note is a product of two linear maps.

Paper: "Rewrite the Stars", Ma et al. 2024, https://arxiv.org/abs/2403.19967
"""

from __future__ import annotations

from functools import partial

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.conv_norm import ConvNorm
from ppclas_models.layers.stochastic_depth import DropPath, drop_path_rates

models = Variants()

STEM_CHANNELS = 32

_WEIGHT = TruncatedNormal(std=0.02)
Conv = partial(ConvNorm, bias=True, weight=_WEIGHT)


class StarNetConfig(ModelConfig):
    """A StarNet."""

    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Blocks in each stage."""
    channels: PositiveInt
    """Of the first stage; each next one has twice as many."""
    mlp_ratio: PositiveInt = 4
    """Channels that are multiplied, over those of the block."""
    drop_path_rate: float = Field(0.0, ge=0, lt=1)
    """Of the last block."""


def plain_conv(in_channels: int, out_channels: int, kernel_size: int, groups: int = 1) -> nn.Layer:
    """[N, in_channels, H, W] → [N, out_channels, H, W], without a norm."""
    conv = conv2d(in_channels, out_channels, kernel_size, groups=groups, bias=True, weight=_WEIGHT)
    return nn.Sequential(("conv", conv))


class StarBlock(nn.Layer):
    """[N, channels, H, W] → the same: depthwise 7x7, the star operation, depthwise 7x7, added to
    the input.
    """

    def __init__(self, channels: int, mlp_ratio: int, drop_path_rate: float) -> None:
        super().__init__()
        self.dwconv = Conv(channels, channels, 7, groups=channels)
        self.f1 = plain_conv(channels, mlp_ratio * channels, 1)
        self.f2 = plain_conv(channels, mlp_ratio * channels, 1)
        self.g = Conv(mlp_ratio * channels, channels, 1)
        self.dwconv2 = plain_conv(channels, channels, 7, groups=channels)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dwconv(x)
        star = F.relu6(self.f1(y)) * self.f2(y)
        return x + self.drop_path(self.dwconv2(self.g(star)))


@models.register(
    StarNet_S1=StarNetConfig(depths=(2, 2, 8, 3), channels=24),
    StarNet_S2=StarNetConfig(depths=(1, 2, 6, 2), channels=32, drop_path_rate=0.01),
    StarNet_S3=StarNetConfig(depths=(2, 2, 8, 4), channels=32, drop_path_rate=0.01),
    StarNet_S4=StarNetConfig(depths=(3, 3, 12, 5), channels=32, drop_path_rate=0.02),
)
class StarNet(ChainModel):
    """A stem, then four stages of star blocks, each after a strided 3x3 convolution. Images [N,
    in_channels, H, W] → logits [N, num_classes].
    """

    head = ("head",)
    config: StarNetConfig

    def __init__(self, config: StarNetConfig) -> None:
        super().__init__(config)
        stem = Conv(config.in_channels, STEM_CHANNELS, 3, 2, act=nn.ReLU6())
        self.append("stem", "stem.0", stem, STEM_CHANNELS, 2)
        for index, rates in enumerate(drop_path_rates(config.drop_path_rate, config.depths)):
            stage, channels = f"stage{index + 1}", config.channels * 2**index
            shrink = Conv(self.out_channels, channels, 3, 2)
            self.append(stage, f"stages.{index}.0", shrink, channels, 2)
            for position, rate in enumerate(rates, start=1):
                block = StarBlock(channels, config.mlp_ratio, rate)
                self.append(stage, f"stages.{index}.{position}", block, channels)
        self.append(stage, "norm", nn.BatchNorm2D(channels), channels)
        self.close(channels, weight=_WEIGHT)
