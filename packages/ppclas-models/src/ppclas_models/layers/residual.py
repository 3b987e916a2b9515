"""The frame of residual networks: a stem, then four stages of blocks that add to what they get.

Papers: "Deep Residual Learning for Image Recognition", He et al. 2016,
    https://arxiv.org/abs/1512.03385;
"Bag of Tricks for Image Classification with Convolutional Neural Networks", He et al. 2019,
https://arxiv.org/abs/1812.01187, whose ResNet-C replaces the 7x7 stem by three 3x3 convolutions and
whose ResNet-D also pools before the shortcut's convolution. All have the stride in the 3x3
convolution of a bottleneck (ResNet-B).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from pydantic import PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv_norm import PLAIN, UNDERSCORED, ConvNorm, ConvNormKeys

BASIC_CHANNELS = (64, 128, 256, 512)
"""What the stages give where the blocks are basic."""
BOTTLENECK_CHANNELS = (256, 512, 1024, 2048)

PLAIN_STEM = (64,)
DEEP_STEM = (32, 32, 64)


@dataclass(frozen=True)
class ResidualKeys:
    """How a checkpoint spells the layers."""

    stem: str
    deep_stem: tuple[str, str, str]
    block: str
    """Formatted with ``index`` (over all blocks), ``stage`` and ``position`` (in the stage), all
    0-based, and ``number``, the 1-based stage."""
    conv: str = "conv{}"
    """A convolution of a block, formatted with its 0-based position."""
    short: str = "short"
    conv_norm: ConvNormKeys = PLAIN


INDEXED = ResidualKeys("stem.0", ("stem.0", "stem.1", "stem.2"), "blocks.{index}")
"""Blocks counted through; the classifier is then called ``fc``."""
STAGED = ResidualKeys(
    "conv", ("conv1_1", "conv1_2", "conv1_3"), "bb_{stage}_{position}", conv_norm=UNDERSCORED
)
"""Blocks named by stage and position; the classifier is then called ``out``."""


class ResidualConfig(ModelConfig):
    """A residual network."""

    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Blocks a stage."""
    stem_channels: tuple[PositiveInt] | tuple[PositiveInt, PositiveInt, PositiveInt] = PLAIN_STEM
    """Of one 7x7 convolution, or of three 3x3 (ResNet-C)."""
    pooled_shortcut: bool = False
    """Average pooling instead of a strided convolution in the shortcut (ResNet-D)."""


class Place(NamedTuple):
    """Where in the network a block stands: [N, in_channels, H, W] → [N, out_channels, H / stride, W
    / stride].
    """

    in_channels: int
    out_channels: int
    stage: int
    """0-based."""
    position: int
    """In the stage, 0-based."""
    stride: int


class PooledProjection(ConvNorm):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / 2⌉, ⌈W / 2⌉]: the stride by average pooling,
    then a 1x1.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.avg_pool2d(x, 2, 2, ceil_mode=True))


class Residual(nn.Layer):
    """The layers of ``branch`` one after another, beside the shortcut ``short``; the sum is
    rectified.
    """

    def __init__(
        self, branch: Mapping[str, nn.Layer], short: nn.Layer, short_name: str = "short"
    ) -> None:
        super().__init__()
        for name, layer in {**branch, short_name: short}.items():
            self.add_sublayer(name, layer)
        self._branch_names = tuple(branch)
        self._short_name = short_name

    def branch(self, x: Tensor) -> Tensor:
        """What is added to the shortcut."""
        for name in self._branch_names:
            x = getattr(self, name)(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch(x) + getattr(self, self._short_name)(x))


def basic(
    in_channels: int, out_channels: int, stride: int, names: tuple[str, str], keys: ConvNormKeys
) -> dict[str, nn.Layer]:
    """The branch of two 3x3 convolutions."""
    return {
        names[0]: ConvNorm(in_channels, out_channels, 3, stride, act=nn.ReLU(), keys=keys),
        names[1]: ConvNorm(out_channels, out_channels, 3, keys=keys),
    }


