"""Swin Transformer: attention within windows, which every other block shifts by half a window.

Paper: "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", Liu et al. 2021,
https://arxiv.org/abs/2103.14030
"""

from __future__ import annotations

from functools import partial

from paddle import Tensor, nn
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.contracts.variants import Variants

from ppclas_models.layers.attention import attend, split_heads
from ppclas_models.layers.channels_last import to_channels_first
from ppclas_models.layers.encoder import EncoderBlock
from ppclas_models.layers.mlp import Mlp, linear
from ppclas_models.layers.swin import (
    HEAD_WIDTH,
    MLP_RATIO,
    SwinConfig,
    SwinNet,
    merge_neighbours,
)
from ppclas_models.layers.window import ShiftedWindows, Size, relative_position_index

models = Variants()


class ShiftedSwinConfig(SwinConfig):
    """A Swin Transformer, of the first version."""

    shift_one_window: bool = True
    """Whether a map that is a single window is shifted as well, which separates places that are
    neighbours. The published weights were trained with that; in the paper it is not."""


class WindowAttention(ShiftedWindows):
    """[N, H, W, dim] → the same shape: self-attention within windows, with a learned bias for each
    offset from a query to a key (the paper's equation 4).
    """

    def __init__(
        self, dim: int, num_heads: int, window: int, shift: int, shift_one_window: bool
    ) -> None:
        super().__init__(window, shift)
        self.num_heads, self.shift_one_window = num_heads, shift_one_window
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = linear(dim, 3 * dim)
        self.proj = linear(dim, dim)
        self.relative_position_bias_table = self.create_parameter(
            [(2 * window - 1) ** 2, num_heads], default_initializer=TruncatedNormal(std=0.02)
        )

    def window_on(self, size: Size) -> tuple[int, int]:
        one = self.window >= max(size) and not self.shift_one_window
        return self.window, 0 if one else self.shift

    def attend_within(self, windows: Tensor, window: int, mask: Tensor | None) -> Tensor:
        places = window**2
        index = relative_position_index(window)
        bias = self.relative_position_bias_table[index].transpose([1, 0])
        bias = bias.reshape([self.num_heads, places, places])
        if mask is not None:
            bias = bias + mask
        queries, keys, values = split_heads(self.qkv(windows), self.num_heads, 3)
        return self.proj(attend(queries, keys, values, self.scale, bias))


class PatchMerging(nn.Layer):
    """[N, dim, H, W] → [N, 2 * dim, ⌈H / 2⌉, ⌈W / 2⌉]: four neighbours become one patch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return to_channels_first(self.reduction(self.norm(merge_neighbours(x))))


# The paper's section 3.3; drop_path_rate from its appendix A2.1, 0.1 for fine-tuning.
Tiny = partial(ShiftedSwinConfig, embed_dim=96, depths=(2, 2, 6, 2), drop_path_rate=0.2)
Small = partial(ShiftedSwinConfig, embed_dim=96, depths=(2, 2, 18, 2), drop_path_rate=0.3)
Base = partial(ShiftedSwinConfig, embed_dim=128, depths=(2, 2, 18, 2))
Large = partial(ShiftedSwinConfig, embed_dim=192, depths=(2, 2, 18, 2), drop_path_rate=0.1)


@models.register(
    SwinTransformer_tiny_patch4_window7_224=Tiny(),
    SwinTransformer_small_patch4_window7_224=Small(),
    SwinTransformer_base_patch4_window7_224=Base(drop_path_rate=0.5),
    SwinTransformer_base_patch4_window12_384=Base(window_size=12, drop_path_rate=0.1),
    SwinTransformer_large_patch4_window7_224=Large(),
    SwinTransformer_large_patch4_window12_384=Large(window_size=12),
)
class Swin(SwinNet):
    """Images [N, in_channels, H, W] → logits [N, num_classes].

    Raises:
        ShapeError: H or W is not a multiple of 4.
    """

    config: ShiftedSwinConfig

    def merging(self, dim: int) -> nn.Layer:
        return PatchMerging(dim)

    def block(self, dim: int, shift: int, drop_path_rate: float, stage: int) -> nn.Layer:
        config = self.config
        attention = WindowAttention(
            dim, dim // HEAD_WIDTH, config.window_size, shift, config.shift_one_window
        )
        mlp = Mlp(dim, MLP_RATIO * dim)
        return EncoderBlock(dim, attention, mlp, drop_path_rate=drop_path_rate)
