"""MobileNetV4: an inverted bottleneck with two optional depthwise convolutions, and attention whose
heads share keys and values.

Paper: "MobileNetV4 -- Universal Models for the Mobile Ecosystem", Qin et al. 2024,
https://arxiv.org/abs/2404.10518
"""

from __future__ import annotations

from itertools import chain
from typing import Literal, NamedTuple

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.conv_norm import ConvNorm
from ppclas_models.layers.layer_scale import LayerScale
from ppclas_models.layers.stochastic_depth import DropPath, Rate, drop_path_rates

models = Variants()

LAST_FEATURES = 1280


class Conv(NamedTuple):
    """A row of the paper's tables: a plain convolution."""

    kernel_size: int
    out_channels: int
    stride: int = 1


class Fused(NamedTuple):
    """A fused inverted bottleneck: a 3x3 convolution that expands, and a 1x1."""

    hidden: int
    out_channels: int
    stride: int = 1


class Universal(NamedTuple):
    """A universal inverted bottleneck (section 3).

    Both kernels: the paper's ExtraDW; only ``start``: ConvNext; only ``middle``: IB; none: FFN.
    """

    start: int
    """Kernel of the depthwise convolution before the expansion; 0: there is none."""
    hidden: int
    middle: int
    """Kernel of the one between expansion and projection, which has the stride if it is there."""
    out_channels: int
    stride: int = 1


class Attention(NamedTuple):
    """Multi-query attention (section 4)."""

    num_heads: int
    head_dim: int
    out_channels: int
    reduction: int = 1
    """Pixels per key and value, along height and width."""

    @property
    def stride(self) -> int:
        """The map stays as large as it is."""
        return 1


Row = Conv | Fused | Universal | Attention
Stages = tuple[tuple[Row, ...], ...]
U = Universal

# The tables of the paper's appendix D; a stage begins with the block that halves the map.
CONV_SMALL: Stages = (
    (Conv(3, 32, 2), Conv(1, 32)),
    (Conv(3, 96, 2), Conv(1, 64)),
    (U(5, 192, 5, 96, 2), *(U(0, 192, 3, 96),) * 4, U(3, 384, 0, 96)),
    (
        U(3, 576, 3, 128, 2),
        U(5, 512, 5, 128),
        U(0, 512, 5, 128),
        U(0, 384, 5, 128),
        *(U(0, 512, 3, 128),) * 2,
        Conv(1, 960),
    ),
)
MEDIUM_START: Stages = ((Fused(128, 48, 2),), (U(3, 192, 5, 80, 2), U(3, 160, 3, 80)))
MEDIUM_LAST: tuple[Row, ...] = (
    U(5, 960, 5, 256, 2),
    U(5, 1024, 5, 256),
    *(U(3, 1024, 5, 256),) * 2,
)
"""The first blocks of the last stage."""
CONV_MEDIUM: Stages = (
    *MEDIUM_START,
    (
        U(3, 480, 5, 160, 2),
        *(U(3, 640, 3, 160),) * 2,
        U(3, 640, 5, 160),
        U(3, 640, 3, 160),
        U(3, 640, 0, 160),
        U(0, 320, 0, 160),
        U(3, 640, 0, 160),
    ),
    (
        *MEDIUM_LAST,
        U(0, 1024, 0, 256),
        U(3, 1024, 0, 256),
        U(3, 512, 5, 256),
        U(5, 1024, 5, 256),
        *(U(0, 1024, 0, 256),) * 2,
        U(5, 512, 0, 256),
        Conv(1, 960),
    ),
)
HYBRID_MEDIUM: Stages = (
    *MEDIUM_START,
    (
        U(3, 480, 5, 160, 2),
        U(0, 320, 0, 160),
        U(3, 640, 3, 160),
        U(3, 640, 5, 160),
        *(Attention(4, 64, 160, 2), U(3, 640, 3, 160)),
        *(Attention(4, 64, 160, 2), U(3, 640, 0, 160)),
        *(Attention(4, 64, 160, 2), U(3, 640, 3, 160)),
        *(Attention(4, 64, 160, 2), U(3, 640, 0, 160)),
    ),
    (
        *MEDIUM_LAST,
        U(0, 512, 0, 256),
        U(3, 512, 5, 256),
        U(0, 512, 0, 256),
        U(0, 1024, 0, 256),
        *(Attention(4, 64, 256), U(3, 1024, 0, 256)),
        *(Attention(4, 64, 256), U(5, 1024, 5, 256)),
        *(Attention(4, 64, 256), U(5, 1024, 0, 256)) * 2,
        Conv(1, 960),
    ),
)
LARGE_START: Stages = ((Fused(96, 48, 2),), (U(3, 192, 5, 96, 2), U(3, 384, 3, 96)))
LARGE_THIRD: tuple[Row, ...] = (
    U(3, 384, 5, 192, 2),
    *(U(3, 768, 3, 192),) * 3,
    U(3, 768, 5, 192),
    *(U(5, 768, 3, 192),) * 2,
)
LARGE_LAST: tuple[Row, ...] = (
    U(5, 768, 5, 512, 2),
    *(U(5, 2048, 5, 512),) * 3,
    U(5, 2048, 0, 512),
    U(5, 2048, 3, 512),
    *(U(5, 2048, 0, 512),) * 2,
    U(5, 2048, 3, 512),
    U(5, 2048, 5, 512),
)
"""The first blocks of the last stage; ``LARGE_THIRD``: of the one before."""
CONV_LARGE: Stages = (
    *LARGE_START,
    (
        *LARGE_THIRD,
        *(U(5, 768, 3, 192),) * 3,
        U(3, 768, 0, 192),
    ),
    (
        *LARGE_LAST,
        *(U(5, 2048, 0, 512),) * 3,
        Conv(1, 960),
    ),
)
HYBRID_LARGE: Stages = (
    *LARGE_START,
    (
        *LARGE_THIRD,
        *(Attention(8, 48, 192, 2), U(5, 768, 3, 192)) * 3,
        *(Attention(8, 48, 192, 2), U(3, 768, 0, 192)),
    ),
    (
        *LARGE_LAST,
        *(Attention(8, 64, 512), U(5, 2048, 0, 512)) * 4,
        Conv(1, 960),
    ),
)
STAGES = {
    "conv_small": CONV_SMALL,
    "conv_medium": CONV_MEDIUM,
    "conv_large": CONV_LARGE,
    "hybrid_medium": HYBRID_MEDIUM,
    "hybrid_large": HYBRID_LARGE,
}


