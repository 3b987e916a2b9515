"""ResNet, and its variants vc and vd: residual blocks in four stages behind a stem.

Papers: "Deep Residual Learning for Image Recognition", He et al. 2016, https://arxiv.org/abs/1512.03385;
"Bag of Tricks for Image Classification with Convolutional Neural Networks", He et al. 2019,
https://arxiv.org/abs/1812.01187, whose ResNet-C replaces the 7x7 stem by three 3x3 convolutions and whose ResNet-D
also pools before the shortcut's convolution. All have the stride in the 3x3 convolution of a bottleneck (ResNet-B).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.models import ModelConfig
from ppclas_core.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv_norm import PLAIN, UNDERSCORED, ConvNorm, ConvNormKeys

models = Variants()

STAGE_WIDTHS = (64, 128, 256, 512)


@dataclass(frozen=True)
class Keys:
    """How a checkpoint spells the layers."""

    stem: tuple[str, str, str]
    block: str
    """Formatted with ``index`` (over all blocks), ``stage`` and ``position`` (in the stage), all 0-based."""
    conv_norm: ConvNormKeys


class ResNetConfig(ModelConfig):
    """A residual network."""

    block: Literal["basic", "bottleneck"]
    depths: tuple[PositiveInt, ...]
    """Blocks a stage."""
    deep_stem: bool = False
    """Three 3x3 convolutions instead of one 7x7 (ResNet-C)."""
    pooled_shortcut: bool = False
    """Average pooling instead of a strided convolution in the shortcut (ResNet-D)."""


class PooledProjection(ConvNorm):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / 2⌉, ⌈W / 2⌉]: the stride by average pooling, then a 1x1."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.avg_pool2d(x, 2, 2, ceil_mode=True))


class BasicBlock(nn.Layer):
    """Two 3x3 convolutions beside a shortcut: [N, in_channels, H, W] → [N, width, H / stride, W / stride]."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, short: nn.Layer, keys: ConvNormKeys) -> None:
        super().__init__()
        self.conv0 = ConvNorm(in_channels, width, 3, stride, act=nn.ReLU(), keys=keys)
        self.conv1 = ConvNorm(width, width, 3, keys=keys)
        self.short = short

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv1(self.conv0(x)) + self.short(x))


class Bottleneck(nn.Layer):
    """1x1, 3x3 and 1x1 beside a shortcut: [N, in_channels, H, W] → [N, 4 * width, H / stride, W / stride]."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, short: nn.Layer, keys: ConvNormKeys) -> None:
        super().__init__()
        self.conv0 = ConvNorm(in_channels, width, 1, act=nn.ReLU(), keys=keys)
        self.conv1 = ConvNorm(width, width, 3, stride, act=nn.ReLU(), keys=keys)
        self.conv2 = ConvNorm(width, width * self.expansion, 1, keys=keys)
        self.short = short

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(self.conv1(self.conv0(x))) + self.short(x))


def _vd(block: Literal["basic", "bottleneck"], *depths: int) -> ResNetConfig:
    return ResNetConfig(block=block, depths=tuple(depths), deep_stem=True, pooled_shortcut=True)


@models.register(
    ResNet18=ResNetConfig(block="basic", depths=(2, 2, 2, 2)),
    ResNet34=ResNetConfig(block="basic", depths=(3, 4, 6, 3)),
    ResNet50=ResNetConfig(block="bottleneck", depths=(3, 4, 6, 3)),
    ResNet101=ResNetConfig(block="bottleneck", depths=(3, 4, 23, 3)),
    ResNet152=ResNetConfig(block="bottleneck", depths=(3, 8, 36, 3)),
    ResNet18_vd=_vd("basic", 2, 2, 2, 2),
    ResNet34_vd=_vd("basic", 3, 4, 6, 3),
    ResNet50_vd=_vd("bottleneck", 3, 4, 6, 3),
    ResNet101_vd=_vd("bottleneck", 3, 4, 23, 3),
    ResNet152_vd=_vd("bottleneck", 3, 8, 36, 3),
    ResNet200_vd=_vd("bottleneck", 3, 12, 48, 3),
)
class ResNet(ChainModel):
    """Stem, four stages of residual blocks, classifier. Images [N, in_channels, H, W] → logits [N, num_classes]."""

    keys: ClassVar[Keys] = Keys(("stem.0", "stem.1", "stem.2"), "blocks.{index}", PLAIN)
    config: ResNetConfig

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        self._append_stem()
        block_type = BasicBlock if config.block == "basic" else Bottleneck
        for stage, (width, depth) in enumerate(zip(STAGE_WIDTHS, config.depths, strict=True)):
            for position in range(depth):
                stride = 2 if position == 0 and stage > 0 else 1
                out_channels = width * block_type.expansion
                short = self._projection(out_channels, stride) if position == 0 else nn.Identity()
                name = self.keys.block.format(
                    index=sum(config.depths[:stage]) + position, stage=stage, position=position
                )
                block = block_type(self.out_channels, width, stride, short, self.keys.conv_norm)
                self.append(f"res{stage + 2}", name, block, out_channels, stride)
        self.close(self.out_channels)

    def _append_stem(self) -> None:
        # (channels, kernel size, stride)
        convs = [(32, 3, 2), (32, 3, 1), (64, 3, 1)] if self.config.deep_stem else [(64, 7, 2)]
        for name, (channels, kernel_size, stride) in zip(self.keys.stem, convs, strict=False):
            conv = ConvNorm(self.out_channels, channels, kernel_size, stride, act=nn.ReLU(), keys=self.keys.conv_norm)
            self.append("stem", name, conv, channels, stride)
        self.append("stem", "max_pool", nn.MaxPool2D(3, 2, padding=1), self.out_channels, 2)

    def _projection(self, out_channels: int, stride: int) -> nn.Layer:
        if self.config.pooled_shortcut and stride == 2:
            return PooledProjection(self.out_channels, out_channels, 1, keys=self.keys.conv_norm)
        return ConvNorm(self.out_channels, out_channels, 1, stride, keys=self.keys.conv_norm)


@models.register(ResNet50_vc=ResNetConfig(block="bottleneck", depths=(3, 4, 6, 3), deep_stem=True))
class StagedResNet(ResNet):
    """A ResNet whose published checkpoint names its blocks by stage and position."""

    keys = Keys(("conv1_1", "conv1_2", "conv1_3"), "bb_{stage}_{position}", UNDERSCORED)
    head = ("out",)
