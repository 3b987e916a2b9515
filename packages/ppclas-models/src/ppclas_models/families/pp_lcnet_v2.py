"""PP-LCNetV2: PP-LCNet whose large depthwise kernels are trained as the sum of several sizes, with
split pointwise convolutions in the third stage and shortcuts in the fourth.

There is no paper; the release is of 2022. The several kernels are those of "RepVGG: Making
VGG-style ConvNets Great Again", Ding et al. 2021, https://arxiv.org/abs/2101.03697.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveFloat, PositiveInt

from ppclas_models.layers.channels import round_channels
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.conv_norm import ConvNorm
from ppclas_models.layers.last_conv import LastConvModel
from ppclas_models.layers.reparam import Fusible, FusibleConfig, FusibleModel, fold, set_sum
from ppclas_models.layers.squeeze_excite import ConvSqueezeExcite, sigmoid
from ppclas_models.layers.stochastic_depth import Rate

models = Variants()

STEM_CHANNELS = (32, 64)
LAST_FEATURES = 1280
"""Features before the classifier, at every width."""

# The L2 penalty leaves batch norms out, as in the published training.
Conv = partial(ConvNorm, norm_decay=False)


class Stage(NamedTuple):
    """What the blocks of a stage have in common; the first one of them has stride 2."""

    out_channels: int
    """At width 1.0."""
    kernel_size: int
    """Of the depthwise convolution."""
    several_kernels: bool = False
    """Whether the depthwise convolution is trained as the sum of all odd sizes up to that."""
    split: bool = False
    """Two pointwise convolutions with half as many channels between them, and a gate before
    them."""
    shortcut: bool = False
    """Add the input where the shape stays."""


STAGES = (
    Stage(128, 3),
    Stage(256, 3),
    Stage(512, 5, several_kernels=True, split=True),
    Stage(1024, 5, several_kernels=True, shortcut=True),
)


class PPLCNetV2Config(FusibleConfig):
    """A PP-LCNetV2."""

    width: PositiveFloat = 1.0
    """Factor on all channel counts but the last, which are then rounded to multiples of 8."""
    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (2, 2, 6, 2)
    """Blocks in each stage."""
    dropout: Rate = 0.2
    """Share of the features before the classifier that training drops."""


class SeparableConv(Fusible):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]: depthwise, gate,
    pointwise.

    ``dw_conv`` of several kernels is what ``fuse`` makes of ``dw_conv_list``; before that it is not
    used, and takes no gradients.
    """

    def __init__(self, in_channels: int, out_channels: int, stage: Stage, stride: int) -> None:
        super().__init__()
        size = stage.kernel_size
        self.several_kernels, self.split = stage.several_kernels, stage.split
        self.residual = stage.shortcut and stride == 1 and in_channels == out_channels
        if stage.several_kernels:
            sizes = range(size, 1 if stride > 1 else 0, -2)
            self.dw_conv_list = nn.LayerList(
                Conv(in_channels, in_channels, side, stride, in_channels) for side in sizes
            )
            self.dw_conv: nn.Layer = conv2d(
                in_channels, in_channels, size, stride, groups=in_channels, bias=True
            )
            self.dw_conv.weight.stop_gradient = self.dw_conv.bias.stop_gradient = True
        else:
            self.dw_conv = Conv(in_channels, in_channels, size, stride, in_channels, nn.ReLU())
        if stage.split:
            self.se = ConvSqueezeExcite(in_channels, in_channels // 4, sigmoid)
            self.pw_conv_1 = Conv(in_channels, out_channels // 2, 1, act=nn.ReLU())
            self.pw_conv_2 = Conv(out_channels // 2, out_channels, 1, act=nn.ReLU())
        else:
            self.pw_conv = Conv(in_channels, out_channels, 1, act=nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        if not self.several_kernels:
            y = self.dw_conv(x)
        elif len(self.dw_conv_list):
            y = F.relu(paddle.add_n([conv(x) for conv in self.dw_conv_list]))
        else:
            y = F.relu(self.dw_conv(x))
        y = self.pw_conv_2(self.pw_conv_1(self.se(y))) if self.split else self.pw_conv(y)
        return x + y if self.residual else y

    def fuse(self) -> None:
        """Make ``dw_conv`` the sum of ``dw_conv_list``, which is then empty."""
        if self.several_kernels and len(self.dw_conv_list):
            set_sum(self.dw_conv, [fold(conv.conv.weight, conv.bn) for conv in self.dw_conv_list])
            self.dw_conv.weight.stop_gradient = self.dw_conv.bias.stop_gradient = False
            self.dw_conv_list = nn.LayerList()


@models.register(
    PPLCNetV2_small=PPLCNetV2Config(width=0.75, depths=(2, 2, 4, 2)),
    PPLCNetV2_base=PPLCNetV2Config(),
    PPLCNetV2_large=PPLCNetV2Config(width=1.25, depths=(2, 2, 8, 2)),
)
class PPLCNetV2(FusibleModel, LastConvModel):
    """Four stages of separable convolutions. Images [N, in_channels, H, W] → logits [N,
    num_classes].
    """

    config: PPLCNetV2Config

    def __init__(self, config: PPLCNetV2Config) -> None:
        super().__init__(config)
        first, second = map(self._scaled, STEM_CHANNELS)
        stem = Conv(config.in_channels, first, 3, 2, act=nn.ReLU())
        self.append("stem", "stem.0", stem, first, 2)
        self.append("stem", "stem.1", SeparableConv(first, second, Stage(second, 3), 1), second)
        for number, (stage, depth) in enumerate(zip(STAGES, config.depths, strict=True)):
            channels = self._scaled(stage.out_channels)
            for position in range(depth):
                stride = 2 if position == 0 else 1
                block = SeparableConv(self.out_channels, channels, stage, stride)
                name = f"stages.{number}.{position}"
                self.append(f"stage{number + 1}", name, block, channels, stride)
        # Scales in evaluation rather than in training.
        dropout = nn.Dropout(config.dropout, mode="downscale_in_infer")
        self.close_last_conv(LAST_FEATURES, nn.ReLU(), dropout)

    def _scaled(self, channels: int) -> int:
        return round_channels(channels * self.config.width, 8)
