"""RegNetX: ResNeXt's blocks with widths that follow a line, quantised, and bottlenecks that do not
narrow.

Paper: "Designing Network Design Spaces", Radosavovic et al. 2020, https://arxiv.org/abs/2003.13678
"""

from __future__ import annotations

import math
from itertools import groupby

from paddle import nn
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveFloat, PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv_norm import UNDERSCORED, ConvNorm
from ppclas_models.layers.residual import Residual, bottleneck

models = Variants()

STEM_CHANNELS = 32


class RegNetConfig(ModelConfig):
    """A RegNetX: the parameters of the paper's section 3.3."""

    depth: PositiveInt
    """Blocks in all stages together."""
    first_width: PositiveInt
    """w₀: channels at the beginning of the line."""
    slope: PositiveFloat
    """wₐ: channels that the line rises by with each block."""
    step: PositiveFloat
    """wₘ: factor between the widths of neighbouring stages."""
    group_width: PositiveInt
    """Channels in a group of the 3x3 convolutions; at most those of the stage."""

    def stage_sizes(self) -> list[tuple[int, int]]:
        """Channels and blocks of each stage: equations 2 to 4."""
        widths = []
        for block in range(self.depth):
            line = self.first_width + self.slope * block
            power = round(math.log(line / self.first_width) / math.log(self.step))
            width = round(self.first_width * self.step**power / 8) * 8
            group_width = min(self.group_width, width)
            widths.append(round(width / group_width) * group_width)
        return [(width, len(list(blocks))) for width, blocks in groupby(widths)]


def _config(
    depth: int, first_width: int, slope: float, step: float, group_width: int
) -> RegNetConfig:
    return RegNetConfig(
        depth=depth, first_width=first_width, slope=slope, step=step, group_width=group_width
    )


# The paper's figure 16, in the digits of its reference implementation.
@models.register(
    RegNetX_200MF=_config(13, 24, 36.44, 2.49, 8),
    RegNetX_400MF=_config(22, 24, 24.48, 2.54, 16),
    RegNetX_600MF=_config(16, 48, 36.97, 2.24, 24),
    RegNetX_800MF=_config(16, 56, 35.73, 2.28, 16),
    RegNetX_1600MF=_config(18, 80, 34.01, 2.25, 24),
    RegNetX_3200MF=_config(25, 88, 26.31, 2.25, 48),
    RegNetX_4GF=_config(23, 96, 38.65, 2.43, 40),
    RegNetX_6400MF=_config(17, 184, 60.83, 2.07, 56),
    RegNetX_8GF=_config(23, 80, 49.56, 2.88, 120),
    RegNetX_12GF=_config(19, 168, 73.36, 2.37, 112),
    RegNetX_16GF=_config(22, 216, 55.59, 2.1, 128),
    RegNetX_32GF=_config(23, 320, 69.86, 2.0, 168),
)
class RegNet(ChainModel):
    """Stages of grouped bottlenecks. Images [N, in_channels, H, W] → logits [N, num_classes]."""

    head = ("out",)
    config: RegNetConfig

    def __init__(self, config: RegNetConfig) -> None:
        super().__init__(config)
        stem = ConvNorm(config.in_channels, STEM_CHANNELS, 3, 2, act=nn.ReLU(), keys=UNDERSCORED)
        self.append("stem", "conv", stem, STEM_CHANNELS, 2)
        for number, (channels, depth) in enumerate(config.stage_sizes(), start=1):
            for position in range(1, depth + 1):
                stride = 2 if position == 1 else 1
                block = self._block(channels, stride)
                self.append(f"stage{number}", f"s{number}_b{position}", block, channels, stride)
        self.close(self.out_channels)

    def _block(self, channels: int, stride: int) -> Residual:
        """[N, self.out_channels, H, W] → [N, channels, ⌈H / stride⌉, ⌈W / stride⌉]."""
        groups = max(channels // self.config.group_width, 1)
        names = ("conv0", "conv1", "conv2")
        branch = bottleneck(
            self.out_channels, channels, channels, stride, names, UNDERSCORED, groups
        )
        short = (
            nn.Identity()
            if stride == 1
            else ConvNorm(self.out_channels, channels, 1, stride, keys=UNDERSCORED)
        )
        return Residual(branch, short)
