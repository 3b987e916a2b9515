"""ESNet: ShuffleNetV2 whose halves are also mixed by depthwise convolutions and gated: the enhanced
ShuffleNet.

Paper: "PP-PicoDet: A Better Real-Time Object Detector on Mobile Devices", Yu et al. 2021,
https://arxiv.org/abs/2111.00902, section 3.1.
"""

from __future__ import annotations

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveFloat

from ppclas_models.layers.channels import interleave, round_channels
from ppclas_models.layers.conv_norm import ConvNorm
from ppclas_models.layers.last_conv import LastConvModel
from ppclas_models.layers.squeeze_excite import ConvSqueezeExcite

models = Variants()

STEM_CHANNELS = 24
STAGES = ((116, 3), (232, 7), (464, 3))
"""Channels at width 1.0, and blocks, of stages 2 to 4."""
MIXED_CHANNELS = 1024
"""After the last stage, at every width."""
LAST_FEATURES = 1280
"""Features before the classifier, at every width."""


class ESNetConfig(ModelConfig):
    """An ESNet."""

    width: PositiveFloat = 1.0
    """Factor on the channels of stages 2 to 4, which are then rounded to multiples of 8."""


def _gate(channels: int) -> ConvSqueezeExcite:
    return ConvSqueezeExcite(channels, channels // 4, F.hardsigmoid)


class Block(nn.Layer):
    """[N, channels, H, W] → the same shape: one half of the channels passes, the other is convolved
    and gated (figure 2b).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.pw_1_1 = ConvNorm(half, half, 1, act=nn.Hardswish())
        self.dw_1 = ConvNorm(half, half, 3, groups=half)
        self.se = _gate(channels)
        self.pw_1_2 = ConvNorm(channels, half, 1, act=nn.Hardswish())

    def forward(self, x: Tensor) -> Tensor:
        left, right = paddle.split(x, 2, axis=1)
        right = self.pw_1_1(right)
        right = self.pw_1_2(self.se(paddle.concat([right, self.dw_1(right)], axis=1)))
        return interleave(left, right)


class DownBlock(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / 2⌉, ⌈W / 2⌉]: two branches that see all
    channels, then separable convolutions that mix them (figure 2a).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.dw_1 = ConvNorm(in_channels, in_channels, 3, 2, groups=in_channels)
        self.pw_1 = ConvNorm(in_channels, half, 1, act=nn.Hardswish())
        self.pw_2_1 = ConvNorm(in_channels, half, 1, act=nn.Hardswish())
        self.dw_2 = ConvNorm(half, half, 3, 2, groups=half)
        self.se = _gate(half)
        self.pw_2_2 = ConvNorm(half, half, 1, act=nn.Hardswish())
        self.concat_dw = ConvNorm(
            out_channels, out_channels, 3, groups=out_channels, act=nn.Hardswish()
        )
        self.concat_pw = ConvNorm(out_channels, out_channels, 1, act=nn.Hardswish())

    def forward(self, x: Tensor) -> Tensor:
        left = self.pw_1(self.dw_1(x))
        right = self.pw_2_2(self.se(self.dw_2(self.pw_2_1(x))))
        return self.concat_pw(self.concat_dw(paddle.concat([left, right], axis=1)))


@models.register(
    ESNet_x0_25=ESNetConfig(width=0.25),
    ESNet_x0_5=ESNetConfig(width=0.5),
    ESNet_x0_75=ESNetConfig(width=0.75),
    ESNet_x1_0=ESNetConfig(),
)
class ESNet(LastConvModel):
    """Three stages of such blocks. Images [N, in_channels, H, W] → logits [N, num_classes]."""

    config: ESNetConfig

    def __init__(self, config: ESNetConfig) -> None:
        super().__init__(config)
        stem = ConvNorm(config.in_channels, STEM_CHANNELS, 3, 2, act=nn.Hardswish())
        self.append("stem", "conv1", stem, STEM_CHANNELS, 2)
        self.append("stem", "max_pool", nn.MaxPool2D(3, 2, padding=1), STEM_CHANNELS, 2)
        index = 0
        for stage, (width, depth) in enumerate(STAGES, start=2):
            channels = round_channels(width * config.width, 8)
            for position in range(depth):
                down = position == 0
                block = DownBlock(self.out_channels, channels) if down else Block(channels)
                name = f"blocks.{index}"
                self.append(f"stage{stage}", name, block, channels, 2 if down else 1)
                index += 1
        last = ConvNorm(self.out_channels, MIXED_CHANNELS, 1, act=nn.Hardswish())
        self.append(f"stage{len(STAGES) + 1}", "conv2", last, MIXED_CHANNELS)
        # Scales by 0.8 in evaluation rather than by 1.25 in training.
        dropout = nn.Dropout(0.2, mode="downscale_in_infer")
        self.close_last_conv(LAST_FEATURES, nn.Hardswish(), dropout)
