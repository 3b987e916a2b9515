"""Twins: PVT with position encodings that follow the image (PCPVT), and attention that is local and
global in turn (SVT, here alt_gvt).

Paper: "Twins: Revisiting the Design of Spatial Attention in Vision Transformers", Chu et al. 2021,
https://arxiv.org/abs/2104.13840
"""

from __future__ import annotations

from functools import partial

from paddle import Tensor, nn
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveInt

from ppclas_models.layers.attention import SpatialReductionAttention, attend, split_heads
from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels_last import MapLayerNorm
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.encoder import MapEncoderBlock
from ppclas_models.layers.mlp import Mlp, linear
from ppclas_models.layers.patch_embed import PatchEmbed, check_multiple
from ppclas_models.layers.stochastic_depth import drop_path_rates
from ppclas_models.layers.window import ShiftedWindows

models = Variants()

REDUCTIONS = (8, 4, 2, 1)
"""Per stage, how many times smaller the map that global attention looks at is, along both sides."""
WINDOW = 7
"""Side of the windows of local attention."""
EPSILON = 1e-6
"""Added to the variance in the norms of the blocks and of the whole."""

Four = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]


class TwinsConfig(ModelConfig):
    """A Twins network."""

    channels: Four
    """Features of each stage."""
    depths: Four
    """Blocks in each stage."""
    num_heads: Four
    """Of each stage."""
    mlp_ratios: Four
    """Hidden features of an MLP per feature of a token, in each stage."""
    local_attention: bool
    """Whether the first, third, ... block of a stage attends within windows (SVT)."""
    drop_path_rate: float = Field(ge=0, lt=1)
    """Stochastic depth of the last block; it grows linearly from 0."""


class LocalAttention(ShiftedWindows):
    """Map [N, H, W, dim] → the same shape: self-attention within windows of 7x7 (section 3.2)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__(WINDOW)
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = linear(dim, 3 * dim)
        self.proj = linear(dim, dim)

    def attend_within(self, windows: Tensor, window: int, mask: Tensor | None) -> Tensor:
        queries, keys, values = split_heads(self.qkv(windows), self.num_heads, 3)
        return self.proj(attend(queries, keys, values, self.scale, mask))


class PositionEncoding(nn.Layer):
    """[N, channels, H, W] → the same shape: a depthwise 3x3, added to what it reads. The zeros
    beyond the border tell where a place is.

    Paper: "Conditional Positional Encodings for Vision Transformers", Chu et al. 2021,
    https://arxiv.org/abs/2102.10882
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(conv2d(channels, channels, 3, groups=channels, bias=True))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.proj(x)


PCPVT = partial(
    TwinsConfig,
    channels=(64, 128, 320, 512),
    num_heads=(1, 2, 5, 8),
    mlp_ratios=(8, 8, 4, 4),
    local_attention=False,
)
SVT = partial(TwinsConfig, mlp_ratios=(4, 4, 4, 4), local_attention=True)


@models.register(
    pcpvt_small=PCPVT(depths=(3, 4, 6, 3), drop_path_rate=0.2),
    pcpvt_base=PCPVT(depths=(3, 4, 18, 3), drop_path_rate=0.3),
    pcpvt_large=PCPVT(depths=(3, 8, 27, 3), drop_path_rate=0.5),
    alt_gvt_small=SVT(
        channels=(64, 128, 256, 512),
        num_heads=(2, 4, 8, 16),
        depths=(2, 2, 10, 4),
        drop_path_rate=0.2,
    ),
    alt_gvt_base=SVT(
        channels=(96, 192, 384, 768),
        num_heads=(3, 6, 12, 24),
        depths=(2, 2, 18, 2),
        drop_path_rate=0.3,
    ),
    alt_gvt_large=SVT(
        channels=(128, 256, 512, 1024),
        num_heads=(4, 8, 16, 32),
        depths=(2, 2, 18, 2),
        drop_path_rate=0.5,
    ),
)
class Twins(ChainModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes].

    Raises:
        ShapeError: H or W is not a multiple of 32.
    """

    head = ("head",)
    config: TwinsConfig

    def __init__(self, config: TwinsConfig) -> None:
        super().__init__(config)
        rates = drop_path_rates(config.drop_path_rate, config.depths)
        for index, dim in enumerate(config.channels):
            stage, patch_size = f"stage{index + 1}", 4 if index == 0 else 2
            embed = PatchEmbed(self.out_channels, dim, patch_size, norm=True)
            self.append(stage, f"patch_embeds.{index}", embed, dim, patch_size)
            for position, rate in enumerate(rates[index]):
                block = self.block(index, position, rate)
                self.append(stage, f"blocks.{index}.{position}", block, dim)
                if position == 0:
                    self.append(stage, f"pos_block.{index}", PositionEncoding(dim), dim)
        self.append("stage4", "norm", MapLayerNorm(self.out_channels, EPSILON), self.out_channels)
        self.close(self.out_channels, weight=TruncatedNormal(std=0.02))

    def block(self, stage: int, position: int, drop_path_rate: float) -> MapEncoderBlock:
        """A block of the 0-based ``stage``: [N, dim, H, W] → the same shape."""
        config = self.config
        dim, num_heads = config.channels[stage], config.num_heads[stage]
        attention = (
            LocalAttention(dim, num_heads)
            if config.local_attention and position % 2 == 0
            else SpatialReductionAttention(dim, num_heads, REDUCTIONS[stage])
        )
        mlp = Mlp(dim, config.mlp_ratios[stage] * dim)
        return MapEncoderBlock(dim, attention, mlp, drop_path_rate=drop_path_rate, epsilon=EPSILON)

    def check_images(self, images: Tensor) -> None:
        check_multiple(self, images, self.out_stride)
