"""DPN: a residual path and a densely connected path through the same blocks.

Paper: "Dual Path Networks", Chen et al. 2017, https://arxiv.org/abs/1707.01629
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


class DPNConfig(ModelConfig):
    """A dual path network: a column of the paper's table 1."""

    stem_channels: PositiveInt
    stem_kernel_size: PositiveInt = 7
    """Side of the first convolution, pixels, odd."""
    depths: tuple[PositiveInt, ...]
    """Blocks a stage."""
    residual_channels: PositiveInt = 256
    """Channels of the residual path in the first stage; each stage doubles them."""
    bottleneck_channels: PositiveInt
    """Channels of the grouped 3x3 convolution in the first stage; each stage doubles them."""
    groups: PositiveInt
    """Of the 3x3 convolution."""
    growths: tuple[PositiveInt, ...]
    """Channels that a block adds to the dense path, a stage."""


class DualPathBlock(nn.Layer):
    """[N, in_channels, H, W] → [N, residual + dense, H / stride, W / stride], the two paths one
    after the other.

    1x1, grouped 3x3 and 1x1 give ``residual + growth`` channels: the first are added to the
    residual path, the others appended to the dense one. The first block of a stage projects its
    input to ``residual + 2 * growth`` channels.
    """

    def __init__(
        self,
        in_channels: int,
        bottleneck: int,
        residual: int,
        growth: int,
        groups: int,
        stride: int,
        *,
        project: bool,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.c1x1_w_func = (
            NormReluConv(in_channels, residual + 2 * growth, 1, stride)
            if project
            else nn.Identity()
        )
        self.c1x1_a_func = NormReluConv(in_channels, bottleneck, 1)
        self.c3x3_b_func = NormReluConv(bottleneck, bottleneck, 3, stride, groups)
        self.c1x1_c_func = NormReluConv(bottleneck, residual + growth, 1)

    def forward(self, x: Tensor) -> Tensor:
        short = self.c1x1_w_func(x)
        new = self.c1x1_c_func(self.c3x3_b_func(self.c1x1_a_func(x)))
        split = self.residual
        return paddle.concat(
            [short[:, :split] + new[:, :split], short[:, split:], new[:, split:]], axis=1
        )


@models.register(
    DPN68=DPNConfig(
        stem_channels=10, stem_kernel_size=3, depths=(3, 4, 12, 3), residual_channels=64,
        bottleneck_channels=128, groups=32, growths=(16, 32, 32, 64),
    ),
    DPN92=DPNConfig(
        stem_channels=64, depths=(3, 4, 20, 3), bottleneck_channels=96, groups=32, growths=(16, 32,
            24, 128)
    ),
    DPN98=DPNConfig(
        stem_channels=96, depths=(3, 6, 20, 3), bottleneck_channels=160, groups=40, growths=(16,
            32, 32, 128)
    ),
    DPN107=DPNConfig(
        stem_channels=128, depths=(4, 8, 20, 3), bottleneck_channels=200, groups=50, growths=(20,
            64, 64, 128)
    ),
    DPN131=DPNConfig(
        stem_channels=128, depths=(4, 8, 28, 3), bottleneck_channels=160, groups=40, growths=(16,
            32, 32, 128)
    ),
)  # fmt: skip
class DPN(ChainModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes]. Stages are numbered from conv2, as
    in the paper.
    """

    head = ("out",)
    config: DPNConfig

    def __init__(self, config: DPNConfig) -> None:
        super().__init__(config)
        channels = config.stem_channels
        stem = ConvNorm(
            config.in_channels,
            channels,
            config.stem_kernel_size,
            2,
            act=nn.ReLU(),
            keys=UNDERSCORED,
        )
        self.append("stem", "conv1_x_1_func", stem, channels, 2)
        self.append("stem", "max_pool", nn.MaxPool2D(3, 2, padding=1), channels, 2)
        number = 0
        for index, (depth, growth) in enumerate(zip(config.depths, config.growths, strict=True)):
            stage, residual = f"conv{index + 2}", config.residual_channels * 2**index
            bottleneck = config.bottleneck_channels * 2**index
            for position in range(depth):
                first = position == 0
                stride = 2 if first and index > 0 else 1
                block = DualPathBlock(
                    self.out_channels,
                    bottleneck,
                    residual,
                    growth,
                    config.groups,
                    stride,
                    project=first,
                )
                number += 1
                channels = (residual + 2 * growth if first else self.out_channels) + growth
                self.append(stage, f"dpn{number}", block, channels, stride)
        self.append(stage, "conv5_x_x_bn", nn.BatchNorm2D(self.out_channels), self.out_channels)
        self.append(stage, "relu", nn.ReLU(), self.out_channels)
        self.close(self.out_channels)
