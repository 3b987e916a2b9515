"""CSWin Transformer: half of the heads attend within stripes of columns, half within stripes of
rows.

Paper: "CSWin Transformer: A General Vision Transformer Backbone with Cross-Shaped Windows", Dong et
al. 2021, https://arxiv.org/abs/2107.00652
"""

from __future__ import annotations

from functools import partial

import paddle
from paddle import Tensor, nn
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveInt

from ppclas_models.layers.attention import attend, split_heads
from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels_last import (
    ChannelsLast,
    MapLayerNorm,
    to_channels_first,
    to_channels_last,
)
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.mlp import Mlp, linear
from ppclas_models.layers.stochastic_depth import DropPath, drop_path_rates
from ppclas_models.layers.window import Size, pad_to_multiple, partition, unite

models = Variants()

MLP_RATIO = 4
"""Hidden features of an MLP per feature of a token."""

Four = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]


class CSWinConfig(ModelConfig):
    """A CSWin Transformer."""

    embed_dim: PositiveInt
    """Features of the first stage; each later one has twice as many."""
    depths: Four
    """Blocks in each stage."""
    num_heads: Four
    """Of each stage."""
    stripe_widths: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 2, 7)
    """Of the stripes in the first three stages, in patches; the last attends to the whole map."""
    drop_path_rate: float = Field(ge=0, lt=1)
    """Stochastic depth of the last block; it grows linearly from 0."""


class StripeAttention(nn.Layer):
    """Queries, keys and values side by side, [N, H, W, 3 * dim] → [N, H, W, dim], within windows of
    ``height`` x ``width``, where None stands for the map's; with a depthwise 3x3 of the values for
    where they stand (the paper's locally-enhanced positional encoding, section 3.3).
    """

    def __init__(self, dim: int, num_heads: int, height: int | None, width: int | None) -> None:
        super().__init__()
        self.dim = dim
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.window = (height, width)
        self.get_v = conv2d(dim, dim, 3, groups=dim, bias=True, linear=True)

    def forward(self, qkv: Tensor) -> Tensor:
        height, width = qkv.shape[1:3]
        window = (self.window[0] or height, self.window[1] or width)
        qkv = pad_to_multiple(qkv, window)
        size = (qkv.shape[1], qkv.shape[2])
        windows = partition(qkv, window)
        queries, keys, values = split_heads(windows, self.num_heads, 3)
        mixed = attend(queries, keys, values, self.scale)
        mixed = mixed + self.positions(windows[:, :, :, 2 * self.dim :], window)
        return unite(mixed, window, size)[:, :height, :width]

    def positions(self, values: Tensor, window: Size) -> Tensor:
        """Values [N, windows, height * width, dim] → the same shape."""
        maps = to_channels_first(values.reshape([-1, *window, self.dim]))
        return to_channels_last(self.get_v(maps)).reshape([-1, *values.shape[1:]])


class CSWinBlock(nn.Layer):
    """[N, H, W, dim] → the same shape. Stripes of ``stripe_width`` patches; None: the whole map."""

    def __init__(
        self, dim: int, num_heads: int, stripe_width: int | None, drop_path_rate: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = linear(dim, 3 * dim)
        windows = (
            [(None, None)] if stripe_width is None else [(None, stripe_width), (stripe_width, None)]
        )
        self.branches = len(windows)
        self.attns = nn.LayerList(
            StripeAttention(dim // self.branches, num_heads // self.branches, *window)
            for window in windows
        )
        self.proj = linear(dim, dim)
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, MLP_RATIO * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.proj(self.mixed(self.qkv(self.norm1(x)))))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def mixed(self, qkv: Tensor) -> Tensor:
        """[N, H, W, 3 * dim] → [N, H, W, dim]: each branch has its share of the heads."""
        width = qkv.shape[-1] // (3 * self.branches)
        parts = qkv.reshape([0, 0, 0, 3, self.branches, width])
        maps = [
            attention(parts[:, :, :, :, index].flatten(3))
            for index, attention in enumerate(self.attns)
        ]
        return paddle.concat(maps, axis=-1)


class Shrink(nn.Sequential):
    """[N, channels[0], H, W] → [N, channels[1], ~H / stride, ~W / stride]: a convolution, called
    ``name``, over overlapping patches and a norm.
    """

    def __init__(
        self, name: str, channels: tuple[int, int], kernel_size: int, stride: int, padding: int
    ) -> None:
        conv = conv2d(*channels, kernel_size, stride, padding=padding, bias=True, linear=True)
        super().__init__((name, conv), ("norm", MapLayerNorm(channels[1])))


Deep = partial(CSWinConfig, depths=(2, 4, 32, 2), drop_path_rate=0.5)
"""Of all sizes but the smallest."""
FOR_384 = (1, 2, 12)


# The paper's table 1 and section 4.1.
@models.register(
    CSWinTransformer_tiny_224=CSWinConfig(
        embed_dim=64, depths=(1, 2, 21, 1), num_heads=(2, 4, 8, 16), drop_path_rate=0.1
    ),
    CSWinTransformer_small_224=Deep(embed_dim=64, num_heads=(2, 4, 8, 16), drop_path_rate=0.3),
    CSWinTransformer_base_224=Deep(embed_dim=96, num_heads=(4, 8, 16, 32)),
    CSWinTransformer_large_224=Deep(embed_dim=144, num_heads=(6, 12, 24, 24)),
    CSWinTransformer_base_384=Deep(embed_dim=96, num_heads=(4, 8, 16, 32), stripe_widths=FOR_384),
    CSWinTransformer_large_384=Deep(
        embed_dim=144, num_heads=(6, 12, 24, 24), stripe_widths=FOR_384
    ),
)
class CSWin(ChainModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes]."""

    head = ("head",)
    config: CSWinConfig

    def __init__(self, config: CSWinConfig) -> None:
        super().__init__(config)
        dim = config.embed_dim
        embed = Shrink("patch_embed", (config.in_channels, dim), 7, 4, padding=2)
        self.append("embed", "patch_embedding", embed, dim, 4)
        stripe_widths = (*config.stripe_widths, None)
        for index, rates in enumerate(drop_path_rates(config.drop_path_rate, config.depths)):
            stage = f"stage{index + 1}"
            if index > 0:
                merge = Shrink("conv", (dim, 2 * dim), 3, 2, padding=1)
                self.append(stage, f"stages.{index - 1}.merge", merge, 2 * dim, 2)
                dim *= 2
            blocks = (
                CSWinBlock(dim, config.num_heads[index], stripe_widths[index], rate)
                for rate in rates
            )
            self.append(stage, f"stages.{index}.blocks", ChannelsLast(*blocks), dim)
        self.append("stage4", "norm", MapLayerNorm(dim), dim)
        self.close(dim, weight=TruncatedNormal(std=0.02))
