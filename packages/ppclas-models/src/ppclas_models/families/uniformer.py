"""UniFormer: blocks of one form, whose tokens look around by convolution in the two finer stages
and by self-attention in the two coarser ones.

Paper: "UniFormer: Unifying Convolution and Self-attention for Visual Recognition", Li et al. 2022,
https://arxiv.org/abs/2201.09450
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveFloat, PositiveInt

from ppclas_models.layers.attention import SelfAttention
from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels_last import MapLayerNorm
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.encoder import EncoderBlock
from ppclas_models.layers.mlp import Mlp
from ppclas_models.layers.stochastic_depth import DropPath, drop_path_rates

models = Variants()

CHANNELS = (64, 128, 320, 512)
"""Of each stage."""
MLP_RATIO = 4
"""Hidden features of an MLP per feature of a token."""
EPSILON = 1e-6
"""Added to the variance in the blocks' layer norms."""

Conv = partial(conv2d, bias=True, weight=TruncatedNormal(std=0.02))


class UniFormerConfig(ModelConfig):
    """A UniFormer."""

    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Blocks in each stage."""
    head_dim: PositiveInt = 64
    """Features of an attention head."""
    conv_stem: bool = False
    """Overlapping convolutions with batch norms before each stage, not one per patch."""
    layer_scale: PositiveFloat | None = None
    """First value of the factors on the branches of the attention blocks; None: there are none."""
    drop_path_rate: float = Field(0.1, ge=0, lt=1)
    """Stochastic depth of the last block; it grows linearly from 0."""


class ConvMlp(nn.Layer):
    """[N, channels, H, W] → the same shape: two 1x1 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1_conv = Conv(channels, MLP_RATIO * channels, 1)
        self.fc2_conv = Conv(MLP_RATIO * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2_conv(F.gelu(self.fc1_conv(x)))


class LocalBlock(nn.Layer):
    """[N, channels, H, W] → the same shape, by a depthwise 5x5 (section 3.2). A depthwise 3x3 tells
    where a place is.
    """

    def __init__(self, channels: int, drop_path_rate: float) -> None:
        super().__init__()
        self.pos_embed = Conv(channels, channels, 3, groups=channels)
        self.norm1 = nn.BatchNorm2D(channels)
        self.conv1 = Conv(channels, channels, 1)
        self.attn = Conv(channels, channels, 5, groups=channels)
        self.conv2 = Conv(channels, channels, 1)
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = nn.BatchNorm2D(channels)
        self.mlp = ConvMlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(x)
        x = x + self.drop_path(self.conv2(self.attn(self.conv1(self.norm1(x)))))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class GlobalBlock(EncoderBlock):
    """[N, channels, H, W] → the same shape, by self-attention. A depthwise 3x3 tells where a place
    is.
    """

    def __init__(self, channels: int, drop_path_rate: float, config: UniFormerConfig) -> None:
        super().__init__(
            channels,
            SelfAttention(channels, channels // config.head_dim),
            Mlp(channels, MLP_RATIO * channels),
            drop_path_rate=drop_path_rate,
            epsilon=EPSILON,
            layer_scale=config.layer_scale,
        )
        self.pos_embed = Conv(channels, channels, 3, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(x)
        tokens = super().forward(x.flatten(2).transpose([0, 2, 1]))
        return tokens.transpose([0, 2, 1]).reshape([-1, *x.shape[1:]])


def patches(in_channels: int, out_channels: int, patch_size: int) -> nn.Sequential:
    """[N, in_channels, H, W] → [N, out_channels, H / patch_size, W / patch_size]."""
    return nn.Sequential(
        ("proj_conv", Conv(in_channels, out_channels, patch_size, patch_size, padding=0)),
        ("norm", MapLayerNorm(out_channels)),
    )


def overlapping(in_channels: int, out_channels: int, patch_size: int) -> nn.Sequential:
    """The same by 3x3 convolutions of stride 2: two of them for patches of 4x4."""
    channels: tuple[int, ...] = (in_channels, out_channels)
    if patch_size == 4:
        channels = (in_channels, out_channels // 2, out_channels)
    layers: list[nn.Layer] = []
    for before, after in pairwise(channels):
        if layers:
            layers.append(nn.GELU())
        layers += [Conv(before, after, 3, 2), nn.BatchNorm2D(after)]
    return nn.Sequential(("proj", nn.Sequential(*layers)))


@models.register(
    UniFormer_small=UniFormerConfig(depths=(3, 4, 8, 3)),
    UniFormer_small_plus=UniFormerConfig(depths=(3, 5, 9, 3), head_dim=32, conv_stem=True),
    UniFormer_small_plus_dim64=UniFormerConfig(depths=(3, 5, 9, 3), conv_stem=True),
    UniFormer_base=UniFormerConfig(depths=(5, 8, 20, 7), drop_path_rate=0.3),
    UniFormer_base_ls=UniFormerConfig(depths=(5, 8, 20, 7), layer_scale=1e-6, drop_path_rate=0.3),
)
class UniFormer(ChainModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes]."""

    head = ("head",)
    config: UniFormerConfig

    def __init__(self, config: UniFormerConfig) -> None:
        super().__init__(config)
        shrink = overlapping if config.conv_stem else patches
        rates = drop_path_rates(config.drop_path_rate, config.depths)
        for index, channels in enumerate(CHANNELS):
            stage, stride = f"stage{index + 1}", 4 if index == 0 else 2
            embed = shrink(self.out_channels, channels, stride)
            self.append(stage, f"patch_embed{index + 1}", embed, channels, stride)
            blocks = (
                LocalBlock(channels, rate) if index < 2 else GlobalBlock(channels, rate, config)
                for rate in rates[index]
            )
            self.append(stage, f"blocks{index + 1}", nn.Sequential(*blocks), channels)
        self.append("stage4", "norm", nn.BatchNorm2D(self.out_channels), self.out_channels)
        self.close(self.out_channels, weight=TruncatedNormal(std=0.02))
