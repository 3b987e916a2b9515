"""GhostNet: half of the channels are made from the other half by cheap depthwise convolutions.

Paper: "GhostNet: More Features from Cheap Operations", Han et al. 2020,
    https://arxiv.org/abs/1911.11907
"""

from __future__ import annotations

from functools import partial

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveFloat

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels import round_channels
from ppclas_models.layers.conv_norm import UNDERSCORED, ConvNorm
from ppclas_models.layers.inverted import InvertedRow as Row
from ppclas_models.layers.squeeze_excite import LinearSqueezeExcite

models = Variants()

STEM_CHANNELS = 16
LAST_FEATURES = 1280
"""Features before the classifier, at every width."""

# The paper's table 7.
BLOCKS = (
    Row(3, 16, 16, False, 1),
    Row(3, 48, 24, False, 2),
    Row(3, 72, 24, False, 1),
    Row(5, 72, 40, True, 2),
    Row(5, 120, 40, True, 1),
    Row(3, 240, 80, False, 2),
    Row(3, 200, 80, False, 1),
    Row(3, 184, 80, False, 1),
    Row(3, 184, 80, False, 1),
    Row(3, 480, 112, True, 1),
    Row(3, 672, 112, True, 1),
    Row(5, 672, 160, True, 2),
    Row(5, 960, 160, False, 1),
    Row(5, 960, 160, True, 1),
    Row(5, 960, 160, False, 1),
    Row(5, 960, 160, True, 1),
)

# The L2 penalty leaves batch norms out, as in the published training.
Conv = partial(ConvNorm, keys=UNDERSCORED, norm_decay=False)


class GhostNetConfig(ModelConfig):
    """A GhostNet."""

    width: PositiveFloat = 1.0
    """Factor on all channel counts, which are then rounded to multiples of 4."""


def clipped(x: Tensor) -> Tensor:
    """``x`` within 0..1: the paper's gate of squeeze-and-excitation."""
    return paddle.clip(x, 0.0, 1.0)


class GhostModule(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, H, W]: half by 1x1, half from those by depthwise
    3x3.
    """

    def __init__(self, in_channels: int, out_channels: int, *, relu: bool) -> None:
        super().__init__()
        half = out_channels // 2
        self.primary_conv = Conv(in_channels, half, 1, act=nn.ReLU() if relu else None)
        self.cheap_operation = Conv(half, half, 3, groups=half, act=nn.ReLU() if relu else None)

    def forward(self, x: Tensor) -> Tensor:
        primary = self.primary_conv(x)
        return paddle.concat([primary, self.cheap_operation(primary)], axis=1)


class GhostBottleneck(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, H / stride, W / stride]: two ghost modules beside
    a shortcut.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int, block: Row) -> None:
        super().__init__()
        kernel_size, stride = block.kernel_size, block.stride
        self.ghost_module_1 = GhostModule(in_channels, hidden, relu=True)
        self.depthwise_conv = (
            Conv(hidden, hidden, kernel_size, stride, groups=hidden)
            if stride == 2
            else nn.Identity()
        )
        self.se_block = (
            LinearSqueezeExcite(hidden, hidden // 4, clipped)
            if block.squeeze_excite
            else nn.Identity()
        )
        self.ghost_module_2 = GhostModule(hidden, out_channels, relu=False)
        self.identity = stride == 1 and in_channels == out_channels
        if not self.identity:
            self.shortcut_depthwise = Conv(
                in_channels, in_channels, kernel_size, stride, groups=in_channels
            )
            self.shortcut_conv = Conv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ghost_module_2(self.se_block(self.depthwise_conv(self.ghost_module_1(x))))
        return y + (x if self.identity else self.shortcut_conv(self.shortcut_depthwise(x)))


@models.register(
    GhostNet_x0_5=GhostNetConfig(width=0.5),
    GhostNet_x1_0=GhostNetConfig(),
    GhostNet_x1_3=GhostNetConfig(width=1.3),
)
class GhostNet(ChainModel):
    """16 ghost bottlenecks. Images [N, in_channels, H, W] → logits [N, num_classes].

    The stage ``head`` holds the 1x1 convolution after the pool, ``fc_0``, as well.
    """

    head = ("fc_1",)
    config: GhostNetConfig

    def __init__(self, config: GhostNetConfig) -> None:
        super().__init__(config)
        channels = self._scaled(STEM_CHANNELS)
        self.append(
            "stem", "conv1", Conv(config.in_channels, channels, 3, 2, act=nn.ReLU()), channels, 2
        )
        stage = 1
        for index, block in enumerate(BLOCKS):
            hidden, channels = self._scaled(block.hidden), self._scaled(block.out_channels)
            stage += block.stride - 1  # a stage starts where the map shrinks
            layer = GhostBottleneck(self.out_channels, hidden, channels, block)
            self.append(f"stage{stage}", f"_ghostbottleneck_{index}", layer, channels, block.stride)
        hidden = self._scaled(BLOCKS[-1].hidden)
        self.append(
            f"stage{stage}", "conv_last", Conv(self.out_channels, hidden, 1, act=nn.ReLU()), hidden
        )
        self.fc_0 = Conv(hidden, LAST_FEATURES, 1, act=nn.ReLU())
        self.close(LAST_FEATURES, nn.Dropout(0.2))

    def _scaled(self, channels: int) -> int:
        return round_channels(channels * self.config.width, 4)

    def pool(self, features: Tensor) -> Tensor:
        """[N, C, h, w] → [N, LAST_FEATURES]: the mean over all positions, then ``fc_0``."""
        return self.fc_0(F.adaptive_avg_pool2d(features, 1)).flatten(1)

    def stages(self) -> dict[str, tuple[str, ...]]:
        return {**super().stages(), "head": ("fc_0", *self.head)}
