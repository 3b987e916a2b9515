"""SqueezeNet: fire modules, and a convolution instead of a fully connected classifier.

Paper: "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size", Iandola
    et al. 2016,
https://arxiv.org/abs/1602.07360; version 1.1 is from https://github.com/forresti/SqueezeNet
"""

from __future__ import annotations

import paddle
from paddle import ParamAttr, Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from paddle.nn.initializer import Normal
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.pool import global_average_pool

models = Variants()

FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
"""Squeezed channels, and channels of each of the two expansions: table 1 of the paper."""


class SqueezeNetConfig(ModelConfig):
    """A SqueezeNet."""

    stem_channels: PositiveInt
    stem_kernel_size: PositiveInt
    """Side of the first convolution, pixels, odd."""
    stem_padding: int
    """Zeros around the images, pixels."""
    pools: tuple[int, ...]
    """Number of fire modules before each max pool."""


class ConvRelu(nn.Sequential):
    """[N, in_channels, H, W] → [N, out_channels, H, W], with a bias."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        conv = nn.Conv2D(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        super().__init__(("_conv", conv), ("act", nn.ReLU()))


class Fire(nn.Layer):
    """[N, in_channels, H, W] → [N, 2 * expanded, H, W]: squeeze by 1x1, expand by 1x1 and 3x3 side
    by side.
    """

    def __init__(self, in_channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self._conv = ConvRelu(in_channels, squeezed, 1)
        self._conv_path1 = ConvRelu(squeezed, expanded, 1)
        self._conv_path2 = ConvRelu(squeezed, expanded, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self._conv(x)
        return paddle.concat([self._conv_path1(x), self._conv_path2(x)], axis=1)


@models.register(
    SqueezeNet1_0=SqueezeNetConfig(
        stem_channels=96, stem_kernel_size=7, stem_padding=0, pools=(0, 3, 7)
    ),
    SqueezeNet1_1=SqueezeNetConfig(
        stem_channels=64, stem_kernel_size=3, stem_padding=1, pools=(0, 2, 4)
    ),
)
class SqueezeNet(ChainModel):
    """Eight fire modules. Images [N, in_channels, H, W] → logits [N, num_classes], none of them
    negative.
    """

    head = ("_conv9",)
    config: SqueezeNetConfig

    def __init__(self, config: SqueezeNetConfig) -> None:
        super().__init__(config)
        channels = config.stem_channels
        stem = nn.Conv2D(
            config.in_channels, channels, config.stem_kernel_size, 2, padding=config.stem_padding
        )
        self.append("stem", "_conv", stem, channels, 2)
        self.append("stem", "act", nn.ReLU(), channels)
        stage = 0
        for index, (squeezed, expanded) in enumerate(FIRES):
            if index in config.pools:
                stage += 1
                self.append(
                    f"stage{stage}", f"max_pool{stage}", nn.MaxPool2D(3, 2), self.out_channels, 2
                )
            fire = Fire(self.out_channels, squeezed, expanded)
            self.append(f"stage{stage}", f"_conv{index + 1}", fire, 2 * expanded)
        # Halves the features in evaluation rather than doubling them in training.
        self.dropout = nn.Dropout(0.5, mode="downscale_in_infer")
        if config.num_classes:
            self._conv9 = nn.Conv2D(
                self.out_channels,
                config.num_classes,
                1,
                weight_attr=ParamAttr(initializer=Normal(std=0.01)),
            )

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        if pre_logits or not self.config.num_classes:
            return global_average_pool(features)
        return global_average_pool(F.relu(self._conv9(self.dropout(features))))
