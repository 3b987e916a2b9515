"""SENet: residual and ResNeXt blocks whose branch ends in squeeze-and-excitation.

Papers: "Squeeze-and-Excitation Networks", Hu et al. 2018, https://arxiv.org/abs/1709.01507; the
    stem and shortcut of
vd are those of "Bag of Tricks …", He et al. 2019, https://arxiv.org/abs/1812.01187. SENet154_vd is
a plain SE_ResNeXt152_vd_64x4d: the paper's 154 also halves the first 1x1 convolution and has 3x3
convolutions in shortcuts.
"""

from __future__ import annotations

from typing import Literal

from paddle import nn
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.residual import (
    BASIC_CHANNELS,
    BOTTLENECK_CHANNELS,
    DEEP_STEM,
    Place,
    ResidualConfig,
    ResidualNet,
)
from ppclas_models.layers.squeeze_excite import LinearSqueezeExcite, sigmoid

models = Variants()

DEPTHS_50 = (3, 4, 6, 3)
WIDE_STEM = (64, 64, 128)


class SENetConfig(ResidualConfig):
    """A residual network with squeeze-and-excitation."""

    block: Literal["basic", "bottleneck"] = "bottleneck"
    cardinality: PositiveInt = 1
    """Groups of a bottleneck's 3x3 convolution."""
    group_width: PositiveInt = 64
    """Channels a group in the first stage; they double with each stage."""
    reduction: PositiveInt = 16
    """Channels per unit between squeeze and excitation."""


@models.register(
    SE_ResNet18_vd=SENetConfig(
        block="basic", depths=(2, 2, 2, 2), stem_channels=DEEP_STEM, pooled_shortcut=True
    ),
    SE_ResNet34_vd=SENetConfig(
        block="basic", depths=DEPTHS_50, stem_channels=DEEP_STEM, pooled_shortcut=True
    ),
    SE_ResNet50_vd=SENetConfig(depths=DEPTHS_50, stem_channels=DEEP_STEM, pooled_shortcut=True),
    SE_ResNeXt50_32x4d=SENetConfig(depths=DEPTHS_50, cardinality=32, group_width=4),
    SE_ResNeXt101_32x4d=SENetConfig(depths=(3, 4, 23, 3), cardinality=32, group_width=4),
    SE_ResNeXt50_vd_32x4d=SENetConfig(
        depths=DEPTHS_50,
        cardinality=32,
        group_width=4,
        stem_channels=WIDE_STEM,
        pooled_shortcut=True,
    ),
    SENet154_vd=SENetConfig(
        depths=(3, 8, 36, 3),
        cardinality=64,
        group_width=4,
        stem_channels=WIDE_STEM,
        pooled_shortcut=True,
    ),
)
class SENet(ResidualNet):
    """Blocks that weigh their channels. Images [N, in_channels, H, W] → logits [N, num_classes]."""

    config: SENetConfig

    def stage_channels(self) -> tuple[int, ...]:
        return BASIC_CHANNELS if self.config.block == "basic" else BOTTLENECK_CHANNELS

    def branch(self, place: Place) -> dict[str, nn.Layer]:
        config = self.config
        if config.block == "basic":
            convs = self.basic(place)
        else:
            width = config.cardinality * config.group_width * 2**place.stage
            convs = self.bottleneck(place, width, config.cardinality)
        squeezed = place.out_channels // config.reduction
        return {**convs, "scale": LinearSqueezeExcite(place.out_channels, squeezed, sigmoid)}
