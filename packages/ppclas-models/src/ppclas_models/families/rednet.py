"""RedNet: ResNet whose 3x3 convolutions became involutions, kernels made from the map itself.

Paper: "Involution: Inverting the Inherence of Convolution for Visual Recognition", Li et al. 2021,
https://arxiv.org/abs/2103.06255
"""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from paddle.nn.initializer import Constant
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.conv_norm import ConvNorm
from ppclas_models.layers.residual import BOTTLENECK_CHANNELS, Residual

models = Variants()

STEM_CHANNELS = 64
GROUP_CHANNELS = 16
"""Channels that share a kernel."""
REDUCTION = 4
"""Channels of the map over those between the two convolutions that make kernels."""
BOTTLENECK = 4
"""Channels that a block gives over those of its involution."""


class RedNetConfig(ModelConfig):
    """A RedNet."""

    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Blocks in each stage."""


class Involution(nn.Layer):
    """[N, channels, H, W] → [N, channels, H / stride, W / stride]: at each position a kernel of
    its own, which groups of channels share (algorithm 1).
    """

    def __init__(self, channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride
        self.groups = channels // GROUP_CHANNELS
        reduced = channels // REDUCTION
        self.shrink = nn.AvgPool2D(stride, stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.conv1 = ConvNorm(channels, reduced, 1, act=nn.ReLU())
        kernels = conv2d(reduced, kernel_size**2 * self.groups, 1, bias=True, linear=True)
        self.conv2 = nn.Sequential(("conv", kernels))

    def forward(self, x: Tensor) -> Tensor:
        kernels = self.conv2(self.conv1(self.shrink(x)))
        height, width = kernels.shape[2:]
        area, padding = self.kernel_size**2, (self.kernel_size - 1) // 2
        windows = F.unfold(x, self.kernel_size, self.stride, padding)
        windows = windows.reshape([0, self.groups, GROUP_CHANNELS, area, -1])
        kernels = kernels.reshape([0, self.groups, 1, area, height * width])
        summed = (windows * kernels).sum(axis=3)
        return summed.reshape([0, self.groups * GROUP_CHANNELS, height, width])


def bottleneck(in_channels: int, out_channels: int, stride: int) -> Residual:
    """[N, in_channels, H, W] → [N, out_channels, H / stride, W / stride]."""
    width = out_channels // BOTTLENECK
    branch = {
        "conv1": conv2d(in_channels, width, 1),
        "bn1": nn.BatchNorm2D(width),
        "relu1": nn.ReLU(),
        "conv2": Involution(width, 7, stride),
        "bn2": nn.BatchNorm2D(width),
        "relu2": nn.ReLU(),
        "conv3": conv2d(width, out_channels, 1),
        # At 0 each block starts as its shortcut: involutions multiply the map by itself, and would
        # make it grow from block to block before the statistics are known.
        "bn3": nn.BatchNorm2D(out_channels, weight_attr=Constant(0.0)),
    }
    projection: nn.Layer = nn.Identity()
    if stride > 1 or in_channels != out_channels:
        projection = nn.Sequential(
            conv2d(in_channels, out_channels, 1, stride), nn.BatchNorm2D(out_channels)
        )
    return Residual(branch, projection, "downsample")


def stem(in_channels: int) -> nn.Sequential:
    """[N, in_channels, H, W] → [N, STEM_CHANNELS, H / 2, W / 2]: an involution between two 3x3
    convolutions.
    """
    half = STEM_CHANNELS // 2
    return nn.Sequential(
        ConvNorm(in_channels, half, 3, 2, act=nn.ReLU()),
        Involution(half, 3),
        nn.BatchNorm2D(half),
        nn.ReLU(),
        ConvNorm(half, STEM_CHANNELS, 3, act=nn.ReLU()),
    )


@models.register(
    RedNet26=RedNetConfig(depths=(1, 2, 4, 1)),
    RedNet38=RedNetConfig(depths=(2, 3, 5, 2)),
    RedNet50=RedNetConfig(depths=(3, 4, 6, 3)),
    RedNet101=RedNetConfig(depths=(3, 4, 23, 3)),
    RedNet152=RedNetConfig(depths=(3, 8, 36, 3)),
)
class RedNet(ChainModel):
    """Stem, max pool, four stages of bottlenecks. Images [N, in_channels, H, W] → logits [N,
    num_classes].
    """

    config: RedNetConfig

    def __init__(self, config: RedNetConfig) -> None:
        super().__init__(config)
        self.append("stem", "stem", stem(config.in_channels), STEM_CHANNELS, 2)
        self.append("stem", "max_pool", nn.MaxPool2D(3, 2, padding=1), STEM_CHANNELS, 2)
        for number, (channels, depth) in enumerate(
            zip(BOTTLENECK_CHANNELS, config.depths, strict=True), start=1
        ):
            for position in range(depth):
                stride = 2 if position == 0 and number > 1 else 1
                block = bottleneck(self.out_channels, channels, stride)
                self.append(f"layer{number}", f"layer{number}.{position}", block, channels, stride)
        self.close(self.out_channels)
