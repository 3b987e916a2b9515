"""Swin Transformer V2: norms after the branches, cosines instead of products, and a bias that a
small network derives from how far apart two places are, so that windows can grow.

Paper: "Swin Transformer V2: Scaling Up Capacity and Resolution", Liu et al. 2021,
https://arxiv.org/abs/2111.09883
"""

from __future__ import annotations

import math
from functools import partial

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from paddle.nn.initializer import Constant
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

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

MAX_LOGIT_SCALE = math.log(100)
"""A cosine counts at most 100 times: the temperature is not below 0.01."""
BIAS_HIDDEN = 512
"""Features between the two layers of the network that gives the biases."""
BIAS_LIMIT = 16
"""Biases lie between 0 and this."""


class SwinV2Config(SwinConfig):
    """A Swin Transformer V2."""

    pretrained_windows: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] | None = None
    """Side of the windows, in patches, that each stage was trained with before; by default they
    are those it has."""


class WindowAttention(ShiftedWindows):
    """[N, H, W, dim] → the same shape: attention within windows by the scaled cosine of queries
    and keys (section 3.3), with log-spaced continuous position bias (section 3.4).

    On a map smaller than a window, the window is as large as the map and not shifted.
    """

    def __init__(
        self, dim: int, num_heads: int, window: int, shift: int, pretrained_window: int | None
    ) -> None:
        super().__init__(window, shift)
        self.num_heads = num_heads
        self.pretrained_window = pretrained_window
        self.logit_scale = self.create_parameter(
            [num_heads, 1, 1], default_initializer=Constant(math.log(10))
        )
        # Keys have no bias: it would change all cosines of a query alike, but for their length.
        self.q_bias = self.create_parameter([dim], is_bias=True)
        self.v_bias = self.create_parameter([dim], is_bias=True)
        self.qkv = linear(dim, 3 * dim, bias=False)
        self.proj = linear(dim, dim)
        self.cpb_mlp = nn.Sequential(
            linear(2, BIAS_HIDDEN), nn.ReLU(), linear(BIAS_HIDDEN, num_heads, bias=False)
        )

    def window_on(self, size: Size) -> tuple[int, int]:
        window = min(self.window, *size)
        return window, (self.shift if window < min(size) else 0)

    def attend_within(self, windows: Tensor, window: int, mask: Tensor | None) -> Tensor:
        qkv_bias = paddle.concat([self.q_bias, paddle.zeros_like(self.q_bias), self.v_bias])
        queries, keys, values = split_heads(self.qkv(windows) + qkv_bias, self.num_heads, 3)
        scale = self.logit_scale.clip(max=MAX_LOGIT_SCALE).exp()
        queries, keys = F.normalize(queries, axis=-1) * scale, F.normalize(keys, axis=-1)
        bias = self.position_bias(window)
        if mask is not None:
            bias = bias + mask
        return self.proj(attend(queries, keys, values, 1.0, bias))

    def position_bias(self, window: int) -> Tensor:
        """[num_heads, window ** 2, window ** 2]."""
        offsets = paddle.arange(1 - window, window, dtype=self.q_bias.dtype)
        offsets = offsets * (8 / max((self.pretrained_window or window) - 1, 1))
        spaced = offsets.sign() * (offsets.abs() + 1).log2() / 3  # log2(8) = 3
        table = paddle.stack(paddle.meshgrid(spaced, spaced), axis=-1)
        biases = self.cpb_mlp(table).reshape([-1, self.num_heads])
        per_pair = biases[relative_position_index(window)].transpose([1, 0])
        per_pair = per_pair.reshape([self.num_heads, window**2, window**2])
        return BIAS_LIMIT * F.sigmoid(per_pair)


class PatchMerging(nn.Layer):
    """[N, dim, H, W] → [N, 2 * dim, ⌈H / 2⌉, ⌈W / 2⌉]: four neighbours become one patch, which is
    then normalised.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        return to_channels_first(self.norm(self.reduction(merge_neighbours(x))))


# Rates of the authors' configurations: 0.2 where a network was trained on ImageNet-22K before.
Tiny = partial(SwinV2Config, embed_dim=96, depths=(2, 2, 6, 2), drop_path_rate=0.2)
Small = partial(SwinV2Config, embed_dim=96, depths=(2, 2, 18, 2), drop_path_rate=0.3)
Base = partial(SwinV2Config, embed_dim=128, depths=(2, 2, 18, 2))
Large = partial(SwinV2Config, embed_dim=192, depths=(2, 2, 18, 2), drop_path_rate=0.2)
BEFORE = (12, 12, 12, 6)


@models.register(
    SwinTransformerV2_tiny_patch4_window8_256=Tiny(window_size=8),
    SwinTransformerV2_tiny_patch4_window16_256=Tiny(window_size=16),
    SwinTransformerV2_small_patch4_window8_256=Small(window_size=8),
    SwinTransformerV2_small_patch4_window16_256=Small(window_size=16),
    SwinTransformerV2_base_patch4_window8_256=Base(window_size=8, drop_path_rate=0.5),
    SwinTransformerV2_base_patch4_window16_256=Base(window_size=16, drop_path_rate=0.5),
    SwinTransformerV2_base_patch4_window24_384=Base(
        window_size=24, drop_path_rate=0.2, pretrained_windows=BEFORE
    ),
    SwinTransformerV2_large_patch4_window16_256=Large(window_size=16, pretrained_windows=BEFORE),
    SwinTransformerV2_large_patch4_window24_384=Large(window_size=24, pretrained_windows=BEFORE),
)
class SwinV2(SwinNet):
    """Images [N, in_channels, H, W] → logits [N, num_classes].

    Raises:
        ShapeError: H or W is not a multiple of 4.
    """

    config: SwinV2Config

    def merging(self, dim: int) -> nn.Layer:
        return PatchMerging(dim)

    def block(self, dim: int, shift: int, drop_path_rate: float, stage: int) -> nn.Layer:
        windows = self.config.pretrained_windows
        attention = WindowAttention(
            dim,
            dim // HEAD_WIDTH,
            self.config.window_size,
            shift,
            windows[stage] if windows else None,
        )
        return EncoderBlock(
            dim,
            attention,
            Mlp(dim, MLP_RATIO * dim),
            drop_path_rate=drop_path_rate,
            post_norm=True,
        )
