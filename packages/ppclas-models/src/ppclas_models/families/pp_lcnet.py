"""PP-LCNet: MobileNetV1's separable convolutions with hard-swish, large kernels and
squeeze-and-excitation where they cost little.

Paper: "PP-LCNet: A Lightweight CPU Convolutional Neural Network", Cui et al. 2021,
https://arxiv.org/abs/2109.15099
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from paddle import nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveFloat, PositiveInt

from ppclas_models.layers.channels import round_channels
from ppclas_models.layers.conv_norm import ConvNorm
from ppclas_models.layers.last_conv import LastConvModel
from ppclas_models.layers.squeeze_excite import ConvSqueezeExcite

models = Variants()

STEM_CHANNELS = 16
LAST_FEATURES = 1280
"""Features before the classifier, at every width."""

# The L2 penalty leaves batch norms out, as in the published training.
Conv = partial(ConvNorm, norm_decay=False)


class Row(NamedTuple):
    """A block of the paper's table 2, at width 1.0."""

    kernel_size: int
    """Of the depthwise convolution."""
    out_channels: int
    stride: int | tuple[int, int]
    squeeze_excite: bool = False


STAGES = (
    (Row(3, 32, 1),),
    (Row(3, 64, 2), Row(3, 64, 1)),
    (Row(3, 128, 2), Row(3, 128, 1)),
    (Row(3, 256, 2), *(Row(5, 256, 1),) * 5),
    (Row(5, 512, 2, True), Row(5, 512, 1, True)),
)


Stride = PositiveInt | tuple[PositiveInt, PositiveInt]


class PPLCNetConfig(ModelConfig):
    """A PP-LCNet."""

    width: PositiveFloat = 1.0
    """Factor on all channel counts but the last, which are then rounded to multiples of 8."""
    strides: tuple[Stride, Stride, Stride, Stride, Stride] = (2, 2, 2, 2, 2)
    """Of the stem and of the first blocks of the stages 3 to 6; (height, width) where they differ,
    as for lines of text."""
    last_conv: bool = True
    """Whether a 1 x 1 convolution and dropout come between the pool and the classifier; without
    them it reads the last block's channels."""


class SeparableConv(nn.Sequential):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]: depthwise, gate,
    pointwise.
    """

    def __init__(self, in_channels: int, out_channels: int, row: Row) -> None:
        super().__init__()
        depthwise = Conv(
            in_channels,
            in_channels,
            row.kernel_size,
            row.stride,
            groups=in_channels,
            act=nn.Hardswish(),
        )
        self.add_sublayer("dw_conv", depthwise)
        if row.squeeze_excite:
            gate = ConvSqueezeExcite(in_channels, in_channels // 4, F.hardsigmoid)
            self.add_sublayer("se", gate)
        self.add_sublayer("pw_conv", Conv(in_channels, out_channels, 1, act=nn.Hardswish()))


@models.register(
    PPLCNet_x0_25=PPLCNetConfig(width=0.25),
    PPLCNet_x0_35=PPLCNetConfig(width=0.35),
    PPLCNet_x0_5=PPLCNetConfig(width=0.5),
    PPLCNet_x0_75=PPLCNetConfig(width=0.75),
    PPLCNet_x1_0=PPLCNetConfig(),
    PPLCNet_x1_5=PPLCNetConfig(width=1.5),
    PPLCNet_x2_0=PPLCNetConfig(width=2.0),
    PPLCNet_x2_5=PPLCNetConfig(width=2.5),
)
class PPLCNet(LastConvModel):
    """Five stages of separable convolutions. Images [N, in_channels, H, W] → logits [N,
    num_classes].
    """

    config: PPLCNetConfig

    def __init__(self, config: PPLCNetConfig) -> None:
        super().__init__(config)
        channels = self._scaled(STEM_CHANNELS)
        first, *others = config.strides
        stem = Conv(config.in_channels, channels, 3, first, act=nn.Hardswish())
        self.append("stem", "conv1", stem, channels, _largest(first))
        for stage, rows in enumerate(STAGES, start=2):
            for position, row in enumerate(rows):
                if stage > 2 and position == 0:
                    row = row._replace(stride=others[stage - 3])
                channels = self._scaled(row.out_channels)
                block = SeparableConv(self.out_channels, channels, row)
                name = f"blocks{stage}.{position}"
                self.append(f"stage{stage}", name, block, channels, _largest(row.stride))
        if not config.last_conv:
            self.close(self.out_channels)
            return
        # Scales by 0.8 in evaluation rather than by 1.25 in training.
        dropout = nn.Dropout(0.2, mode="downscale_in_infer")
        self.close_last_conv(LAST_FEATURES, nn.Hardswish(), dropout)

    def _scaled(self, channels: int) -> int:
        return round_channels(channels * self.config.width, 8)


def _largest(stride: int | tuple[int, int]) -> int:
    return stride if isinstance(stride, int) else max(stride)