class MobileNetV4Config(ModelConfig):
    """A MobileNetV4."""

    size: Literal["conv_small", "conv_medium", "conv_large", "hybrid_medium", "hybrid_large"]
    """Which of the paper's five tables."""
    stem_channels: PositiveInt = 32
    act: Literal["relu", "gelu"] = "relu"
    dropout: Rate = 0.2
    """Share of the features before the classifier that training drops."""
    drop_path_rate: Rate
    """Chance that training drops the last block's branch for an image; it grows with the block's
    position, from 0."""

    @property
    def hybrid(self) -> bool:
        """With attention: then branches have a layer scale."""
        return self.size.startswith("hybrid")


def _act(config: MobileNetV4Config) -> nn.Layer:
    return nn.GELU() if config.act == "gelu" else nn.ReLU()


class UniversalBottleneck(nn.Sequential):
    """[N, in_channels, H, W] → [N, out_channels, H / stride, W / stride]; where the shape stays,
    the input is added.
    """

    def __init__(
        self, in_channels: int, row: Universal, config: MobileNetV4Config, drop_rate: float
    ) -> None:
        super().__init__()
        self.residual = row.stride == 1 and in_channels == row.out_channels
        hidden = row.hidden
        if row.start:
            stride = 1 if row.middle else row.stride
            start = ConvNorm(in_channels, in_channels, row.start, stride, in_channels)
            self.add_sublayer("dw_start", start)
        self.add_sublayer("pw_exp", ConvNorm(in_channels, hidden, 1, act=_act(config)))
        if row.middle:
            middle = ConvNorm(hidden, hidden, row.middle, row.stride, hidden, _act(config))
            self.add_sublayer("dw_mid", middle)
        self.add_sublayer("pw_proj", ConvNorm(hidden, row.out_channels, 1))
        if config.hybrid:
            self.add_sublayer("layer_scale", LayerScale(row.out_channels))
        self.add_sublayer("drop_path", DropPath(drop_rate))

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return x + y if self.residual else y


