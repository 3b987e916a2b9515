"""EfficientNetV2: inverted residuals that train fast, the early ones fused into plain 3x3
convolutions.

Paper: "EfficientNetV2: Smaller Models and Faster Training", Tan & Le 2021,
https://arxiv.org/abs/2104.00298; in training whole branches are dropped as in "Deep Networks with
Stochastic Depth", Huang et al. 2016, https://arxiv.org/abs/1603.09382.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv import conv2d, same_padding
from ppclas_models.layers.conv_norm import ConvNorm, ConvNormKeys
from ppclas_models.layers.squeeze_excite import ConvSqueezeExcite, sigmoid
from ppclas_models.layers.stochastic_depth import DropPath, Rate

models = Variants()

STEM_CHANNELS = 24
LAST_CHANNELS = 1280

# The reference implementation's batch norm.
Norm = partial(nn.BatchNorm2D, momentum=0.99, epsilon=1e-3)


class Stage(NamedTuple):
    """A row of the paper's table 4: EfficientNetV2-S. All kernels are 3x3."""

    fused: bool
    """Expansion and depthwise convolution are one plain convolution, and nothing is gated."""
    expansion: int
    stride: int
    out_channels: int
    depth: int


STAGES = (
    Stage(True, 1, 1, 24, 2),
    Stage(True, 4, 2, 48, 4),
    Stage(True, 4, 2, 64, 4),
    Stage(False, 4, 2, 128, 6),
    Stage(False, 6, 1, 160, 9),
    Stage(False, 6, 2, 256, 15),
)


class EfficientNetV2Config(ModelConfig):
    """An EfficientNetV2."""

    padded_for: PositiveInt | None = 384
    """Side of the images for which the strided convolutions pad as TensorFlow's SAME does, pixels;
    the weights were trained with that. Other sizes work too, with the same padding. None pads by
    half a kernel on all sides."""
    dropout: Rate = 0.2
    """Share of the features before the classifier that training drops."""
    drop_path_rate: Rate = 0.2
    """Chance that training drops the last block's branch for an image; it grows with the block's
    position, from 0."""


class Block(nn.Sequential):
    """[N, in_channels, H, W] → [N, out_channels, H / stride, W / stride]: expand, depthwise, gate,
    linear projection, or the fused form of that.

    Where the shape stays, the input is added, and training drops the rest for an image with chance
    ``drop_rate``.
    """

    def __init__(
        self,
        in_channels: int,
        stage: Stage,
        stride: int,
        padding: list[int],
        drop_rate: float,
    ) -> None:
        super().__init__()
        hidden, out_channels = in_channels * stage.expansion, stage.out_channels
        self.residual = stride == 1 and in_channels == out_channels
        # The checkpoints' norms are counted from the expansion's, whether there is one or not.
        self._norms = 1 if stage.expansion == 1 else 0
        if stage.fused and stage.expansion == 1:
            spatial = conv2d(in_channels, out_channels, 3, stride, padding=padding)
            self._append("_project_conv._conv", spatial, out_channels, act=True)
        else:
            if stage.fused:
                spatial = conv2d(in_channels, hidden, 3, stride, padding=padding)
                self._append("_expand_conv._conv", spatial, hidden, act=True)
            else:
                self._append("_expand_conv._conv", conv2d(in_channels, hidden, 1), hidden, act=True)
                spatial = conv2d(hidden, hidden, 3, stride, padding=padding, groups=hidden)
                self._append("_depthwise_conv._conv", spatial, hidden, act=True)
                # A quarter of the block's input, not of the expanded map.
                names = ("_se_reduce._conv", "_se_expand._conv")
                gate = ConvSqueezeExcite(hidden, in_channels // 4, sigmoid, F.swish, names)
                self.add_sublayer("_se", gate)
            linear = conv2d(hidden, out_channels, 1, linear=True)
            self._append("_project_conv._conv", linear, out_channels, act=False)
        if self.residual:
            self.add_sublayer("drop_path", DropPath(drop_rate))

    def _append(self, name: str, conv: nn.Layer, channels: int, *, act: bool) -> None:
        """Add a convolution, its batch norm and, with ``act``, a swish."""
        self.add_sublayer(name, conv)
        self.add_sublayer(f"_norm{self._norms}", Norm(channels))
        if act:
            self.add_sublayer(f"_act{self._norms}", nn.Swish())
        self._norms += 1

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return x + y if self.residual else y


@models.register(EfficientNetV2_S=EfficientNetV2Config())
class EfficientNetV2(ChainModel):
    """Six stages of inverted residuals. Images [N, in_channels, H, W] → logits [N, num_classes]."""

    head = ("_fc",)
    config: EfficientNetV2Config

    def __init__(self, config: EfficientNetV2Config) -> None:
        super().__init__(config)
        conv = partial(ConvNorm, act=nn.Swish(), epsilon=1e-3, momentum=0.99)
        stem = conv(
            config.in_channels,
            STEM_CHANNELS,
            3,
            2,
            padding=self._padding(2),
            keys=ConvNormKeys("_conv_stem._conv", "_norm"),
        )
        self.append("stem", "_stem", stem, STEM_CHANNELS, 2)
        index, blocks = 0, sum(stage.depth for stage in STAGES)
        for number, stage in enumerate(STAGES, start=1):
            for position in range(stage.depth):
                stride = stage.stride if position == 0 else 1
                rate = config.drop_path_rate * index / blocks
                block = Block(self.out_channels, stage, stride, self._padding(stride), rate)
                name, channels = f"_blocks.{index}", stage.out_channels
                self.append(f"stage{number}", name, block, channels, stride)
                index += 1
        last = conv(self.out_channels, LAST_CHANNELS, 1, keys=ConvNormKeys("_conv_head", "_norm"))
        self.append(f"stage{len(STAGES)}", "_head", last, LAST_CHANNELS)
        self.close(LAST_CHANNELS, nn.Dropout(config.dropout))

    def _padding(self, stride: int) -> list[int]:
        """Of a 3x3 convolution on the last map so far."""
        if self.config.padded_for is None:
            return [1, 1, 1, 1]
        return same_padding(math.ceil(self.config.padded_for / self.out_stride), 3, stride)
