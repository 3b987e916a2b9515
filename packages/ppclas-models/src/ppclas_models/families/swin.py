"""Swin Transformer: attention within windows, which every other block shifts by half a window.

Paper: "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", Liu et al. 2021,
https://arxiv.org/abs/2103.14030
"""

from __future__ import annotations

from functools import partial

from paddle import Tensor, nn
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.models import ModelConfig
from ppclas_core.variants import Variants
from pydantic import Field, PositiveInt

from ppclas_models.layers.attention import attend, split_heads
from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels_last import (
    ChannelsLast,
    MapLayerNorm,
    to_channels_first,
)
from ppclas_models.layers.encoder import EncoderBlock
from ppclas_models.layers.mlp import Mlp, linear
from ppclas_models.layers.patch_embed import PatchEmbed, check_multiple
from ppclas_models.layers.stochastic_depth import drop_path_rates
from ppclas_models.layers.window import ShiftedWindows, merge_neighbours, relative_position_index

models = Variants()

PATCH_SIZE = 4
HEAD_WIDTH = 32
"""Features of an attention head."""
MLP_RATIO = 4
"""Hidden features of an MLP per feature of a token."""


class SwinConfig(ModelConfig):
    """A Swin Transformer."""

    embed_dim: PositiveInt
    """Features of the first stage; each later one has twice as many."""
    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Blocks in each stage."""
    window_size: PositiveInt = 7
    """Side of a window, in patches."""
    drop_path_rate: float = Field(ge=0, lt=1)
    """Stochastic depth of the last block; it grows linearly from 0."""


class WindowAttention(ShiftedWindows):
    """[N, H, W, dim] → the same shape: self-attention within windows, with a learned bias for each
    offset from a query to a key (the paper's equation 4).
    """

    def __init__(self, dim: int, num_heads: int, window: int, shift: int) -> None:
        super().__init__(window, shift)
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = linear(dim, 3 * dim)
        self.proj = linear(dim, dim)
        self.relative_position_bias_table = self.create_parameter(
            [(2 * window - 1) ** 2, num_heads], default_initializer=TruncatedNormal(std=0.02)
        )

    def attend(self, windows: Tensor, window: int, mask: Tensor | None) -> Tensor:
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
Tiny = partial(SwinConfig, embed_dim=96, depths=(2, 2, 6, 2), drop_path_rate=0.2)
Small = partial(SwinConfig, embed_dim=96, depths=(2, 2, 18, 2), drop_path_rate=0.3)
Base = partial(SwinConfig, embed_dim=128, depths=(2, 2, 18, 2))
Large = partial(SwinConfig, embed_dim=192, depths=(2, 2, 18, 2), drop_path_rate=0.1)


@models.register(
    SwinTransformer_tiny_patch4_window7_224=Tiny(),
    SwinTransformer_small_patch4_window7_224=Small(),
    SwinTransformer_base_patch4_window7_224=Base(drop_path_rate=0.5),
    SwinTransformer_base_patch4_window12_384=Base(window_size=12, drop_path_rate=0.1),
    SwinTransformer_large_patch4_window7_224=Large(),
    SwinTransformer_large_patch4_window12_384=Large(window_size=12),
)
class Swin(ChainModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes].

    Raises:
        ShapeError: H or W is not a multiple of 4.
    """

    head = ("head",)
    config: SwinConfig

    def __init__(self, config: SwinConfig) -> None:
        super().__init__(config)
        dim = config.embed_dim
        embed = PatchEmbed(config.in_channels, dim, PATCH_SIZE, norm=True)
        self.append("embed", "patch_embed", embed, dim, PATCH_SIZE)
        for index, rates in enumerate(drop_path_rates(config.drop_path_rate, config.depths)):
            stage = f"stage{index + 1}"
            if index > 0:
                self.append(stage, f"layers.{index - 1}.downsample", self.merging(dim), 2 * dim, 2)
                dim *= 2
            shifts = (0, config.window_size // 2)
            blocks = [
                self.block(dim, shifts[position % 2], rate, index)
                for position, rate in enumerate(rates)
            ]
            self.append(stage, f"layers.{index}.blocks", ChannelsLast(*blocks), dim)
        self.append("stage4", "norm", MapLayerNorm(dim), dim)
        self.close(dim, weight=TruncatedNormal(std=0.02))

    def merging(self, dim: int) -> nn.Layer:
        """What stands before a stage: [N, dim, H, W] → [N, 2 * dim, ⌈H / 2⌉, ⌈W / 2⌉]."""
        return PatchMerging(dim)

    def block(self, dim: int, shift: int, drop_path_rate: float, stage: int) -> nn.Layer:
        """A block of the 0-based ``stage``: [N, H, W, dim] → the same shape."""
        attention = WindowAttention(dim, dim // HEAD_WIDTH, self.config.window_size, shift)
        return EncoderBlock(
            dim, attention, Mlp(dim, MLP_RATIO * dim), drop_path_rate=drop_path_rate
        )

    def forward_features(self, images: Tensor) -> Tensor:
        """[N, 8 * embed_dim, ⌈H / 32⌉, ⌈W / 32⌉]."""
        check_multiple(self, images, PATCH_SIZE)
        return super().forward_features(images)
