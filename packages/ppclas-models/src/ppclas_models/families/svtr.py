"""SVTR: reads a line of text from patches that see their neighbours first and each other later,
while the map becomes lower but not narrower.

Paper: "SVTR: Scene Text Recognition with a Single Visual Model", Du et al. 2022,
https://arxiv.org/abs/2205.00159; here as a classifier of whole images.
"""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, NonNegativeInt, PositiveInt

from ppclas_models.layers.attention import SelfAttention
from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels_last import (
    ChannelsLast,
    MapLayerNorm,
    to_channels_first,
    to_channels_last,
)
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.conv_norm import ConvNorm, ConvNormKeys
from ppclas_models.layers.mlp import Mlp
from ppclas_models.layers.stochastic_depth import DropPath, drop_path_rates

models = Variants()

PATCH_SIZE = 4
"""Pixels per token along height and width, before the map becomes lower."""
MLP_RATIO = 4
"""Hidden features of an MLP per feature of a token."""
LOCAL_SIZE = 5
"""Side of the neighbourhood that a local mixer sees, in tokens."""
EPSILON = 1e-6
"""Added to the variance in the blocks' norms."""

Three = tuple[PositiveInt, PositiveInt, PositiveInt]


class SVTRConfig(ModelConfig):
    """An SVTR."""

    channels: Three
    """Features of each stage."""
    depths: Three
    """Blocks in each stage."""
    num_heads: Three
    """Of each stage."""
    local_blocks: NonNegativeInt
    """Blocks, counted through from the first, that mix neighbours; the others mix all tokens."""
    text_size: tuple[PositiveInt, PositiveInt] = (48, 320)
    """Height and width, in pixels, of the images that the position embeddings are made for. They
    are interpolated for others."""
    drop_path_rate: float = Field(0.1, ge=0, lt=1)
    """Stochastic depth of the last block; it grows linearly from 0."""


class LocalMixer(nn.Layer):
    """[N, H, W, dim] → the same shape: a convolution in as many groups as there are heads."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.local_mixer = conv2d(dim, dim, LOCAL_SIZE, groups=num_heads, bias=True, linear=True)

    def forward(self, x: Tensor) -> Tensor:
        return to_channels_last(self.local_mixer(to_channels_first(x)))


class GlobalMixer(SelfAttention):
    """[N, H, W, dim] → the same shape: self-attention of all tokens."""

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        return super().forward(x.flatten(1, 2), bias).reshape([-1, *x.shape[1:]])


class Block(nn.Layer):
    """[N, H, W, dim] → the same shape: ``mixer`` and an MLP, each with a norm of the sum after
    it.
    """

    def __init__(self, dim: int, mixer: nn.Layer, drop_path_rate: float) -> None:
        super().__init__()
        self.mixer = mixer
        self.norm1 = nn.LayerNorm(dim, EPSILON)
        self.drop_path = DropPath(drop_path_rate)
        self.mlp = Mlp(dim, MLP_RATIO * dim)
        self.norm2 = nn.LayerNorm(dim, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.drop_path(self.mixer(x)))
        return self.norm2(x + self.drop_path(self.mlp(x)))


@models.register(
    SVTR_tiny=SVTRConfig(
        channels=(64, 128, 256), depths=(3, 6, 3), num_heads=(2, 4, 8), local_blocks=6
    ),
    SVTR_base=SVTRConfig(
        channels=(128, 256, 384), depths=(6, 6, 6), num_heads=(4, 8, 12), local_blocks=9
    ),
    SVTR_large=SVTRConfig(
        channels=(192, 256, 512), depths=(6, 6, 9), num_heads=(6, 8, 16), local_blocks=9
    ),
)
class SVTR(ChainModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes].

    Between stages only the height shrinks: the strides of ``feature_info`` are those of the height,
    while along the width all maps have 4 pixels per token.
    """

    config: SVTRConfig

    def __init__(self, config: SVTRConfig) -> None:
        super().__init__(config)
        dim = config.channels[0]
        self.grid = [side // PATCH_SIZE for side in config.text_size]
        keys = ConvNormKeys("conv", "norm")
        embed = (
            ConvNorm(before, after, 3, 2, act=nn.GELU(), keys=keys, bias=True)
            for before, after in ((config.in_channels, dim // 2), (dim // 2, dim))
        )
        proj = nn.Sequential(("proj", nn.Sequential(*embed)))
        self.append("embed", "patch_embed", proj, dim, PATCH_SIZE)
        self.pos_embed = self.create_parameter(
            [1, self.grid[0] * self.grid[1], dim], default_initializer=TruncatedNormal(std=0.02)
        )
        done = 0
        for index, rates in enumerate(drop_path_rates(config.drop_path_rate, config.depths)):
            stage, dim = f"stage{index + 1}", config.channels[index]
            if index > 0:
                conv = conv2d(self.out_channels, dim, 3, (2, 1), bias=True, linear=True)
                lower = nn.Sequential(("conv", conv), ("norm", MapLayerNorm(dim)))
                self.append(stage, f"sub_sample{index}", lower, dim, 2)
            blocks = [
                Block(dim, self.mixer(index, local=done + position < config.local_blocks), rate)
                for position, rate in enumerate(rates)
            ]
            done += len(blocks)
            self.append(stage, f"blocks{index + 1}", ChannelsLast(*blocks), dim)
        self.close(dim, weight=TruncatedNormal(std=0.02))

    def mixer(self, stage: int, *, local: bool) -> nn.Layer:
        """The mixer of a block of the 0-based ``stage``."""
        dim, num_heads = self.config.channels[stage], self.config.num_heads[stage]
        return LocalMixer(dim, num_heads) if local else GlobalMixer(dim, num_heads)

    def positions(self, size: list[int]) -> Tensor:
        """Position embeddings [1, C, *size]."""
        table = self.pos_embed.transpose([0, 2, 1]).reshape([1, -1, *self.grid])
        return table if size == self.grid else F.interpolate(table, size=size, mode="bicubic")

    def forward_features(self, images: Tensor) -> Tensor:
        """[N, C, ⌈H / 16⌉, ⌈W / 4⌉]."""
        x = images
        for step in self._steps:
            x = self._sub_layers[step.name](x)
            if step.name == "patch_embed":
                x = x + self.positions(x.shape[2:])
        return x

    def stages(self) -> dict[str, tuple[str, ...]]:
        return {**super().stages(), "embed": ("patch_embed", "pos_embed")}