def bottleneck(
    in_channels: int,
    width: int,
    out_channels: int,
    stride: int,
    names: tuple[str, str, str],
    keys: ConvNormKeys,
    groups: int = 1,
) -> dict[str, nn.Layer]:
    """The branch of a 1x1, a 3x3 of ``width`` channels in ``groups`` groups, and a 1x1
    convolution.
    """
    return {
        names[0]: ConvNorm(in_channels, width, 1, act=nn.ReLU(), keys=keys),
        names[1]: ConvNorm(width, width, 3, stride, groups, act=nn.ReLU(), keys=keys),
        names[2]: ConvNorm(width, out_channels, 1, keys=keys),
    }


class ResidualNet(ChainModel):
    """Stem, four stages of residual blocks, classifier. Images [N, in_channels, H, W] → logits [N,
    num_classes].

    A family says what a block's branch is made of. Its shortcut is the identity, or in the first
    block of a stage a projection.
    """

    keys: ClassVar[ResidualKeys] = STAGED
    head = ("out",)
    config: ResidualConfig

    def __init__(self, config: ResidualConfig) -> None:
        super().__init__(config)
        self._append_stem()
        index = 0
        for stage, (channels, depth) in enumerate(
            zip(self.stage_channels(), config.depths, strict=True)
        ):
            for position in range(depth):
                stride = 2 if position == 0 and stage > 0 else 1
                place = Place(self.out_channels, channels, stage, position, stride)
                name = self.keys.block.format(
                    index=index, stage=stage, position=position, number=stage + 1
                )
                self.append(f"res{stage + 2}", name, self.block(place), channels, stride)
                index += 1
        self.close(self.out_channels)

    def stage_channels(self) -> tuple[int, ...]:
        """What each stage gives."""
        return BOTTLENECK_CHANNELS

    def block(self, place: Place) -> nn.Layer:
        """The whole block."""
        return Residual(self.branch(place), self.short(place), self.keys.short)

    def branch(self, place: Place) -> dict[str, nn.Layer]:
        """Name → layer of what the block adds to the shortcut."""
        raise NotImplementedError

    def short(self, place: Place) -> nn.Layer:
        """The block's shortcut."""
        if place.position > 0:
            return nn.Identity()
        if self.config.pooled_shortcut and place.stride == 2:
            return PooledProjection(
                place.in_channels, place.out_channels, 1, keys=self.keys.conv_norm
            )
        return ConvNorm(
            place.in_channels, place.out_channels, 1, place.stride, keys=self.keys.conv_norm
        )

    def basic(self, place: Place) -> dict[str, nn.Layer]:
        """A basic branch there, named as the checkpoint does."""
        conv = self.keys.conv.format
        return basic(
            place.in_channels,
            place.out_channels,
            place.stride,
            (conv(0), conv(1)),
            self.keys.conv_norm,
        )

    def bottleneck(self, place: Place, width: int, groups: int = 1) -> dict[str, nn.Layer]:
        """A bottleneck branch there, named as the checkpoint does."""
        conv = self.keys.conv.format
        names = (conv(0), conv(1), conv(2))
        return bottleneck(
            place.in_channels,
            width,
            place.out_channels,
            place.stride,
            names,
            self.keys.conv_norm,
            groups,
        )

    def stem_conv(self, out_channels: int, kernel_size: int, stride: int) -> nn.Layer:
        """A convolution of the stem."""
        return ConvNorm(
            self.out_channels,
            out_channels,
            kernel_size,
            stride,
            act=nn.ReLU(),
            keys=self.keys.conv_norm,
        )

    def _append_stem(self) -> None:
        if len(self.config.stem_channels) == 1:
            (channels,) = self.config.stem_channels
            self.append("stem", self.keys.stem, self.stem_conv(channels, 7, 2), channels, 2)
        else:
            for name, channels, stride in zip(
                self.keys.deep_stem, self.config.stem_channels, (2, 1, 1), strict=True
            ):
                self.append("stem", name, self.stem_conv(channels, 3, stride), channels, stride)
        self.append("stem", "max_pool", nn.MaxPool2D(3, 2, padding=1), self.out_channels, 2)
