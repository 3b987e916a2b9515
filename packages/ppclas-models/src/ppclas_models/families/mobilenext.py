"""MobileNeXt: sandglass blocks, whose shortcuts join wide maps and whose middle is narrow.

Paper: "Rethinking Bottleneck Structure for Efficient Mobile Network Design", Zhou et al. 2020,
https://arxiv.org/abs/2007.02269
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from paddle import Tensor, nn
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveFloat

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels import round_channels
from ppclas_models.layers.conv import conv2d

models = Variants()

STEM_CHANNELS = 32
LAST_CHANNELS = 1280
"""Of the last block, at every width up to 1.0."""


class Row(NamedTuple):
    """Blocks of the paper's table 2, at width 1.0."""

    reduction: int
    """Channels of the input over those in the middle."""
    channels: int
    depth: int
    stride: int
    """Of the first block."""


ROWS = (
    Row(2, 96, 1, 2),
    Row(6, 144, 1, 1),
    Row(6, 192, 3, 2),
    Row(6, 288, 3, 2),
    Row(6, 384, 4, 1),
    Row(6, 576, 4, 2),
    Row(6, 960, 3, 1),
    Row(6, LAST_CHANNELS, 1, 1),
)


class MobileNeXtConfig(ModelConfig):
    """A MobileNeXt."""

    width: PositiveFloat = 1.0
    """Factor on all channel counts, which are then rounded to multiples of 8."""
    dropout_rate: float = Field(0.2, ge=0, lt=1)
    """Of the features before the classifier."""


class Sandglass(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, H / stride, W / stride]: depthwise, narrow,
    widen, depthwise.

    Where the channels change within a row of more than one block (``lone`` is false), the first
    depthwise convolution is left out, and at stride 1 the last one too. Where the shape stays, the
    input is added.
    """

    def __init__(
        self, in_channels: int, out_channels: int, reduction: int, stride: int, lone: bool
    ) -> None:
        super().__init__()
        hidden = in_channels // reduction
        if hidden < out_channels / 6:
            hidden = round_channels(ceil(out_channels / 6), 16)
        changes = in_channels != out_channels and not lone
        self.residual = in_channels == out_channels and not lone
        layers: list[nn.Layer] = []
        if not changes or reduction == 2:
            layers += [*self._depthwise(in_channels, 1), nn.ReLU6()]
        layers += [conv2d(in_channels, hidden, 1), nn.BatchNorm2D(hidden)]
        layers += [conv2d(hidden, out_channels, 1), nn.BatchNorm2D(out_channels), nn.ReLU6()]
        if not changes or stride == 2:
            layers += self._depthwise(out_channels, stride)
        self.conv = nn.Sequential(*layers)

    def _depthwise(self, channels: int, stride: int) -> list[nn.Layer]:
        conv = conv2d(channels, channels, 3, stride, groups=channels)
        return [conv, nn.BatchNorm2D(channels)]

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return x + y if self.residual else y


@models.register(
    MobileNeXt_x0_35=MobileNeXtConfig(width=0.35),
    MobileNeXt_x0_5=MobileNeXtConfig(width=0.5),
    MobileNeXt_x0_75=MobileNeXtConfig(width=0.75),
    MobileNeXt_x1_0=MobileNeXtConfig(),
    MobileNeXt_x1_4=MobileNeXtConfig(width=1.4),
)
class MobileNeXt(ChainModel):
    """A stem and twenty sandglass blocks. Images [N, in_channels, H, W] → logits [N,
    num_classes].
    """

    head = ("classifier.1",)
    config: MobileNeXtConfig

    def __init__(self, config: MobileNeXtConfig) -> None:
        super().__init__(config)
        channels = round_channels(STEM_CHANNELS * config.width, 8)
        stem = nn.Sequential(
            conv2d(config.in_channels, channels, 3, 2), nn.BatchNorm2D(channels), nn.ReLU6()
        )
        self.append("stem", "features.0", stem, channels, 2)
        index, stage = 1, 0
        for row in ROWS:
            stage += row.stride - 1  # a stage starts where the map shrinks
            channels = round_channels(row.channels * config.width, 8)
            if row.channels == LAST_CHANNELS:
                channels = max(channels, LAST_CHANNELS)
            for position in range(row.depth):
                stride = row.stride if position == 0 else 1
                block = Sandglass(
                    self.out_channels,
                    channels,
                    row.reduction,
                    stride,
                    row.depth == 1 and row.stride == 1,
                )
                self.append(f"stage{stage}", f"features.{index}", block, channels, stride)
                index += 1
        self.close(channels, nn.Dropout(config.dropout_rate))
