"""PP-HGNet: blocks whose 3x3 convolutions are all kept and put together by a 1x1, for GPUs.

There is no paper; the release is of 2022. The block is that of "An Energy and GPU-Computation
Efficient Backbone Network for Real-Time Object Detection", Lee et al. 2019,
https://arxiv.org/abs/1904.09730 (VoVNet), and its gate that of "CenterMask: Real-Time Anchor-Free
Instance Segmentation", Lee & Park 2020, https://arxiv.org/abs/1911.06667.
"""

from __future__ import annotations

from typing import NamedTuple

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.conv_norm import ConvNorm
from ppclas_models.layers.last_conv import LastConvModel
from ppclas_models.layers.stochastic_depth import Rate

models = Variants()

LAST_FEATURES = 2048


class Stage(NamedTuple):
    """A stage of a network."""

    hidden: PositiveInt
    """Channels of the 3x3 convolutions."""
    out_channels: PositiveInt
    depth: PositiveInt
    """Blocks."""


class PPHGNetConfig(ModelConfig):
    """A PP-HGNet."""

    stem_channels: tuple[PositiveInt, PositiveInt, PositiveInt]
    stages: tuple[Stage, Stage, Stage, Stage]
    layers: PositiveInt
    """3x3 convolutions in a block."""
    dropout: Rate = 0.0
    """Share of the features before the classifier that training drops."""


class EffectiveSqueezeExcite(nn.Layer):
    """[N, channels, H, W] → the same, each channel gated by one 1x1 convolution of all their
    means.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2D(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.sigmoid(self.conv(F.adaptive_avg_pool2d(x, 1)))


class Block(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, H, W]: the input and what each 3x3 convolution
    makes of the one before, aggregated and gated.
    """

    def __init__(self, in_channels: int, stage: Stage, layers: int, *, residual: bool) -> None:
        super().__init__()
        hidden = stage.hidden
        self.layers = nn.LayerList(
            ConvNorm(hidden if index else in_channels, hidden, 3, act=nn.ReLU())
            for index in range(layers)
        )
        self.aggregation_conv = ConvNorm(
            in_channels + layers * hidden, stage.out_channels, 1, act=nn.ReLU()
        )
        self.att = EffectiveSqueezeExcite(stage.out_channels)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        y = self.att(self.aggregation_conv(paddle.concat(maps, axis=1)))
        return x + y if self.residual else y


@models.register(
    PPHGNet_tiny=PPHGNetConfig(
        stem_channels=(48, 48, 96),
        stages=(Stage(96, 224, 1), Stage(128, 448, 1), Stage(160, 512, 2), Stage(192, 768, 1)),
        layers=5,
    ),
    PPHGNet_small=PPHGNetConfig(
        stem_channels=(64, 64, 128),
        stages=(Stage(128, 256, 1), Stage(160, 512, 1), Stage(192, 768, 2), Stage(224, 1024, 1)),
        layers=6,
    ),
    PPHGNet_base=PPHGNetConfig(
        stem_channels=(96, 96, 160),
        stages=(Stage(192, 320, 1), Stage(224, 640, 2), Stage(256, 960, 3), Stage(288, 1280, 2)),
        layers=7,
        dropout=0.2,
    ),
)
class PPHGNet(LastConvModel):
    """Four stages of such blocks. Images [N, in_channels, H, W] → logits [N, num_classes]."""

    config: PPHGNetConfig

    def __init__(self, config: PPHGNetConfig) -> None:
        super().__init__(config)
        for index, (channels, stride) in enumerate(
            zip(config.stem_channels, (2, 1, 1), strict=True)
        ):
            stem = ConvNorm(self.out_channels, channels, 3, stride, act=nn.ReLU())
            self.append("stem", f"stem.{index}", stem, channels, stride)
        self.append("stem", "max_pool", nn.MaxPool2D(3, 2, padding=1), self.out_channels, 2)
        for number, stage in enumerate(config.stages):
            name, channels = f"stage{number + 1}", self.out_channels
            if number:
                downsample = ConvNorm(channels, channels, 3, 2, groups=channels)
                self.append(name, f"stages.{number}.downsample", downsample, channels, 2)
            for position in range(stage.depth):
                block = Block(self.out_channels, stage, config.layers, residual=position > 0)
                path = f"stages.{number}.blocks.{position}"
                self.append(name, path, block, stage.out_channels)
        # Scales in evaluation rather than in training.
        dropout = nn.Dropout(config.dropout, mode="downscale_in_infer")
        self.close_last_conv(LAST_FEATURES, nn.ReLU(), dropout)
