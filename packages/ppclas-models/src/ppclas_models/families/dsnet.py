"""DS-Net: one half of the channels keeps the resolution and is convolved, the other is small and
attends to itself; then each attends to the other.

Paper: "Dual-stream Network for Visual Recognition", Mao et al. 2021,
https://arxiv.org/abs/2105.14734
"""

from __future__ import annotations

from functools import partial

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveInt

from ppclas_models.layers import conv
from ppclas_models.layers.attention import attend, split_heads
from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.mlp import linear
from ppclas_models.layers.patch_embed import check_smallest
from ppclas_models.layers.stochastic_depth import DropPath, drop_path_rates

models = Variants()

CHANNELS = (64, 128, 320, 512)
"""Of each stage's maps."""
NUM_HEADS = (1, 2, 5, 8)
"""In each stage."""
SHRINK = (8, 4, 2, 2)
"""Pixels of the convolved half per pixel of the half that attends to itself, along height and
width, in each stage."""
MLP_RATIO = 4
SMALLEST = 64
"""Pixels of the smallest height and width that leave a pixel to attend in the last stage."""
EPSILON = 1e-6
"""Added to the variances of the layer norms."""

conv2d = partial(conv.conv2d, bias=True, linear=True)


class DSNetConfig(ModelConfig):
    """A DS-Net."""

    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Blocks in each stage."""
    drop_path_rate: float = Field(0.1, ge=0, lt=1)
    """Of the last block."""


def to_tokens(x: Tensor) -> Tensor:
    """[N, C, H, W] → [N, H * W, C]."""
    return x.flatten(2).transpose([0, 2, 1])


def to_map(tokens: Tensor, like: Tensor) -> Tensor:
    """[N, H * W, C] → [N, C, H, W], of the height and width of ``like``."""
    height, width = like.shape[2:]
    return tokens.transpose([0, 2, 1]).reshape([0, 0, height, width])


class ConvMlp(nn.Layer):
    """[N, channels, H, W] → the same: two 1x1 convolutions with ``hidden`` channels between."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = conv2d(channels, hidden, 1)
        self.fc2 = conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class DualStreamBlock(nn.Layer):
    """[N, channels, H, W] → the same: position by a depthwise 3x3, two streams that are fused in
    the end, an MLP, each added to its input (section 3).

    The stream that attends to itself is ``shrink`` times smaller.
    """

    def __init__(self, channels: int, num_heads: int, shrink: int, drop_path_rate: float) -> None:
        super().__init__()
        half = channels // 2
        self.half, self.num_heads, self.shrink = half, num_heads, shrink
        self.scale = (half // num_heads) ** -0.5
        self.pos_embed = conv2d(channels, channels, 3, groups=channels)
        self.norm1 = nn.BatchNorm2D(channels)
        self.conv1 = conv2d(channels, channels, 1)
        self.conv2 = conv2d(channels, channels, 1)
        self.norm_conv1 = nn.BatchNorm2D(half)
        self.norm_sa1 = nn.LayerNorm(half, EPSILON)
        self.conv = conv2d(half, half, 3, groups=half)
        self.channel_up = linear(half, 3 * half)
        self.cross_channel_up_conv = conv2d(half, 3 * half, 1)
        self.cross_channel_up_sa = linear(half, 3 * half)
        self.fuse_channel_conv = linear(half, half)
        self.fuse_channel_sa = linear(half, half)
        self.norm_conv2 = nn.BatchNorm2D(half)
        self.norm_sa2 = nn.LayerNorm(half, EPSILON)
        self.norm2 = nn.BatchNorm2D(channels)
        self.mlp = ConvMlp(channels, MLP_RATIO * channels)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(x)
        y = self.conv1(self.norm1(x))
        x = x + self.drop_path(self.conv2(self._streams(y[:, : self.half], y[:, self.half :])))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _streams(self, coarse: Tensor, fine: Tensor) -> Tensor:
        size = fine.shape[2:]
        coarse = F.interpolate(coarse, [side // self.shrink for side in size], mode="bilinear")
        fine = fine + self.drop_path(self.conv(self.norm_conv1(fine)))
        tokens = to_tokens(coarse)
        tokens = tokens + self.drop_path(self._attend_to_itself(self.norm_sa1(tokens)))

        # Each stream asks with its own queries for the other's keys and values.
        of_fine = to_tokens(self.cross_channel_up_conv(self.norm_conv2(fine)))
        fine_queries, fine_keys, fine_values = split_heads(of_fine, self.num_heads, 3)
        of_tokens = self.cross_channel_up_sa(self.norm_sa2(tokens))
        queries, keys, values = split_heads(of_tokens, self.num_heads, 3)
        to_fine = self.fuse_channel_conv(attend(fine_queries, keys, values, self.scale))
        to_coarse = self.fuse_channel_sa(attend(queries, fine_keys, fine_values, self.scale))
        fine = fine + self.drop_path(to_map(to_fine, fine))
        coarse = to_map(tokens + self.drop_path(to_coarse), coarse)
        return paddle.concat([fine, F.interpolate(coarse, size, mode="bilinear")], axis=1)

    def _attend_to_itself(self, tokens: Tensor) -> Tensor:
        queries, keys, values = split_heads(self.channel_up(tokens), self.num_heads, 3)
        return attend(queries, keys, values, self.scale)


@models.register(
    DSNet_tiny=DSNetConfig(depths=(2, 2, 4, 1)),
    DSNet_small=DSNetConfig(depths=(3, 4, 8, 3)),
    DSNet_base=DSNetConfig(depths=(3, 4, 28, 3)),
)
class DSNet(ChainModel):
    """Four stages of dual-stream blocks, each after a convolution that shrinks the map. Images
    [N, in_channels, H, W] → logits [N, num_classes].

    Raises:
        ShapeError: H or W is below 64 pixels: the coarse stream of the last stage would be empty.
    """

    head = ("head",)
    config: DSNetConfig

    def __init__(self, config: DSNetConfig) -> None:
        super().__init__(config)
        rates = drop_path_rates(config.drop_path_rate, config.depths)
        for index, (channels, num_heads, shrink) in enumerate(
            zip(CHANNELS, NUM_HEADS, SHRINK, strict=True)
        ):
            stage, size = f"stage{index + 1}", 2 if index else 4
            patches = conv2d(self.out_channels, channels, size, size, padding=0)
            embed = nn.Sequential(("proj", patches))
            self.append(stage, f"patch_embed{index + 1}", embed, channels, size)
            for position, rate in enumerate(rates[index]):
                block = DualStreamBlock(channels, num_heads, shrink, rate)
                self.append(stage, f"blocks{index + 1}.{position}", block, channels)
        self.append(stage, "norm", nn.BatchNorm2D(channels), channels)
        self.close(channels, weight=TruncatedNormal(std=0.02))

    def check_images(self, images: Tensor) -> None:
        check_smallest(self, images, SMALLEST)
