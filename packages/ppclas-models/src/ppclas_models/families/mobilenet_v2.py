"""MobileNetV2: inverted residuals with linear bottlenecks.

Paper: "MobileNetV2: Inverted Residuals and Linear Bottlenecks", Sandler et al. 2018,
    https://arxiv.org/abs/1801.04381
"""

from __future__ import annotations

from functools import partial

from paddle import Tensor, nn
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveFloat

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv_norm import UNDERSCORED, ConvNorm

models = Variants()

STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6,
        320, 1, 1),
)  # fmt: skip
"""Expansion t, channels c at width 1.0, blocks n, stride s of the first block: table 2 of the
paper."""

Conv = partial(ConvNorm, keys=UNDERSCORED)


class MobileNetV2Config(ModelConfig):
    """A MobileNetV2."""

    width: PositiveFloat = 1.0
    """Factor on all channel counts. The last convolution has at least 1280."""


class InvertedResidual(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, H / stride, W / stride]: expand, depthwise 3x3,
    linear projection.

    Where the shape stays, the input is added. Departs from the paper in expanding by a 1x1
    convolution for a factor of 1 too.
    """

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.residual = stride == 1 and in_channels == out_channels
        self._expand_conv = Conv(in_channels, hidden, 1, act=nn.ReLU6())
        self._bottleneck_conv = Conv(hidden, hidden, 3, stride, groups=hidden, act=nn.ReLU6())
        self._linear_conv = Conv(hidden, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self._linear_conv(self._bottleneck_conv(self._expand_conv(x)))
        return x + y if self.residual else y


@models.register(
    MobileNetV2_x0_25=MobileNetV2Config(width=0.25),
    MobileNetV2_x0_5=MobileNetV2Config(width=0.5),
    MobileNetV2_x0_75=MobileNetV2Config(width=0.75),
    MobileNetV2=MobileNetV2Config(),
    MobileNetV2_x1_5=MobileNetV2Config(width=1.5),
    MobileNetV2_x2_0=MobileNetV2Config(width=2.0),
)
class MobileNetV2(ChainModel):
    """Seven stages of inverted residuals. Images [N, in_channels, H, W] → logits [N,
    num_classes].
    """

    head = ("out",)

    def __init__(self, config: MobileNetV2Config) -> None:
        super().__init__(config)
        channels = int(32 * config.width)
        self.append(
            "stem", "conv1", Conv(config.in_channels, channels, 3, 2, act=nn.ReLU6()), channels, 2
        )
        for stage, (expansion, base, depth, first_stride) in enumerate(STAGES, start=1):
            channels = int(base * config.width)
            conv = stage + 1  # checkpoints count the stem as conv1
            blocks = nn.Sequential()
            for position in range(depth):
                in_channels, stride = (
                    (channels, 1) if position else (self.out_channels, first_stride)
                )
                blocks.add_sublayer(
                    f"conv{conv}_{position + 1}" if position else "_first_block",
                    InvertedResidual(in_channels, channels, expansion, stride),
                )
            self.append(f"stage{stage}", f"conv{conv}", blocks, channels, first_stride)
        channels = int(1280 * max(config.width, 1.0))
        self.append(
            "stage7", "conv9", Conv(self.out_channels, channels, 1, act=nn.ReLU6()), channels
        )
        self.close(self.out_channels)
