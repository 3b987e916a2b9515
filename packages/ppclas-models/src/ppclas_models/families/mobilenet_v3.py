"""MobileNetV3: searched inverted residuals with squeeze-and-excitation and hard-swish.

Paper: "Searching for MobileNetV3", Howard et al. 2019, https://arxiv.org/abs/1905.02244
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveFloat

from ppclas_models.layers.channels import round_channels
from ppclas_models.layers.conv_norm import ConvNorm
from ppclas_models.layers.inverted import InvertedRow as Row
from ppclas_models.layers.last_conv import LastConvModel
from ppclas_models.layers.squeeze_excite import ConvSqueezeExcite

models = Variants()

STEM_CHANNELS = 16
LAST_FEATURES = 1280
"""Features before the classifier, at every width. The paper's small model has 1024."""

# The paper's tables 1 and 2.
LARGE = (
    Row(3, 16, 16, False, 1),
    Row(3, 64, 24, False, 2),
    Row(3, 72, 24, False, 1),
    Row(5, 72, 40, True, 2),
    Row(5, 120, 40, True, 1),
    Row(5, 120, 40, True, 1),
    Row(3, 240, 80, False, 2, "hardswish"),
    Row(3, 200, 80, False, 1, "hardswish"),
    Row(3, 184, 80, False, 1, "hardswish"),
    Row(3, 184, 80, False, 1, "hardswish"),
    Row(3, 480, 112, True, 1, "hardswish"),
    Row(3, 672, 112, True, 1, "hardswish"),
    Row(5, 672, 160, True, 2, "hardswish"),
    Row(5, 960, 160, True, 1, "hardswish"),
    Row(5, 960, 160, True, 1, "hardswish"),
)
SMALL = (
    Row(3, 16, 16, True, 2),
    Row(3, 72, 24, False, 2),
    Row(3, 88, 24, False, 1),
    Row(5, 96, 40, True, 2, "hardswish"),
    Row(5, 240, 40, True, 1, "hardswish"),
    Row(5, 240, 40, True, 1, "hardswish"),
    Row(5, 120, 48, True, 1, "hardswish"),
    Row(5, 144, 48, True, 1, "hardswish"),
    Row(5, 288, 96, True, 2, "hardswish"),
    Row(5, 576, 96, True, 1, "hardswish"),
    Row(5, 576, 96, True, 1, "hardswish"),
)

# The L2 penalty leaves batch norms out, as in the published training.
Conv = partial(ConvNorm, norm_decay=False)


class MobileNetV3Config(ModelConfig):
    """A MobileNetV3."""

    size: Literal["large", "small"]
    """Which of the paper's two tables."""
    width: PositiveFloat = 1.0
    """Factor on all channel counts, which are then rounded to multiples of 8."""


def hard_sigmoid(x: Tensor) -> Tensor:
    """``clip(0.2 x + 0.5, 0, 1)``; the paper's slope is 1/6, the published weights were trained
    with this one.
    """
    return F.hardsigmoid(x, slope=0.2, offset=0.5)


def _act(name: Literal["relu", "hardswish"]) -> nn.Layer:
    return nn.ReLU() if name == "relu" else nn.Hardswish()


class InvertedResidual(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, H / stride, W / stride]: expand, depthwise, gate,
    linear projection.

    Where the shape stays, the input is added. The first block expands by a 1x1 convolution too,
    unlike the paper's.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int, block: Row) -> None:
        super().__init__()
        self.residual = block.stride == 1 and in_channels == out_channels
        self.expand_conv = Conv(in_channels, hidden, 1, act=_act(block.act))
        self.bottleneck_conv = Conv(
            hidden, hidden, block.kernel_size, block.stride, groups=hidden, act=_act(block.act)
        )
        self.mid_se = (
            ConvSqueezeExcite(hidden, hidden // 4, hard_sigmoid)
            if block.squeeze_excite
            else nn.Identity()
        )
        self.linear_conv = Conv(hidden, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear_conv(self.mid_se(self.bottleneck_conv(self.expand_conv(x))))
        return x + y if self.residual else y


@models.register(
    MobileNetV3_large_x0_35=MobileNetV3Config(size="large", width=0.35),
    MobileNetV3_large_x0_5=MobileNetV3Config(size="large", width=0.5),
    MobileNetV3_large_x0_75=MobileNetV3Config(size="large", width=0.75),
    MobileNetV3_large_x1_0=MobileNetV3Config(size="large"),
    MobileNetV3_large_x1_25=MobileNetV3Config(size="large", width=1.25),
    MobileNetV3_small_x0_35=MobileNetV3Config(size="small", width=0.35),
    MobileNetV3_small_x0_5=MobileNetV3Config(size="small", width=0.5),
    MobileNetV3_small_x0_75=MobileNetV3Config(size="small", width=0.75),
    MobileNetV3_small_x1_0=MobileNetV3Config(size="small"),
    MobileNetV3_small_x1_25=MobileNetV3Config(size="small", width=1.25),
)
class MobileNetV3(LastConvModel):
    """Inverted residuals in five groups. Images [N, in_channels, H, W] → logits [N, num_classes].

    The groups are those that the published training scales learning rates by: three blocks each
    (small: two), the stem with the first, what is left with the last. The stage ``head`` holds
    ``last_conv`` as well.
    """

    config: MobileNetV3Config

    def __init__(self, config: MobileNetV3Config) -> None:
        super().__init__(config)
        blocks, group_size = (LARGE, 3) if config.size == "large" else (SMALL, 2)
        channels = self._scaled(STEM_CHANNELS)
        self.append(
            "group1",
            "conv",
            Conv(config.in_channels, channels, 3, 2, act=nn.Hardswish()),
            channels,
            2,
        )
        for index, block in enumerate(blocks):
            hidden, channels = self._scaled(block.hidden), self._scaled(block.out_channels)
            layer = InvertedResidual(self.out_channels, hidden, channels, block)
            self.append(
                f"group{min(index // group_size, 4) + 1}",
                f"blocks.{index}",
                layer,
                channels,
                block.stride,
            )
        hidden = self._scaled(blocks[-1].hidden)
        self.append(
            "group5",
            "last_second_conv",
            Conv(self.out_channels, hidden, 1, act=nn.Hardswish()),
            hidden,
        )
        # Scales by 0.8 in evaluation rather than by 1.25 in training.
        dropout = nn.Dropout(0.2, mode="downscale_in_infer")
        self.close_last_conv(LAST_FEATURES, nn.Hardswish(), dropout)

    def _scaled(self, channels: int) -> int:
        return round_channels(channels * self.config.width, 8)
