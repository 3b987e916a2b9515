"""ReXNet: inverted residuals whose channels grow linearly from block to block.

Paper: "Rethinking Channel Dimensions for Efficient Model Design", Han et al. 2020,
https://arxiv.org/abs/2007.00992
"""

from __future__ import annotations

import paddle
from paddle import Tensor, nn
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveFloat

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv import conv2d

models = Variants()

DEPTHS = (1, 2, 2, 3, 3, 5)
"""Blocks in each stage."""
STRIDES = (1, 2, 2, 2, 1, 2)
"""Of each stage's first block."""
GATED_FROM = 2
"""First stage with squeeze-and-excitation, 0-based."""
STEM_CHANNELS = 32
FIRST_CHANNELS = 16
GROWTH = 180 / sum(DEPTHS)
"""Channels that each block has more than the one before it, at width 1.0."""
SQUEEZE = 12
"""Gated channels over the squeezed ones."""
LAST_FEATURES = 1280
"""Features before the classifier, at width 1.0."""


class ReXNetConfig(ModelConfig):
    """A ReXNet."""

    width: PositiveFloat = 1.0
    """Factor on all channel counts; below 1.0 not on those of the stem and the first block."""


class SqueezeExcite(nn.Layer):
    """[N, channels, H, W] → the same, gated; a batch norm follows the convolution that squeezes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = channels // SQUEEZE
        self.fc = nn.Sequential(
            nn.Conv2D(channels, squeezed, 1),
            nn.BatchNorm2D(squeezed),
            nn.ReLU(),
            nn.Conv2D(squeezed, channels, 1),
            nn.Sigmoid(),
        )
        self.avg_pool = nn.AdaptiveAvgPool2D(1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(self.avg_pool(x))


class LinearBottleneck(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, H / stride, W / stride]: expand, depthwise, gate,
    linear projection.

    At stride 1 the input is added to the first ``in_channels`` channels.
    """

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, gated: bool, stride: int
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.residual = stride == 1 and in_channels <= out_channels
        hidden = expansion * in_channels
        expand: list[nn.Layer] = (
            [conv2d(in_channels, hidden, 1), nn.BatchNorm2D(hidden), nn.Silu()]
            if expansion > 1
            else []
        )
        self.out = nn.Sequential(
            *expand,
            conv2d(hidden, hidden, 3, stride, groups=hidden),
            nn.BatchNorm2D(hidden),
            *([SqueezeExcite(hidden)] if gated else []),
            nn.ReLU6(),
            conv2d(hidden, out_channels, 1),
            nn.BatchNorm2D(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.out(x)
        if not self.residual:
            return y
        if y.shape[1] == self.in_channels:
            return y + x
        added = y[:, : self.in_channels] + x
        return paddle.concat([added, y[:, self.in_channels :]], axis=1)


@models.register(
    ReXNet_1_0=ReXNetConfig(),
    ReXNet_1_3=ReXNetConfig(width=1.3),
    ReXNet_1_5=ReXNetConfig(width=1.5),
    ReXNet_2_0=ReXNetConfig(width=2.0),
    ReXNet_3_0=ReXNetConfig(width=3.0),
)
class ReXNet(ChainModel):
    """A stem, sixteen blocks in six stages and a 1x1 convolution. Images [N, in_channels, H, W] →
    logits [N, num_classes].
    """

    head = ("output.1",)
    config: ReXNetConfig

    def __init__(self, config: ReXNetConfig) -> None:
        super().__init__(config)
        kept = max(1.0, config.width)
        stem = round(STEM_CHANNELS * kept)
        self._append_conv("stem", 0, stem, 3, 2)
        index = 0
        for stage, (depth, first_stride) in enumerate(zip(DEPTHS, STRIDES, strict=True)):
            for position in range(depth):
                stride = first_stride if position == 0 else 1
                channels = round(FIRST_CHANNELS * kept + GROWTH * config.width * index)
                block = LinearBottleneck(
                    self.out_channels, channels, 6 if index else 1, stage >= GATED_FROM, stride
                )
                # The stem's three layers come first.
                name = f"features.{index + 3}"
                self.append(f"stage{stage + 1}", name, block, channels, stride)
                index += 1
        features = int(LAST_FEATURES * config.width)
        self._append_conv(f"stage{len(DEPTHS)}", index + 3, features, 1, 1)
        self.close(features, nn.Dropout(0.2), point=True)

    def _append_conv(
        self, stage: str, index: int, out_channels: int, kernel_size: int, stride: int
    ) -> None:
        conv = conv2d(self.out_channels, out_channels, kernel_size, stride)
        self.append(stage, f"features.{index}", conv, out_channels, stride)
        self.append(stage, f"features.{index + 1}", nn.BatchNorm2D(out_channels), out_channels)
        self.append(stage, f"features.{index + 2}", nn.Silu(), out_channels)
