"""Res2Net: bottlenecks whose 3x3 convolution is a ladder of small ones, each fed by the one before.

Papers: "Res2Net: A New Multi-scale Backbone Architecture", Gao et al. 2019,
    https://arxiv.org/abs/1904.01169; the
stem and shortcut of vd are those of "Bag of Tricks …", He et al. 2019,
https://arxiv.org/abs/1812.01187.
"""

from __future__ import annotations

from dataclasses import replace
from string import ascii_lowercase

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.conv_norm import ConvNorm, ConvNormKeys
from ppclas_models.layers.residual import (
    DEEP_STEM,
    STAGED,
    Place,
    Residual,
    ResidualConfig,
    ResidualNet,
)

models = Variants()

DEPTHS_50 = (3, 4, 6, 3)
DEPTHS_101 = (3, 4, 23, 3)
DEPTHS_200 = (3, 12, 48, 3)


class Res2NetConfig(ResidualConfig):
    """A Res2Net; ``26w_4s`` in a name is width 26, scale 4."""

    width: PositiveInt
    """Channels of a rung of the ladder in the first stage; they double with each stage."""
    scale: PositiveInt
    """Rungs: one passes through, the others are convolved."""


class Res2NetBlock(Residual):
    """A bottleneck around the ladder of the paper's figure 2, with ``scale - 1`` convolutions
    called ``rung``_1, …

    A block that shrinks the map has no steps between the rungs, and pools the one that passes
    through.
    """

    def __init__(
        self, place: Place, width: int, scale: int, rung: str, short: nn.Layer, keys: ConvNormKeys
    ) -> None:
        ladder = {
            f"{rung}_{number}": ConvNorm(width, width, 3, place.stride, act=nn.ReLU(), keys=keys)
            for number in range(1, scale)
        }
        enter = ConvNorm(place.in_channels, width * scale, 1, act=nn.ReLU(), keys=keys)
        leave = ConvNorm(width * scale, place.out_channels, 1, keys=keys)
        super().__init__({"conv0": enter, **ladder, "conv2": leave}, short)
        self._rungs = tuple(ladder)
        self._scale = scale
        self._stride = place.stride

    def branch(self, x: Tensor) -> Tensor:
        *parts, passed = paddle.split(self.conv0(x), self._scale, axis=1)
        rungs: list[Tensor] = []
        for index, name in enumerate(self._rungs):
            steps_up = index > 0 and self._stride == 1
            rungs.append(
                getattr(self, name)(parts[index] + rungs[-1] if steps_up else parts[index])
            )
        if self._stride > 1:
            passed = F.avg_pool2d(passed, 3, self._stride, padding=1)
        return self.conv2(paddle.concat([*rungs, passed], axis=1))


def _vd(depths: tuple[int, int, int, int]) -> Res2NetConfig:
    return Res2NetConfig(
        depths=depths, width=26, scale=4, stem_channels=DEEP_STEM, pooled_shortcut=True
    )


@models.register(
    Res2Net50_26w_4s=Res2NetConfig(depths=DEPTHS_50, width=26, scale=4),
    Res2Net50_14w_8s=Res2NetConfig(depths=DEPTHS_50, width=14, scale=8),
    Res2Net50_vd_26w_4s=_vd(DEPTHS_50),
    Res2Net101_vd_26w_4s=_vd(DEPTHS_101),
    Res2Net200_vd_26w_4s=_vd(DEPTHS_200),
)
class Res2Net(ResidualNet):
    """Bottlenecks that see several scales. Images [N, in_channels, H, W] → logits [N,
    num_classes].
    """

    keys = replace(STAGED, stem="conv1")
    config: Res2NetConfig

    def block(self, place: Place) -> nn.Layer:
        width = self.config.width * 2**place.stage
        # The spelling of the first Caffe checkpoints: res3a, res3b, …; long third stages count
        # instead: res4b1, ….
        counted = place.stage == 2 and place.position > 0 and self.config.depths[2] > 6
        letter = f"b{place.position}" if counted else ascii_lowercase[place.position]
        rung = f"res{place.stage + 2}{letter}_branch2b"
        return Res2NetBlock(
            place, width, self.config.scale, rung, self.short(place), self.keys.conv_norm
        )
