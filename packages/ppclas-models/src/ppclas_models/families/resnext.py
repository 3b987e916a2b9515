"""ResNeXt: bottlenecks whose 3x3 convolution runs in many groups; also with the stem and shortcut
of ResNet_vd.

Papers: "Aggregated Residual Transformations for Deep Neural Networks", Xie et al. 2017,
https://arxiv.org/abs/1611.05431; "Exploring the Limits of Weakly Supervised Pretraining", Mahajan
et al. 2018, https://arxiv.org/abs/1805.00932, for the wide ones (wsl).
"""

from __future__ import annotations

from paddle import nn
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.conv_norm import SHORT
from ppclas_models.layers.residual import (
    DEEP_STEM,
    Place,
    ResidualConfig,
    ResidualKeys,
    ResidualNet,
)

models = Variants()

DEPTHS_50 = (3, 4, 6, 3)
DEPTHS_101 = (3, 4, 23, 3)
DEPTHS_152 = (3, 8, 36, 3)


class ResNeXtConfig(ResidualConfig):
    """A ResNeXt; ``32x4d`` in a name is cardinality 32, group width 4."""

    cardinality: PositiveInt
    """Groups of the 3x3 convolution."""
    group_width: PositiveInt
    """Channels a group in the first stage; they double with each stage."""


def _vd(depths: tuple[int, int, int, int], cardinality: int, group_width: int) -> ResNeXtConfig:
    return ResNeXtConfig(
        depths=depths,
        cardinality=cardinality,
        group_width=group_width,
        stem_channels=DEEP_STEM,
        pooled_shortcut=True,
    )


@models.register(
    ResNeXt50_32x4d=ResNeXtConfig(depths=DEPTHS_50, cardinality=32, group_width=4),
    ResNeXt50_64x4d=ResNeXtConfig(depths=DEPTHS_50, cardinality=64, group_width=4),
    ResNeXt101_32x4d=ResNeXtConfig(depths=DEPTHS_101, cardinality=32, group_width=4),
    ResNeXt101_64x4d=ResNeXtConfig(depths=DEPTHS_101, cardinality=64, group_width=4),
    ResNeXt152_32x4d=ResNeXtConfig(depths=DEPTHS_152, cardinality=32, group_width=4),
    ResNeXt152_64x4d=ResNeXtConfig(depths=DEPTHS_152, cardinality=64, group_width=4),
    ResNeXt50_vd_32x4d=_vd(DEPTHS_50, 32, 4),
    ResNeXt50_vd_64x4d=_vd(DEPTHS_50, 64, 4),
    ResNeXt101_vd_32x4d=_vd(DEPTHS_101, 32, 4),
    ResNeXt101_vd_64x4d=_vd(DEPTHS_101, 64, 4),
    ResNeXt152_vd_32x4d=_vd(DEPTHS_152, 32, 4),
    ResNeXt152_vd_64x4d=_vd(DEPTHS_152, 64, 4),
)
class ResNeXt(ResidualNet):
    """Grouped bottlenecks. Images [N, in_channels, H, W] → logits [N, num_classes]."""

    config: ResNeXtConfig

    def branch(self, place: Place) -> dict[str, nn.Layer]:
        groups = self.config.cardinality
        return self.bottleneck(place, groups * self.config.group_width * 2**place.stage, groups)


@models.register(
    ResNeXt101_32x8d_wsl=ResNeXtConfig(depths=DEPTHS_101, cardinality=32, group_width=8),
    ResNeXt101_32x16d_wsl=ResNeXtConfig(depths=DEPTHS_101, cardinality=32, group_width=16),
    ResNeXt101_32x32d_wsl=ResNeXtConfig(depths=DEPTHS_101, cardinality=32, group_width=32),
    ResNeXt101_32x48d_wsl=ResNeXtConfig(depths=DEPTHS_101, cardinality=32, group_width=48),
)
class WeaklySupervisedResNeXt(ResNeXt):
    """A ResNeXt pretrained on 940 million hashtagged images; its checkpoints have names of their
    own.
    """

    keys = ResidualKeys(
        stem="_conv_stem",
        deep_stem=("_conv_stem_1", "_conv_stem_2", "_conv_stem_3"),
        block="_conv{number}_{position}",
        conv="_conv{}",
        short="_short._conv",
        conv_norm=SHORT,
    )
    head = ("_out",)
