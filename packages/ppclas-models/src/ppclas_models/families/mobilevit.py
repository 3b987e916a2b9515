"""MobileViT: inverted residuals, and blocks that attend across the patches of a small map.

Paper: "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer", Mehta &
Rastegari 2021, https://arxiv.org/abs/2110.02178
"""

from __future__ import annotations

from functools import partial

import paddle
from paddle import Tensor, nn
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveInt

from ppclas_models.layers.attention import SelfAttention
from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.conv_norm import ConvNorm, ConvNormKeys
from ppclas_models.layers.encoder import BlockKeys, EncoderBlock
from ppclas_models.layers.mlp import Mlp
from ppclas_models.layers.patches import fold, resize, to_even, unfold

models = Variants()

NUM_HEADS = 4
MLP_RATIO = 2
"""Hidden features of an MLP per feature of a token."""
STEM_CHANNELS = 16
DEPTHS = (2, 4, 3)
"""Encoder blocks at strides 8, 16 and 32."""

Conv = partial(ConvNorm, keys=ConvNormKeys("conv", "norm"))


class MobileViTConfig(ModelConfig):
    """A MobileViT."""

    channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Of the maps at strides 2 (after the stem's), 4, 8, 16 and 32."""
    embed_dims: tuple[PositiveInt, PositiveInt, PositiveInt]
    """Features of a token at strides 8, 16 and 32."""
    expansion: PositiveInt = 4
    """Hidden channels of an inverted residual per channel of its input."""
    last_channels: PositiveInt
    """Of the 1x1 convolution before the pool."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Of the pooled features."""


class InvertedResidual(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]: expand, depthwise,
    linear projection; the input is added where the shape stays.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = expansion * in_channels
        self.residual = stride == 1 and in_channels == out_channels
        self.conv = nn.Sequential(
            Conv(in_channels, hidden, 1, act=nn.Silu()),
            Conv(hidden, hidden, 3, stride, groups=hidden, act=nn.Silu()),
            conv2d(hidden, out_channels, 1),
            nn.BatchNorm2D(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class Transformer(nn.Layer):
    """Tokens [N, 4, L, dim] → the same shape: ``depth`` encoder blocks, in each of which the L
    tokens attend to each other, and a norm.
    """

    def __init__(self, dim: int, depth: int) -> None:
        super().__init__()
        keys = BlockKeys("attn_norm", "attn", "mlp_norm", "mlp")
        self.layers = nn.Sequential(
            *(
                EncoderBlock(
                    dim,
                    SelfAttention(dim, NUM_HEADS),
                    Mlp(dim, MLP_RATIO * dim, nn.Silu()),
                    keys=keys,
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.norm(self.layers(tokens))


class MobileViTBlock(nn.Layer):
    """[N, channels, H, W] → the same shape: a convolution for what is near, a transformer across
    patches for what is far, and another convolution that joins it with the input.
    """

    def __init__(self, channels: int, dim: int, depth: int) -> None:
        super().__init__()
        self.conv1 = Conv(channels, channels, 3, act=nn.Silu())
        self.conv2 = conv2d(channels, dim, 1, linear=True)
        self.transformer = Transformer(dim, depth)
        self.conv3 = Conv(dim, channels, 1, act=nn.Silu())
        self.conv4 = Conv(2 * channels, channels, 3, act=nn.Silu())

    def forward(self, x: Tensor) -> Tensor:
        local = to_even(self.conv2(self.conv1(x)))
        distant = fold(self.transformer(unfold(local)), *local.shape[2:])
        # Enlarged bilinearly, but back by the nearest pixel, as the published weights expect.
        distant = self.conv3(resize(distant, x.shape[2:], "nearest"))
        return self.conv4(paddle.concat([x, distant], axis=1))


@models.register(
    MobileViT_XXS=MobileViTConfig(
        channels=(16, 24, 48, 64, 80), embed_dims=(64, 80, 96), expansion=2, last_channels=320
    ),
    MobileViT_XS=MobileViTConfig(
        channels=(32, 48, 64, 80, 96), embed_dims=(96, 120, 144), last_channels=384
    ),
    MobileViT_S=MobileViTConfig(
        channels=(32, 64, 96, 128, 160), embed_dims=(144, 192, 240), last_channels=640
    ),
)
class MobileViT(ChainModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes]."""

    head = ("linear",)
    config: MobileViTConfig

    def __init__(self, config: MobileViTConfig) -> None:
        super().__init__(config)
        stem = Conv(config.in_channels, STEM_CHANNELS, 3, 2, act=nn.Silu())
        self.append("stem", "conv3x3", stem, STEM_CHANNELS, 2)
        # Stage and stride of the inverted residuals.
        rows = ((1, 1), (2, 2), (2, 1), (2, 1), (3, 2), (4, 2), (5, 2))
        for number, (stage, stride) in enumerate(rows, 1):
            channels = config.channels[stage - 1]
            block = InvertedResidual(self.out_channels, channels, stride, config.expansion)
            self.append(f"stage{stage}", f"mv2_block_{number}", block, channels, stride)
            if stage > 2:
                octave = stage - 3
                attention = MobileViTBlock(channels, config.embed_dims[octave], DEPTHS[octave])
                self.append(f"stage{stage}", f"mvit_block_{octave + 1}", attention, channels)
        last = Conv(self.out_channels, config.last_channels, 1, act=nn.Silu())
        self.append("stage5", "conv1x1", last, config.last_channels)
        self.close(config.last_channels, nn.Dropout(config.dropout))
