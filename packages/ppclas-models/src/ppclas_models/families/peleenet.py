"""PeleeNet: a DenseNet for phones, whose layers see two sizes of neighbourhood.

Paper: "Pelee: A Real-Time Object Detection System on Mobile Devices", Wang et al. 2018,
https://arxiv.org/abs/1804.06882
"""

from __future__ import annotations

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv_norm import ConvNorm, ConvNormKeys

models = Variants()

KEYS = ConvNormKeys("conv", "norm")
STEM_CHANNELS = 32
GROWTH = 32
"""Channels that a layer adds, half of them from each branch."""
DEPTHS = (3, 4, 8, 6)
"""Layers in each block (table 1)."""
BOTTLENECKS = (16, 32, 64, 64)
"""Channels before the 3x3 convolutions, in each block."""


class PeleeNetConfig(ModelConfig):
    """A PeleeNet."""

    dropout_rate: float = Field(0.05, ge=0, lt=1)
    """Of the features before the classifier."""


def conv(in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1) -> ConvNorm:
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]."""
    return ConvNorm(in_channels, out_channels, kernel_size, stride, act=nn.ReLU(), keys=KEYS)


class Stem(nn.Layer):
    """[N, in_channels, H, W] → [N, STEM_CHANNELS, H / 4, W / 4]: a strided convolution and a max
    pool side by side (figure 2).
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.stem1 = conv(in_channels, STEM_CHANNELS, 3, 2)
        self.stem2a = conv(STEM_CHANNELS, STEM_CHANNELS // 2)
        self.stem2b = conv(STEM_CHANNELS // 2, STEM_CHANNELS, 3, 2)
        self.stem3 = conv(2 * STEM_CHANNELS, STEM_CHANNELS)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem1(images)
        # Rounds odd sides up, as the strided convolution does.
        pooled = F.max_pool2d(x, 2, 2, ceil_mode=True)
        return self.stem3(paddle.concat([pooled, self.stem2b(self.stem2a(x))], axis=1))


class DenseLayer(nn.Layer):
    """[N, in_channels, H, W] → [N, in_channels + GROWTH, H, W]: the input, then what one and two
    3x3 convolutions make of it (figure 1b).
    """

    def __init__(self, in_channels: int, hidden: int) -> None:
        super().__init__()
        half = GROWTH // 2
        self.branch1a = conv(in_channels, hidden)
        self.branch1b = conv(hidden, half, 3)
        self.branch2a = conv(in_channels, hidden)
        self.branch2b = conv(hidden, half, 3)
        self.branch2c = conv(half, half, 3)

    def forward(self, x: Tensor) -> Tensor:
        near = self.branch1b(self.branch1a(x))
        far = self.branch2c(self.branch2b(self.branch2a(x)))
        return paddle.concat([x, near, far], axis=1)


@models.register(PeleeNet=PeleeNetConfig())
class PeleeNet(ChainModel):
    """Stem and four dense blocks, each with a 1x1 convolution after it. Images [N, in_channels, H,
    W] → logits [N, num_classes].
    """

    head = ("classifier",)
    config: PeleeNetConfig

    def __init__(self, config: PeleeNetConfig) -> None:
        super().__init__(config)
        stem = Stem(config.in_channels)
        self.append("stem", "features.stemblock", stem, STEM_CHANNELS, 4)
        for number, (depth, hidden) in enumerate(zip(DEPTHS, BOTTLENECKS, strict=True), start=1):
            stage = f"block{number}"
            for position in range(1, depth + 1):
                name = f"features.denseblock{number}.denselayer{position}"
                layer = DenseLayer(self.out_channels, hidden)
                self.append(stage, name, layer, self.out_channels + GROWTH)
            transition = conv(self.out_channels, self.out_channels)
            self.append(stage, f"features.transition{number}", transition, self.out_channels)
            if number < len(DEPTHS):
                self.append(stage, f"pool{number}", nn.AvgPool2D(2, 2), self.out_channels, 2)
        self.close(self.out_channels, nn.Dropout(config.dropout_rate))
