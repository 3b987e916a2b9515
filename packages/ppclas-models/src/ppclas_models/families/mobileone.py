"""MobileOne: depthwise and 1x1 convolutions that train as several branches each and run as one.

Paper: "MobileOne: An Improved One millisecond Mobile Backbone", Vasu et al. 2022,
https://arxiv.org/abs/2206.04040
"""

from __future__ import annotations

from paddle import nn
from ppclas_core.contracts.variants import Variants
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from ppclas_models.layers.mobileone import MobileOneBlock
from ppclas_models.layers.reparam import FusibleConfig, FusibleModel
from ppclas_models.layers.squeeze_excite import ConvSqueezeExcite, sigmoid

models = Variants()

CHANNELS = (64, 128, 256, 512)
"""Of the stages, at width 1."""
DEPTHS = (2, 8, 10, 1)
"""Pairs of a depthwise and a 1x1 layer in each stage (table 2)."""


class MobileOneConfig(FusibleConfig):
    """A MobileOne."""

    widths: tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat]
    """Factors on the channels of each stage: α in the paper."""
    num_branches: PositiveInt = 1
    """Convolutions side by side in a layer: k in the paper."""
    gated: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt] = (0, 0, 0, 0)
    """How many pairs at the end of each stage have squeeze-and-excitation."""


@models.register(
    MobileOne_s0=MobileOneConfig(widths=(0.75, 1, 1, 2), num_branches=4),
    MobileOne_s1=MobileOneConfig(widths=(1.5, 1.5, 2, 2.5)),
    MobileOne_s2=MobileOneConfig(widths=(1.5, 2, 2.5, 4)),
    MobileOne_s3=MobileOneConfig(widths=(2, 2.5, 3, 4)),
    MobileOne_s4=MobileOneConfig(widths=(3, 3.5, 3.5, 4), gated=(0, 0, 5, 1)),
)
class MobileOne(FusibleModel):
    """A stem and 21 pairs of layers in four stages. Images [N, in_channels, H, W] → logits [N,
    num_classes].
    """

    config: MobileOneConfig

    def __init__(self, config: MobileOneConfig) -> None:
        super().__init__(config)
        channels = min(CHANNELS[0], int(CHANNELS[0] * config.widths[0]))
        stem = MobileOneBlock(config.in_channels, channels, 3, 2, act=nn.ReLU())
        self.append("stem", "stem", stem, channels, 2)
        for index, depth in enumerate(DEPTHS):
            stage = f"stage{index + 1}"
            channels = int(CHANNELS[index] * config.widths[index])
            for position in range(depth):
                gated = position >= depth - config.gated[index]
                stride, narrow = 1 if position else 2, self.out_channels
                name = f"stages.{index}.{{}}".format
                depthwise = self._layer(narrow, narrow, 3, stride, narrow, gated)
                self.append(stage, name(2 * position), depthwise, narrow, stride)
                pointwise = self._layer(narrow, channels, 1, 1, 1, gated)
                self.append(stage, name(2 * position + 1), pointwise, channels)
        self.close(channels)

    def _layer(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        groups: int,
        gated: bool,
    ) -> MobileOneBlock:
        gate = ConvSqueezeExcite(out_channels, out_channels // 16, sigmoid) if gated else None
        return MobileOneBlock(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            groups,
            self.config.num_branches,
            act=nn.ReLU(),
            squeeze_excite=gate,
        )