class MultiQueryAttention(nn.Layer):
    """[N, channels, H, W] → the same: each pixel adds a mix of all, or of the ``reduction`` times
    fewer that depthwise convolutions make of them.
    """

    def __init__(self, channels: int, row: Attention, drop_rate: float) -> None:
        super().__init__()
        self.num_heads, self.head_dim = row.num_heads, row.head_dim
        self.norm = nn.BatchNorm2D(channels)
        self.query_proj = conv2d(channels, row.num_heads * row.head_dim, 1, linear=True)
        if row.reduction > 1:
            self.key_down_proj = ConvNorm(channels, channels, 3, row.reduction, channels)
            self.value_down_proj = ConvNorm(channels, channels, 3, row.reduction, channels)
        else:
            self.key_down_proj = self.value_down_proj = nn.Identity()
        self.key_proj = conv2d(channels, row.head_dim, 1, linear=True)
        self.value_proj = conv2d(channels, row.head_dim, 1, linear=True)
        self.proj = conv2d(row.num_heads * row.head_dim, channels, 1, linear=True)
        self.layer_scale = LayerScale(channels)
        self.drop_path = DropPath(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        height, width = y.shape[2:]
        # Not a head's width but that of all heads together: so the published weights were trained.
        scale = (self.num_heads * self.head_dim) ** -0.5
        # The one key of a pixel meets the queries of all heads: heads and pixels are one axis.
        queries = self.query_proj(y).reshape([0, self.num_heads, self.head_dim, -1])
        queries = queries.transpose([0, 1, 3, 2]).flatten(1, 2) * scale
        keys = self.key_proj(self.key_down_proj(y)).flatten(2)
        values = self.value_proj(self.value_down_proj(y)).flatten(2)
        weights = F.softmax(paddle.matmul(queries, keys))
        mixed = paddle.matmul(weights, values, transpose_y=True)
        mixed = mixed.reshape([0, self.num_heads, -1, self.head_dim]).transpose([0, 1, 3, 2])
        mixed = mixed.reshape([0, self.num_heads * self.head_dim, height, width])
        return x + self.drop_path(self.layer_scale(self.proj(mixed)))


def block(in_channels: int, row: Row, config: MobileNetV4Config, drop_rate: float) -> nn.Layer:
    """[N, in_channels, H, W] → [N, row.out_channels, H / row.stride, W / row.stride]."""
    if isinstance(row, Universal):
        return UniversalBottleneck(in_channels, row, config, drop_rate)
    if isinstance(row, Attention):
        return MultiQueryAttention(in_channels, row, drop_rate)
    if isinstance(row, Conv):
        return ConvNorm(
            in_channels, row.out_channels, row.kernel_size, row.stride, act=_act(config)
        )
    expand = ConvNorm(in_channels, row.hidden, 3, row.stride, act=_act(config))
    return nn.Sequential(
        ("conv_exp", expand), ("conv_pwl", ConvNorm(row.hidden, row.out_channels, 1))
    )


@models.register(
    MobileNetV4_conv_small=MobileNetV4Config(size="conv_small", dropout=0.25, drop_path_rate=0.03),
    MobileNetV4_conv_medium=MobileNetV4Config(size="conv_medium", drop_path_rate=0.1),
    MobileNetV4_conv_large=MobileNetV4Config(
        size="conv_large", stem_channels=24, drop_path_rate=0.35
    ),
    MobileNetV4_hybrid_medium=MobileNetV4Config(size="hybrid_medium", drop_path_rate=0.1),
    MobileNetV4_hybrid_large=MobileNetV4Config(
        size="hybrid_large", stem_channels=24, act="gelu", drop_path_rate=0.1
    ),
)
class MobileNetV4(ChainModel):
    """Four stages of such blocks. Images [N, in_channels, H, W] → logits [N, num_classes].

    The stage ``head`` holds ``conv_head`` as well.
    """

    head = ("classifier",)
    config: MobileNetV4Config

    def __init__(self, config: MobileNetV4Config) -> None:
        super().__init__(config)
        channels = config.stem_channels
        stem = ConvNorm(config.in_channels, channels, 3, 2, act=_act(config))
        self.append("stem", "conv_stem", stem, channels, 2)
        stages = STAGES[config.size]
        rates = chain(*drop_path_rates(config.drop_path_rate, [len(rows) for rows in stages]))
        index = 0
        for number, rows in enumerate(stages, start=1):
            for row in rows:
                layer = block(self.out_channels, row, config, next(rates))
                name, channels = f"blocks.{index}", row.out_channels
                self.append(f"stage{number}", name, layer, channels, row.stride)
                index += 1
        self.conv_head = ConvNorm(self.out_channels, LAST_FEATURES, 1, act=_act(config))
        self.close(LAST_FEATURES, nn.Dropout(config.dropout))

    def pool(self, features: Tensor) -> Tensor:
        """[N, C, h, w] → [N, LAST_FEATURES]: the mean over all positions, then ``conv_head``."""
        return self.conv_head(F.adaptive_avg_pool2d(features, 1)).flatten(1)

    def stages(self) -> dict[str, tuple[str, ...]]:
        return {**super().stages(), "head": ("conv_head", *self.head)}
