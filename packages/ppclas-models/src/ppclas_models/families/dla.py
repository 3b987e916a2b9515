"""DLA: stages that are trees of blocks, whose roots gather what the blocks below them give.

Paper: "Deep Layer Aggregation", Yu et al. 2018, https://arxiv.org/abs/1707.06484
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv import conv2d

models = Variants()

EXPANSION = 2
"""Channels that a bottleneck gives over those of its 3x3 convolution."""
COMPACT = (16, 32, 64, 64, 128, 256)
WIDE = (16, 32, 128, 256, 512, 1024)


class DLAConfig(ModelConfig):
    """A DLA."""

    levels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Convolutions in each of the first two stages, depth of the tree in each of the others."""
    channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Of each stage's maps."""
    block: Literal["basic", "bottleneck"] = "bottleneck"
    groups: PositiveInt = 1
    """Of a bottleneck's 3x3 convolution (ResNeXt)."""
    group_width: PositiveInt = 64
    """Channels of a group where a block gives 64 (with bottlenecks: twice as many as go in)."""
    residual_root: bool = False
    """Roots add the last block's map to what they make."""


class Block(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, H / stride, W / stride]: convolutions, each with
    a batch norm, added to the shortcut.
    """

    def __init__(self, config: DLAConfig, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        kernels: tuple[int, ...] = (1, 3, 1)
        width = out_channels * config.group_width // 64 * config.groups // EXPANSION
        if config.block == "basic":
            kernels, width = (3, 3), out_channels
        strided = kernels.index(3)
        for index, kernel_size in enumerate(kernels):
            channels = out_channels if index == len(kernels) - 1 else width
            conv = conv2d(
                in_channels,
                channels,
                kernel_size,
                stride if index == strided else 1,
                groups=config.groups if kernel_size == 3 else 1,
            )
            self.add_sublayer(f"conv{index + 1}", conv)
            self.add_sublayer(f"bn{index + 1}", nn.BatchNorm2D(channels))
            in_channels = channels
        self.depth = len(kernels)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        for number in range(1, self.depth + 1):
            x = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x))
            x = F.relu(x if number < self.depth else x + shortcut)
        return x


class Root(nn.Layer):
    """Maps of the same size, ``in_channels`` in all → [N, out_channels, H, W]: an aggregation node
    (section 3.2).
    """

    def __init__(self, in_channels: int, out_channels: int, residual: bool) -> None:
        super().__init__()
        self.conv = conv2d(in_channels, out_channels, 1)
        self.bn = nn.BatchNorm2D(out_channels)
        self.residual = residual

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        x = self.bn(self.conv(paddle.concat(list(maps), axis=1)))
        return F.relu(x + maps[0] if self.residual else x)


class Tree(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, H / stride, W / stride]: two blocks or two trees,
    then a root that also reads ``gathered``, maps with ``gathered_channels`` channels in all.

    With ``keep_input`` the root reads the input as well.
    """

    def __init__(
        self,
        config: DLAConfig,
        levels: int,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        keep_input: bool = False,
        gathered_channels: int = 0,
    ) -> None:
        super().__init__()
        self.levels, self.keep_input = levels, keep_input
        gathered_channels += in_channels if keep_input else 0
        self.shrink = nn.MaxPool2D(stride, stride, ceil_mode=True) if stride > 1 else nn.Identity()
        if levels > 1:
            self.tree1 = Tree(config, levels - 1, in_channels, out_channels, stride)
            gathered_channels += out_channels
            self.tree2 = Tree(
                config,
                levels - 1,
                out_channels,
                out_channels,
                gathered_channels=gathered_channels,
            )
            return
        self.project = (
            nn.Sequential(conv2d(in_channels, out_channels, 1), nn.BatchNorm2D(out_channels))
            if in_channels != out_channels
            else nn.Identity()
        )
        self.tree1 = Block(config, in_channels, out_channels, stride)
        self.tree2 = Block(config, out_channels, out_channels, 1)
        self.root = Root(2 * out_channels + gathered_channels, out_channels, config.residual_root)

    def forward(self, x: Tensor, gathered: tuple[Tensor, ...] = ()) -> Tensor:
        shrunk = self.shrink(x)
        if self.keep_input:
            gathered = (*gathered, shrunk)
        if self.levels > 1:
            first = self.tree1(x)
            return self.tree2(first, (*gathered, first))
        first = self.tree1(x, self.project(shrunk))
        return self.root([self.tree2(first, first), first, *gathered])


@models.register(
    DLA34=DLAConfig(levels=(1, 1, 1, 2, 2, 1), channels=(16, 32, 64, 128, 256, 512), block="basic"),
    DLA46_c=DLAConfig(levels=(1, 1, 1, 2, 2, 1), channels=COMPACT),
    DLA46x_c=DLAConfig(levels=(1, 1, 1, 2, 2, 1), channels=COMPACT, groups=32, group_width=4),
    DLA60=DLAConfig(levels=(1, 1, 1, 2, 3, 1), channels=WIDE),
    DLA60x=DLAConfig(levels=(1, 1, 1, 2, 3, 1), channels=WIDE, groups=32, group_width=4),
    DLA60x_c=DLAConfig(levels=(1, 1, 1, 2, 3, 1), channels=COMPACT, groups=32, group_width=4),
    DLA102=DLAConfig(levels=(1, 1, 1, 3, 4, 1), channels=WIDE, residual_root=True),
    DLA102x=DLAConfig(
        levels=(1, 1, 1, 3, 4, 1), channels=WIDE, groups=32, group_width=4, residual_root=True
    ),
    DLA102x2=DLAConfig(
        levels=(1, 1, 1, 3, 4, 1), channels=WIDE, groups=64, group_width=4, residual_root=True
    ),
    DLA169=DLAConfig(levels=(1, 1, 2, 3, 5, 1), channels=WIDE, residual_root=True),
)
class DLA(ChainModel):
    """Two stages of convolutions, then four trees. Images [N, in_channels, H, W] → logits [N,
    num_classes].
    """

    config: DLAConfig

    def __init__(self, config: DLAConfig) -> None:
        super().__init__(config)
        first = config.channels[0]
        self.append("stem", "base_layer", self._convs(first, 7, 1, 1), first)
        for index, (levels, channels) in enumerate(
            zip(config.levels, config.channels, strict=True)
        ):
            name, stride = f"level{index}", 1 if index == 0 else 2
            layer = (
                self._convs(channels, 3, stride, levels)
                if index < 2
                else Tree(config, levels, self.out_channels, channels, stride, keep_input=index > 2)
            )
            self.append(name, name, layer, channels, stride)
        self.close(self.out_channels, point=True)

    def _convs(self, channels: int, kernel_size: int, stride: int, count: int) -> nn.Sequential:
        layers: list[nn.Layer] = []
        for index in range(count):
            in_channels, step = (channels, 1) if index else (self.out_channels, stride)
            layers += [
                conv2d(in_channels, channels, kernel_size, step),
                nn.BatchNorm2D(channels),
                nn.ReLU(),
            ]
        return nn.Sequential(*layers)
