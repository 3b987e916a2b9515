"""ResNet, and its variants vc and vd: residual blocks in four stages behind a stem.

Papers: "Deep Residual Learning for Image Recognition", He et al. 2016, https://arxiv.org/abs/1512.03385;
"Bag of Tricks for Image Classification with Convolutional Neural Networks", He et al. 2019,
https://arxiv.org/abs/1812.01187, for the stem of vc and the stem and shortcut of vd.
"""

from __future__ import annotations

from typing import Literal

from paddle import nn
from ppclas_core.contracts.variants import Variants

from ppclas_models.layers.residual import (
    BASIC_CHANNELS,
    BOTTLENECK_CHANNELS,
    DEEP_STEM,
    INDEXED,
    STAGED,
    Place,
    ResidualConfig,
    ResidualNet,
)

models = Variants()


class ResNetConfig(ResidualConfig):
    """A ResNet."""

    block: Literal["basic", "bottleneck"]
    """Two 3x3 convolutions, or a 3x3 between two 1x1 that give four times its channels."""


def _vd(block: Literal["basic", "bottleneck"], depths: tuple[int, int, int, int]) -> ResNetConfig:
    return ResNetConfig(block=block, depths=depths, stem_channels=DEEP_STEM, pooled_shortcut=True)


@models.register(
    ResNet18=ResNetConfig(block="basic", depths=(2, 2, 2, 2)),
    ResNet34=ResNetConfig(block="basic", depths=(3, 4, 6, 3)),
    ResNet50=ResNetConfig(block="bottleneck", depths=(3, 4, 6, 3)),
    ResNet101=ResNetConfig(block="bottleneck", depths=(3, 4, 23, 3)),
    ResNet152=ResNetConfig(block="bottleneck", depths=(3, 8, 36, 3)),
    ResNet18_vd=_vd("basic", (2, 2, 2, 2)),
    ResNet34_vd=_vd("basic", (3, 4, 6, 3)),
    ResNet50_vd=_vd("bottleneck", (3, 4, 6, 3)),
    ResNet101_vd=_vd("bottleneck", (3, 4, 23, 3)),
    ResNet152_vd=_vd("bottleneck", (3, 8, 36, 3)),
    ResNet200_vd=_vd("bottleneck", (3, 12, 48, 3)),
)
class ResNet(ResidualNet):
    """Basic or bottleneck blocks. Images [N, in_channels, H, W] → logits [N, num_classes]."""

    keys = INDEXED
    head = ("fc",)
    config: ResNetConfig

    def stage_channels(self) -> tuple[int, ...]:
        return BASIC_CHANNELS if self.config.block == "basic" else BOTTLENECK_CHANNELS

    def branch(self, place: Place) -> dict[str, nn.Layer]:
        if self.config.block == "basic":
            return self.basic(place)
        return self.bottleneck(place, place.out_channels // 4)


@models.register(
    ResNet50_vc=ResNetConfig(block="bottleneck", depths=(3, 4, 6, 3), stem_channels=DEEP_STEM)
)
class StagedResNet(ResNet):
    """A ResNet whose published checkpoint names its blocks by stage and position."""

    keys = STAGED
    head = ("out",)
