"""MobileViTv2: MobileViT with separable self-attention, whose cost grows only linearly with the
number of tokens.

Paper: "Separable Self-attention for Mobile Vision Transformers", Mehta & Rastegari 2022,
https://arxiv.org/abs/2206.02680
"""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.variants import Variants

from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.mobilevit import Conv, MobileViTConfig, MobileViTNet, TwoBranches
from ppclas_models.layers.patches import fold, resize, to_even, unfold

models = Variants()

MLP_RATIO = 2
"""Hidden features of an MLP per feature of a token."""


class SeparableAttention(nn.Layer):
    """Tokens [N, dim, 4, L] → the same shape: their weighted mean over L scales what each token
    says (the paper's equation 4).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.qkv_proj = conv2d(dim, 1 + 2 * dim, 1, bias=True, linear=True)
        self.out_proj = conv2d(dim, dim, 1, bias=True, linear=True)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = self.qkv_proj(x).split([1, self.dim, self.dim], axis=1)
        context = (F.softmax(queries, axis=-1) * keys).sum(axis=-1, keepdim=True)
        return self.out_proj(F.relu(values) * context)


def transformer_block(dim: int, dropout: float) -> TwoBranches:
    """Tokens [N, dim, 4, L] → the same shape."""
    attention = nn.Sequential(nn.GroupNorm(1, dim), SeparableAttention(dim), nn.Dropout(dropout))
    hidden = MLP_RATIO * dim
    mlp = nn.Sequential(
        nn.GroupNorm(1, dim),
        conv2d(dim, hidden, 1, bias=True),
        nn.Silu(),
        nn.Identity(),  # a dropout with other training recipes; it keeps the keys' numbers
        conv2d(hidden, dim, 1, bias=True, linear=True),
        nn.Dropout(dropout),
    )
    return TwoBranches("pre_norm_attn", attention, mlp)


class MobileViTv2Block(nn.Layer):
    """[N, channels, H, W] → the same shape: convolutions for what is near, transformer blocks
    across patches for what is far.
    """

    def __init__(self, channels: int, dim: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.local_rep = nn.Sequential(
            Conv(channels, channels, 3, groups=channels, act=nn.Silu()),
            nn.Sequential(("conv", conv2d(channels, dim, 1, linear=True))),
        )
        self.global_rep = nn.Sequential(
            *(transformer_block(dim, dropout) for _ in range(depth)), nn.GroupNorm(1, dim)
        )
        self.conv_proj = Conv(dim, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        local = self.local_rep(to_even(x))
        tokens = self.global_rep(unfold(local).transpose([0, 3, 1, 2]))
        distant = self.conv_proj(fold(tokens.transpose([0, 2, 3, 1]), *local.shape[2:]))
        return resize(distant, x.shape[2:], "bilinear")


def scaled(width: float) -> MobileViTConfig:
    """The network whose channels are ``width`` times those of the paper's table 4."""
    unit = int(32 * width)
    return MobileViTConfig(
        channels=(unit, 2 * unit, 4 * unit, 8 * unit, 12 * unit, 16 * unit),
        embed_dims=(4 * unit, 6 * unit, 8 * unit),
        expansion=2,
    )


@models.register(
    MobileViTV2_x0_5=scaled(0.5),
    MobileViTV2_x0_75=scaled(0.75),
    MobileViTV2_x1_0=scaled(1.0),
    MobileViTV2_x1_25=scaled(1.25),
    MobileViTV2_x1_5=scaled(1.5),
    MobileViTV2_x1_75=scaled(1.75),
    MobileViTV2_x2_0=scaled(2.0),
)
class MobileViTv2(MobileViTNet):
    """Images [N, in_channels, H, W] → logits [N, num_classes]."""

    small_blocks = 2

    def __init__(self, config: MobileViTConfig) -> None:
        super().__init__(config)
        self.close(self.out_channels)

    def attention_block(self, channels: int, dim: int, depth: int) -> MobileViTv2Block:
        return MobileViTv2Block(channels, dim, depth, self.config.dropout)
