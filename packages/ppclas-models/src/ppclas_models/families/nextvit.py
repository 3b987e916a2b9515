"""Next-ViT: stages of convolutional blocks, each of which ends with a block that also attends.

Paper: "Next-ViT: Next Generation Vision Transformer for Efficient Deployment in Realistic
Industrial Scenarios", Li et al. 2022, https://arxiv.org/abs/2207.05501
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveInt

from ppclas_models.layers.attention import attend, split_heads
from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels import round_channels
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.conv_norm import ConvNorm, ConvNormKeys
from ppclas_models.layers.mlp import linear
from ppclas_models.layers.stochastic_depth import DropPath, drop_path_rates

models = Variants()

STEM = ((64, 2), (32, 1), (64, 1), (64, 2))
"""Channels and stride of the first convolutions."""
HEAD_DIM = 32
"""Features of an attention head, and channels of a convolution's group."""
ATTENTION_SHARE = 0.75
"""Of an attention block's channels, those that attend; the others are convolved."""
CONV_MLP_RATIO = 3
"""Hidden channels of a convolutional block's MLP per channel."""
ATTENTION_MLP_RATIO = 2
"""The same for an attention block."""
REDUCTIONS = (8, 4, 2, 1)
"""Per stage, the square root of the tokens that are averaged to one key and value."""
GROUP = 5
"""Blocks after which an attention block comes in the third stage: the last of each group is one."""


class NextViTConfig(ModelConfig):
    """A Next-ViT."""

    third_depth: PositiveInt
    """Blocks of the third stage, a multiple of 5; the others have 3, 4 and 3."""
    drop_path_rate: float = Field(ge=0, lt=1)
    """Stochastic depth of the last block; it grows linearly from 0."""


class Row(NamedTuple):
    """A block of the network."""

    stage: int
    """0-based."""
    channels: int
    attention: bool


