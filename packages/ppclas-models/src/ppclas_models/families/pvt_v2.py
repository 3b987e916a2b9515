"""PVT v2: a pyramid of transformers that look at smaller maps, with overlapping patches and a
convolution in each MLP.

Paper: "PVT v2: Improved Baselines with Pyramid Vision Transformer", Wang et al. 2021,
https://arxiv.org/abs/2106.13797
"""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveInt

from ppclas_models.layers.attention import SpatialReductionAttention
from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels_last import (
    ChannelsLast,
    MapLayerNorm,
    to_channels_first,
    to_channels_last,
)
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.encoder import EncoderBlock
from ppclas_models.layers.mlp import linear
from ppclas_models.layers.patch_embed import PatchEmbed
from ppclas_models.layers.stochastic_depth import drop_path_rates

models = Variants()

NUM_HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
"""Per stage, how many times smaller the map that attention looks at is, along both sides."""
POOLED = 7
"""Side of that map with linear attention."""
EPSILON = 1e-6
"""Added to the variance in the norms of the blocks and stages."""

Four = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]


class PVTv2Config(ModelConfig):
    """A PVT v2."""

    channels: Four = (64, 128, 320, 512)
    """Features of each stage."""
    depths: Four
    """Blocks in each stage."""
    mlp_ratios: Four = (8, 8, 4, 4)
    """Hidden features of an MLP per feature of a token, in each stage."""
    linear_attention: bool = False
    """Attention to a map of fixed size, so that its cost grows with the image only linearly."""
    drop_path_rate: float = Field(0.1, ge=0, lt=1)
    """Stochastic depth of the last block; it grows linearly from 0."""


class LinearAttention(SpatialReductionAttention):
    """Map [N, H, W, dim] → the same shape: attention to the map pooled to 7x7 (section 3.1)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__(dim, num_heads, ratio=1)
        self.sr = conv2d(dim, dim, 1, bias=True, linear=True)
        self.norm = nn.LayerNorm(dim)

    def reduced(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(to_channels_first(x), POOLED)
        return F.gelu(super().reduced(to_channels_last(pooled)))


class ConvMlp(nn.Layer):
    """Map [N, H, W, dim] → the same shape: between two linear layers a depthwise 3x3, whose zeros
    beyond the border tell where a place is (section 3.3).
    """

    def __init__(self, dim: int, hidden: int, *, relu: bool) -> None:
        super().__init__()
        self.fc1 = linear(dim, hidden)
        self.relu = nn.ReLU() if relu else nn.Identity()
        conv = conv2d(hidden, hidden, 3, groups=hidden, bias=True)
        self.dwconv = nn.Sequential(("dwconv", conv))
        self.fc2 = linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dwconv(to_channels_first(self.relu(self.fc1(x))))
        return self.fc2(F.gelu(to_channels_last(x)))


@models.register(
    PVT_V2_B0=PVTv2Config(channels=(32, 64, 160, 256), depths=(2, 2, 2, 2)),
    PVT_V2_B1=PVTv2Config(depths=(2, 2, 2, 2)),
    PVT_V2_B2=PVTv2Config(depths=(3, 4, 6, 3)),
    PVT_V2_B2_Linear=PVTv2Config(depths=(3, 4, 6, 3), linear_attention=True),
    PVT_V2_B3=PVTv2Config(depths=(3, 4, 18, 3), drop_path_rate=0.3),
    PVT_V2_B4=PVTv2Config(depths=(3, 8, 27, 3), drop_path_rate=0.3),
    PVT_V2_B5=PVTv2Config(depths=(3, 6, 40, 3), mlp_ratios=(4, 4, 4, 4), drop_path_rate=0.3),
)
class PVTv2(ChainModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes]."""

    head = ("head",)
    config: PVTv2Config

    def __init__(self, config: PVTv2Config) -> None:
        super().__init__(config)
        rates = drop_path_rates(config.drop_path_rate, config.depths)
        for index, dim in enumerate(config.channels):
            number, stage = index + 1, f"stage{index + 1}"
            kernel_size, stride = (7, 4) if index == 0 else (3, 2)
            embed = PatchEmbed(self.out_channels, dim, kernel_size, stride, norm=True)
            self.append(stage, f"patch_embed{number}", embed, dim, stride)
            blocks = ChannelsLast(*(self.block(index, rate) for rate in rates[index]))
            self.append(stage, f"block{number}", blocks, dim)
            self.append(stage, f"norm{number}", MapLayerNorm(dim, EPSILON), dim)
        self.close(self.out_channels, weight=TruncatedNormal(std=0.02))

    def block(self, stage: int, drop_path_rate: float) -> EncoderBlock:
        """A block of the 0-based ``stage``: [N, H, W, dim] → the same shape."""
        config, num_heads = self.config, NUM_HEADS[stage]
        dim = config.channels[stage]
        attention = (
            LinearAttention(dim, num_heads)
            if config.linear_attention
            else SpatialReductionAttention(dim, num_heads, REDUCTIONS[stage])
        )
        mlp = ConvMlp(dim, config.mlp_ratios[stage] * dim, relu=config.linear_attention)
        return EncoderBlock(dim, attention, mlp, drop_path_rate=drop_path_rate, epsilon=EPSILON)
