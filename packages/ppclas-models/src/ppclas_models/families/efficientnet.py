"""EfficientNet: inverted residuals with squeeze-and-excitation, scaled in depth, width and
resolution together.

Paper: "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", Tan & Le 2019,
https://arxiv.org/abs/1905.11946; in training whole branches are dropped as in "Deep Networks with
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
from pydantic import PositiveFloat, PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels import round_channels
from ppclas_models.layers.conv import same_padding
from ppclas_models.layers.conv_norm import ConvNorm, ConvNormKeys
from ppclas_models.layers.squeeze_excite import ConvSqueezeExcite, sigmoid
from ppclas_models.layers.stochastic_depth import Rate

models = Variants()

STEM_CHANNELS = 32
LAST_CHANNELS = 1280


class Stage(NamedTuple):
    """A row of the paper's table 1: EfficientNetB0."""

    expansion: int
    kernel_size: int
    stride: int
    out_channels: int
    depth: int


STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)

# The reference implementation's batch norm.
Conv = partial(ConvNorm, keys=ConvNormKeys("_conv._conv", "_bn"), epsilon=1e-3, momentum=0.99)


class EfficientNetConfig(ModelConfig):
    """An EfficientNet."""

    width: PositiveFloat = 1.0
    """Factor on all channel counts, which are then rounded to multiples of 8."""
    depth: PositiveFloat = 1.0
    """Factor on the blocks of a stage."""
    nearest_depth: bool = False
    """Round the blocks of a stage to the nearest number instead of up."""
    norm_epsilon: PositiveFloat = 1e-3
    """What the batch norms add to the variance."""
    norm_momentum: Rate = 0.99
    """Share of their running statistics that a step keeps."""
    padded_for: PositiveInt | None
    """Side of the images for which the strided convolutions pad as TensorFlow's SAME does, pixels;
    the weights were trained with that. Other sizes work too, with the same padding. None pads by
    half a kernel on all sides."""
    scaled_ends: bool = True
    """Whether ``width`` scales the stem and the last convolution as well."""
    squeeze_excite: bool = True
    dropout: Rate = 0.2
    """Share of the features before the classifier that training drops."""
    drop_path_rate: Rate = 0.2
    """Chance that training drops the last block's branch for an image; it grows with the block's
    position, from 0."""


class MBConv(nn.Sequential):
    """[N, in_channels, H, W] → [N, out_channels, H / stride, W / stride]: expand, depthwise, gate,
    linear projection.

    Where the shape stays, the input is added, and training drops the rest for an image with chance
    ``drop_rate``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stage: Stage,
        stride: int,
        padding: list[int] | None,
        squeeze_excite: bool,
        drop_rate: float,
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and in_channels == out_channels
        hidden, kernel_size = in_channels * stage.expansion, stage.kernel_size
        if stage.expansion > 1:
            self.add_sublayer("_ecn._conv", Conv(in_channels, hidden, 1, act=nn.Swish()))
        depthwise = Conv(
            hidden, hidden, kernel_size, stride, groups=hidden, act=nn.Swish(), padding=padding
        )
        self.add_sublayer("_dcn._conv", depthwise)
        if squeeze_excite:
            # A quarter of the block's input, not of the expanded map.
            gate = ConvSqueezeExcite(
                hidden, in_channels // 4, sigmoid, F.swish, ("_conv1._conv", "_conv2._conv")
            )
            self.add_sublayer("_se", gate)
        self.add_sublayer("_pcn._conv", Conv(hidden, out_channels, 1))
        if self.residual:
            self.add_sublayer("drop_path", nn.Dropout(drop_rate, axis=0))

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return x + y if self.residual else y


@models.register(
    EfficientNetB0_small=EfficientNetConfig(padded_for=None, squeeze_excite=False),
    EfficientNetB0=EfficientNetConfig(padded_for=224),
    EfficientNetB1=EfficientNetConfig(depth=1.1, padded_for=240),
    EfficientNetB2=EfficientNetConfig(width=1.1, depth=1.2, padded_for=260, dropout=0.3),
    EfficientNetB3=EfficientNetConfig(width=1.2, depth=1.4, padded_for=300, dropout=0.3),
    EfficientNetB4=EfficientNetConfig(width=1.4, depth=1.8, padded_for=380, dropout=0.4),
    EfficientNetB5=EfficientNetConfig(width=1.6, depth=2.2, padded_for=456, dropout=0.4),
    EfficientNetB6=EfficientNetConfig(width=1.8, depth=2.6, padded_for=528, dropout=0.5),
    EfficientNetB7=EfficientNetConfig(width=2.0, depth=3.1, padded_for=600, dropout=0.5),
)
class EfficientNet(ChainModel):
    """Seven stages of inverted residuals. Images [N, in_channels, H, W] → logits [N,
    num_classes].
    """

    head = ("_fc",)
    config: EfficientNetConfig

    def __init__(self, config: EfficientNetConfig) -> None:
        super().__init__(config)
        channels = self._scaled(STEM_CHANNELS) if config.scaled_ends else STEM_CHANNELS
        stem = Conv(config.in_channels, channels, 3, 2, act=nn.Swish(), padding=self._padding(3, 2))
        self.append("stem", "_ef._conv_stem._conv", stem, channels, 2)
        whole = round if config.nearest_depth else math.ceil
        depths = [max(1, whole(stage.depth * config.depth)) for stage in STAGES]
        index = 0
        for number, (stage, depth) in enumerate(zip(STAGES, depths, strict=True), start=1):
            channels = self._scaled(stage.out_channels)
            for position in range(depth):
                stride = stage.stride if position == 0 else 1
                block = MBConv(
                    self.out_channels,
                    channels,
                    stage,
                    stride,
                    self._padding(stage.kernel_size, stride),
                    config.squeeze_excite,
                    config.drop_path_rate * index / sum(depths),
                )
                # The published names end in a dot.
                name = f"_ef._blocks.{index}." if position == 0 else f"_ef.block.{index}."
                self.append(f"stage{number}", name, block, channels, stride)
                index += 1
        channels = self._scaled(LAST_CHANNELS) if config.scaled_ends else LAST_CHANNELS
        self.append(
            f"stage{len(STAGES)}",
            "_conv",
            Conv(self.out_channels, channels, 1, act=nn.Swish()),
            channels,
        )
        self.close(channels, nn.Dropout(config.dropout))
        for layer in self.sublayers():
            if isinstance(layer, nn.BatchNorm2D):
                layer._epsilon, layer._momentum = config.norm_epsilon, config.norm_momentum

    def _scaled(self, channels: int) -> int:
        return round_channels(channels * self.config.width, 8)

    def _padding(self, kernel_size: int, stride: int) -> list[int] | None:
        """Of a convolution on the last map so far."""
        side = self.config.padded_for
        return (
            None
            if side is None
            else same_padding(math.ceil(side / self.out_stride), kernel_size, stride)
        )
