"""MobileViTv3: MobileViT whose blocks join near and far by a 1x1 convolution and add the input.

Paper: "MobileViTv3: Mobile-Friendly Vision Transformer with Simple and Effective Fusion of Local,
Global and Input Features", Wadekar & Chaurasia 2022, https://arxiv.org/abs/2209.15159
"""

from __future__ import annotations

from functools import partial

import paddle
from paddle import Tensor, nn
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveInt

from ppclas_models.layers.attention import SelfAttention
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.mlp import linear
from ppclas_models.layers.mobilevit import Conv, MobileViTConfig, MobileViTNet, TwoBranches
from ppclas_models.layers.patches import fold, resize, to_even, unfold

models = Variants()

NUM_HEADS = 4
MLP_RATIO = 2
"""Hidden features of an MLP per feature of a token."""


class MobileViTv3Config(MobileViTConfig):
    """A MobileViTv3."""

    expansion: PositiveInt = 4
    last_channels: PositiveInt
    """Of the 1x1 convolution before the pool."""
    dropout: float = Field(0.1, ge=0, lt=1)
    classifier_dropout: float = Field(0.1, ge=0, lt=1)
    """Of the pooled features."""


def transformer_block(dim: int, dropout: float) -> TwoBranches:
    """Tokens [N, 4, L, dim] → the same shape."""
    attention = nn.Sequential(
        nn.LayerNorm(dim),
        SelfAttention(dim, NUM_HEADS, names=("qkv_proj", "out_proj")),
        nn.Dropout(dropout),
    )
    mlp = nn.Sequential(
        nn.LayerNorm(dim),
        linear(dim, MLP_RATIO * dim),
        nn.Silu(),
        nn.Identity(),  # a dropout with other training recipes; it keeps the keys' numbers
        linear(MLP_RATIO * dim, dim),
        nn.Dropout(dropout),
    )
    return TwoBranches("pre_norm_mha", attention, mlp)


class MobileViTv3Block(nn.Layer):
    """[N, channels, H, W] → the same shape: convolutions for what is near, transformer blocks
    across patches for what is far, a 1x1 that joins the two, and the input (section 3.1).
    """

    def __init__(self, channels: int, dim: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.local_rep = nn.Sequential(
            ("conv_3x3", Conv(channels, channels, 3, groups=channels, act=nn.Silu())),
            ("conv_1x1", nn.Sequential(("conv", conv2d(channels, dim, 1, linear=True)))),
        )
        self.global_rep = nn.Sequential(
            *(transformer_block(dim, dropout) for _ in range(depth)), nn.LayerNorm(dim)
        )
        self.conv_proj = Conv(dim, channels, 1, act=nn.Silu())
        self.fusion = Conv(dim + channels, channels, 1, act=nn.Silu())

    def forward(self, x: Tensor) -> Tensor:
        local = self.local_rep(x)
        even = to_even(local)
        distant = fold(self.global_rep(unfold(even)), *even.shape[2:])
        distant = self.conv_proj(resize(distant, x.shape[2:], "bilinear"))
        return x + self.fusion(paddle.concat([local, distant], axis=1))


# The paper's table 1; L2 has two transformer blocks in the fourth stage instead of four.
XXS = partial(
    MobileViTv3Config,
    channels=(16, 16, 24, 64, 80, 128),
    embed_dims=(64, 80, 96),
    expansion=2,
    last_channels=512,
)
XS = partial(
    MobileViTv3Config,
    channels=(16, 32, 48, 96, 160, 160),
    embed_dims=(96, 120, 144),
    last_channels=640,
)
S = partial(
    MobileViTv3Config,
    channels=(16, 32, 64, 128, 256, 320),
    embed_dims=(144, 192, 240),
    last_channels=960,
)
L2 = (2, 2, 3)


@models.register(
    MobileViTV3_XXS=XXS(dropout=0.05),
    MobileViTV3_XS=XS(),
    MobileViTV3_S=S(),
    MobileViTV3_XXS_L2=XXS(depths=L2),
    MobileViTV3_XS_L2=XS(depths=L2),
    MobileViTV3_S_L2=S(depths=L2),
)
class MobileViTv3(MobileViTNet):
    """Images [N, in_channels, H, W] → logits [N, num_classes]."""

    small_blocks = 3
    config: MobileViTv3Config

    def __init__(self, config: MobileViTv3Config) -> None:
        super().__init__(config)
        last = Conv(self.out_channels, config.last_channels, 1, act=nn.Silu())
        self.append("stage5", "conv_1x1_exp", last, config.last_channels)
        self.close(config.last_channels, nn.Dropout(config.classifier_dropout))

    def attention_block(self, channels: int, dim: int, depth: int) -> MobileViTv3Block:
        return MobileViTv3Block(channels, dim, depth, self.config.dropout)
