"""Inception modules, whose branches work side by side, and the frame of networks made of them.

Papers: "Going Deeper with Convolutions", Szegedy et al. 2014, https://arxiv.org/abs/1409.4842;
"Rethinking the Inception Architecture for Computer Vision", Szegedy et al. 2015,
https://arxiv.org/abs/1512.00567, which has the modules as they are here.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import paddle
from paddle import Tensor, nn

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv_norm import ConvNorm, ConvNormKeys
from ppclas_models.layers.patch_embed import check_smallest

SMALLEST = 75
"""Pixels of the smallest height and width that leave a map of 1x1 at the end."""


def conv_relu(
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int] = 1,
    stride: int = 1,
    padding: int | None = None,
    *,
    keys: ConvNormKeys,
) -> ConvNorm:
    """[N, in_channels, H, W] → [N, out_channels, h, w]; height and width stay at stride 1 and
    default ``padding``.
    """
    return ConvNorm(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        act=nn.ReLU(),
        padding=padding,
        keys=keys,
    )


class Conv(NamedTuple):
    """A convolution of an inception module."""

    name: str
    out_channels: int
    kernel_size: int | tuple[int, int] = 1
    stride: int = 1
    padding: int | None = None


def reducing(name: str, out_channels: int) -> Conv:
    """Half the height and width, without padding."""
    return Conv(name, out_channels, 3, 2, 0)


class Branch(NamedTuple):
    """Convolutions one after another, then some side by side on what comes out."""

    path: tuple[Conv, ...] = ()
    fork: tuple[Conv, ...] = ()
    """Where it is empty, the branch ends with ``path``."""
    pooled: bool = False
    """Whether the block's pool comes first."""


class Inception(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, h, w]: branches side by side, concatenated in
    their order.
    """

    def __init__(
        self,
        in_channels: int,
        pool: nn.Layer,
        branches: tuple[Branch, ...],
        keys: ConvNormKeys,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.branches = branches
        self.out_channels = 0
        for branch in branches:
            channels = in_channels
            for conv in branch.path:
                self.add_sublayer(conv.name, conv_relu(channels, *conv[1:], keys=keys))
                channels = conv.out_channels
            for conv in branch.fork:
                self.add_sublayer(conv.name, conv_relu(channels, *conv[1:], keys=keys))
            self.out_channels += (
                sum(conv.out_channels for conv in branch.fork) if branch.fork else channels
            )

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for branch in self.branches:
            y = self.pool(x) if branch.pooled else x
            for conv in branch.path:
                y = getattr(self, conv.name)(y)
            maps += [getattr(self, conv.name)(y) for conv in branch.fork] if branch.fork else [y]
        return paddle.concat(maps, axis=1)


class InceptionModel(ChainModel):
    """A chain of a stem and inception modules. Images [N, in_channels, H, W] → logits [N,
    num_classes].

    Raises:
        ShapeError: H or W is below 75 pixels: so many layers without padding would leave nothing.
    """

    keys: ClassVar[ConvNormKeys]

    def append_module(
        self, stage: str, name: str, branches: tuple[Branch, ...], pool: nn.Layer, stride: int = 1
    ) -> None:
        """Add an inception module; ``pool`` comes first in its ``pooled`` branches."""
        module = Inception(self.out_channels, pool, branches, self.keys)
        self.append(stage, name, module, module.out_channels, stride)

    def check_images(self, images: Tensor) -> None:
        check_smallest(self, images, SMALLEST)
