"""DenseNet: every layer of a block reads the maps of all layers before it.

Paper: "Densely Connected Convolutional Networks", Huang et al. 2017,
    https://arxiv.org/abs/1608.06993
"""

from __future__ import annotations

import paddle
from paddle import Tensor, nn
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv_norm import UNDERSCORED, ConvNorm
from ppclas_models.layers.norm_conv import NormReluConv

models = Variants()


class DenseNetConfig(ModelConfig):
    """A DenseNet-BC: with bottlenecks, and transitions that halve the channels."""

    depths: tuple[PositiveInt, ...]
    """Layers a block."""
    growth: PositiveInt = 32
    """Channels that a layer adds: k in the paper."""
    stem_channels: PositiveInt = 64


class DenseLayer(nn.Layer):
    """[N, in_channels, H, W] → [N, in_channels + growth, H, W]: the input, then what a 1x1 and a
    3x3 make of it.
    """

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.bn_ac_func1 = NormReluConv(in_channels, 4 * growth, 1)
        self.bn_ac_func2 = NormReluConv(4 * growth, growth, 3)

    def forward(self, x: Tensor) -> Tensor:
        return paddle.concat([x, self.bn_ac_func2(self.bn_ac_func1(x))], axis=1)


class Transition(nn.Sequential):
    """[N, in_channels, H, W] → [N, in_channels // 2, H / 2, W / 2]: 1x1, then average pooling."""

    def __init__(self, in_channels: int) -> None:
        conv = NormReluConv(in_channels, in_channels // 2, 1)
        super().__init__(("conv_ac_func", conv), ("avg_pool", nn.AvgPool2D(2, 2)))


@models.register(
    DenseNet121=DenseNetConfig(depths=(6, 12, 24, 16)),
    DenseNet161=DenseNetConfig(depths=(6, 12, 36, 24), growth=48, stem_channels=96),
    DenseNet169=DenseNetConfig(depths=(6, 12, 32, 32)),
    DenseNet201=DenseNetConfig(depths=(6, 12, 48, 32)),
    DenseNet264=DenseNetConfig(depths=(6, 12, 64, 48)),
)
class DenseNet(ChainModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes].

    Blocks are numbered from 2, after the paper's figure of ImageNet models. A transition belongs to
    the stage after it.
    """

    head = ("out",)
    config: DenseNetConfig

    def __init__(self, config: DenseNetConfig) -> None:
        super().__init__(config)
        channels = config.stem_channels
        stem = ConvNorm(config.in_channels, channels, 7, 2, act=nn.ReLU(), keys=UNDERSCORED)
        self.append("stem", "conv1_func", stem, channels, 2)
        self.append("stem", "max_pool", nn.MaxPool2D(3, 2, padding=1), channels, 2)
        for block, depth in enumerate(config.depths, start=2):
            stage = f"block{block}"
            if block > 2:
                transition = Transition(self.out_channels)
                self.append(stage, f"tr_conv{block - 1}_blk", transition, self.out_channels // 2, 2)
            for position in range(1, depth + 1):
                layer = DenseLayer(self.out_channels, config.growth)
                name = f"db_conv_{block}.conv{block}_{position}"
                self.append(stage, name, layer, self.out_channels + config.growth)
        self.append(stage, "batch_norm", nn.BatchNorm2D(self.out_channels), self.out_channels)
        self.append(stage, "relu", nn.ReLU(), self.out_channels)
        self.close(self.out_channels)