def rows(third_depth: int) -> Iterator[Row]:
    """The blocks from fine to coarse (the paper's table 3)."""
    yield from (Row(0, 96, False) for _ in range(3))
    yield from (Row(1, 192, False) for _ in range(3))
    yield Row(1, 256, True)
    for _ in range(third_depth // GROUP):
        yield from (Row(2, 384, False) for _ in range(GROUP - 1))
        yield Row(2, 512, True)
    yield from (Row(3, 768, False) for _ in range(2))
    yield Row(3, 1024, True)


class Projection(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]: averages, a 1x1
    convolution and a norm. Where the shape stays, it is the identity.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.identity = stride == 1 and in_channels == out_channels
        if not self.identity:
            self.conv = conv2d(in_channels, out_channels, 1)
            self.norm = nn.BatchNorm2D(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.identity:
            return x
        if self.stride == 2:
            x = F.avg_pool2d(x, 2, 2, ceil_mode=True)
        return self.norm(self.conv(x))


class HeadedConvolution(nn.Layer):
    """[N, channels, H, W] → the same shape: a 3x3 in groups, as heads, and a 1x1 that joins them
    (the paper's multi-head convolutional attention, section 3.2).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.group_conv3x3 = conv2d(channels, channels, 3, groups=channels // HEAD_DIM)
        self.norm = nn.BatchNorm2D(channels)
        self.projection = conv2d(channels, channels, 1, linear=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(F.relu(self.norm(self.group_conv3x3(x))))


class ConvMlp(nn.Layer):
    """[N, channels, H, W] → the same shape: two 1x1 convolutions."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.conv1 = conv2d(channels, ratio * channels, 1, bias=True)
        self.conv2 = conv2d(ratio * channels, channels, 1, bias=True, linear=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(x)))


class Attention(nn.Layer):
    """[N, channels, H, W] → the same shape: self-attention to averages of ``reduction ** 2`` tokens
    in a row (section 3.3).
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.num_heads = channels // HEAD_DIM
        self.averaged = reduction**2
        self.q = linear(channels, channels)
        self.k = linear(channels, channels)
        self.v = linear(channels, channels)
        self.proj = linear(channels, channels)
        self.norm = nn.BatchNorm2D(channels) if reduction > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2)
        seen = tokens
        if self.norm is not None:
            # Batch norms of maps, so that freezing treats them as all others.
            averages = F.avg_pool1d(tokens, self.averaged, self.averaged)
            seen = self.norm(averages.unsqueeze(3)).squeeze(3)
        seen = seen.transpose([0, 2, 1])
        (queries,) = split_heads(self.q(tokens.transpose([0, 2, 1])), self.num_heads)
        (keys,) = split_heads(self.k(seen), self.num_heads)
        (values,) = split_heads(self.v(seen), self.num_heads)
        mixed = self.proj(attend(queries, keys, values, HEAD_DIM**-0.5))
        return mixed.transpose([0, 2, 1]).reshape([-1, *x.shape[1:]])


class ConvBlock(nn.Layer):
    """[N, in_channels, H, W] → [N, channels, ⌈H / stride⌉, ⌈W / stride⌉] (the paper's NCB)."""

    def __init__(self, in_channels: int, channels: int, stride: int, drop_path_rate: float) -> None:
        super().__init__()
        self.patch_embed = Projection(in_channels, channels, stride)
        self.mhca = HeadedConvolution(channels)
        self.norm = nn.BatchNorm2D(channels)
        self.mlp = ConvMlp(channels, CONV_MLP_RATIO)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        x = x + self.drop_path(self.mhca(x))
        return x + self.drop_path(self.mlp(self.norm(x)))


class AttentionBlock(nn.Layer):
    """[N, in_channels, H, W] → [N, channels, ⌈H / stride⌉, ⌈W / stride⌉]: some channels attend, and
    a projection of those is convolved to give the others (the paper's NTB).
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int, drop_path_rate: float, reduction: int
    ) -> None:
        super().__init__()
        attending = round_channels(channels * ATTENTION_SHARE, HEAD_DIM)
        convolved = channels - attending
        self.patch_embed = Projection(in_channels, attending, stride)
        self.norm1 = nn.BatchNorm2D(attending)
        self.e_mhsa = Attention(attending, reduction)
        # The rate is shared out as the channels are.
        self.attention_drop = DropPath(drop_path_rate * ATTENTION_SHARE)
        self.projection = Projection(attending, convolved)
        self.mhca = HeadedConvolution(convolved)
        self.conv_drop = DropPath(drop_path_rate * (1 - ATTENTION_SHARE))
        self.norm2 = nn.BatchNorm2D(channels)
        self.mlp = ConvMlp(channels, ATTENTION_MLP_RATIO)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        x = x + self.attention_drop(self.e_mhsa(self.norm1(x)))
        y = self.projection(x)
        y = y + self.conv_drop(self.mhca(y))
        x = paddle.concat([x, y], axis=1)
        return x + self.drop_path(self.mlp(self.norm2(x)))


@models.register(
    NextViT_small_224=NextViTConfig(third_depth=10, drop_path_rate=0.1),
    NextViT_base_224=NextViTConfig(third_depth=20, drop_path_rate=0.2),
    NextViT_large_224=NextViTConfig(third_depth=30, drop_path_rate=0.2),
    NextViT_small_384=NextViTConfig(third_depth=10, drop_path_rate=0.1),
    NextViT_base_384=NextViTConfig(third_depth=20, drop_path_rate=0.2),
    NextViT_large_384=NextViTConfig(third_depth=30, drop_path_rate=0.2),
)
class NextViT(ChainModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes]."""

    head = ("proj_head.0",)
    config: NextViTConfig

    def __init__(self, config: NextViTConfig) -> None:
        super().__init__(config)
        for index, (channels, stride) in enumerate(STEM):
            conv = ConvNorm(
                self.out_channels,
                channels,
                3,
                stride,
                act=nn.ReLU(),
                keys=ConvNormKeys("conv", "norm"),
            )
            self.append("stem", f"stem.{index}", conv, channels, stride)
        blocks = list(rows(config.third_depth))
        (rates,) = drop_path_rates(config.drop_path_rate, [len(blocks)])
        stage = 0
        for index, (row, rate) in enumerate(zip(blocks, rates, strict=True)):
            stride = 2 if row.stage > stage else 1
            stage = row.stage
            layer = (
                AttentionBlock(self.out_channels, row.channels, stride, rate, REDUCTIONS[stage])
                if row.attention
                else ConvBlock(self.out_channels, row.channels, stride, rate)
            )
            self.append(f"stage{stage + 1}", f"features.{index}", layer, row.channels, stride)
        self.append("stage4", "norm", nn.BatchNorm2D(self.out_channels), self.out_channels)
        self.close(self.out_channels, weight=TruncatedNormal(std=0.02))
