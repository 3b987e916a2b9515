"""MobileNetV1: depthwise separable convolutions, one after another.

Paper: "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", Howard
    et al. 2017,
https://arxiv.org/abs/1704.04861
"""

from __future__ import annotations

from paddle import nn
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveFloat

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv_norm import ConvNorm

models = Variants()

BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1),
    (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
"""Output channels at width 1.0, and stride: table 1 of the paper."""


class MobileNetV1Config(ModelConfig):
    """A MobileNetV1."""

    width: PositiveFloat = 1.0
    """Factor on all channel counts: the paper's width multiplier α."""


class SeparableConv(nn.Sequential):
    """[N, in_channels, H, W] → [N, out_channels, H / stride, W / stride]: 3x3 in each channel, then
    1x1 across them.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        depthwise = ConvNorm(in_channels, in_channels, 3, stride, groups=in_channels, act=nn.ReLU())
        pointwise = ConvNorm(in_channels, out_channels, 1, act=nn.ReLU())
        super().__init__(("depthwise_conv", depthwise), ("pointwise_conv", pointwise))


@models.register(
    MobileNetV1_x0_25=MobileNetV1Config(width=0.25),
    MobileNetV1_x0_5=MobileNetV1Config(width=0.5),
    MobileNetV1_x0_75=MobileNetV1Config(width=0.75),
    MobileNetV1=MobileNetV1Config(),
)
class MobileNetV1(ChainModel):
    """A strided 3x3 and 13 separable convolutions. Images [N, in_channels, H, W] → logits [N,
    num_classes].
    """

    def __init__(self, config: MobileNetV1Config) -> None:
        super().__init__(config)
        channels = int(32 * config.width)
        self.append(
            "stem", "conv", ConvNorm(config.in_channels, channels, 3, 2, act=nn.ReLU()), channels, 2
        )
        stage = 1
        for index, (base, stride) in enumerate(BLOCKS):
            channels = int(base * config.width)
            stage += stride - 1  # a stage starts where the map shrinks
            block = SeparableConv(self.out_channels, channels, stride)
            self.append(f"stage{stage}", f"blocks.{index}", block, channels, stride)
        self.close(self.out_channels)
