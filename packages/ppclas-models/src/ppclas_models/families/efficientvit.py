"""EfficientViT: attention that is linear in the number of positions, at two scales, between
inverted residuals.

Paper: "EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction", Cai et al.
2022, https://arxiv.org/abs/2205.14756
"""

from __future__ import annotations

from functools import partial

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveFloat, PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.conv_norm import ConvNorm, ConvNormKeys
from ppclas_models.layers.pool import global_average_pool

models = Variants()

KEYS = ConvNormKeys("conv", "norm")
SCALE = 5
"""Side of the neighbourhood, in positions, that the second scale of the attention gathers."""
EPSILON = 1e-5
"""Added to the sums that the attention is divided by."""


class EfficientViTConfig(ModelConfig):
    """An EfficientViT."""

    channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Of the stem and of each stage."""
    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Residual blocks of the stem and of each stage, but for the one that shrinks the map."""
    features: tuple[PositiveInt, PositiveInt]
    """After the convolution and the linear layer before the classifier."""
    head_width: PositiveInt = 32
    """Features of an attention head."""
    large: bool = False
    """The L series: plain convolutions instead of depthwise ones in the stem and the first two
    stages, attention in the last stage only, GELU."""
    norm_epsilon: PositiveFloat = 1e-5
    """Added to the variances of all norms."""


class Blocks:
    """Makes the blocks of one network: what they have in common is in ``config``."""

    def __init__(self, config: EfficientViTConfig) -> None:
        self.config = config

    def act(self) -> nn.Layer:
        """The activation of the series."""
        return nn.GELU(approximate=True) if self.config.large else nn.Hardswish()

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        *,
        act: bool = True,
        norm: bool = True,
    ) -> nn.Layer:
        """A convolution, a batch norm (without ``norm``: a bias) and the activation."""
        layer = self.act() if act else None
        if norm:
            return ConvNorm(
                in_channels,
                out_channels,
                kernel_size,
                stride,
                groups,
                act=layer,
                keys=KEYS,
                epsilon=self.config.norm_epsilon,
            )
        conv = conv2d(in_channels, out_channels, kernel_size, stride, groups=groups, bias=True)
        return nn.Sequential(("conv", conv), ("act", layer or nn.Identity()))

    def separable(self, channels: int) -> nn.Layer:
        """Depthwise 3x3 and 1x1."""
        return nn.Sequential(
            ("depth_conv", self.conv(channels, channels, 3, groups=channels)),
            ("point_conv", self.conv(channels, channels, 1, act=False)),
        )

    def plain(self, channels: int) -> nn.Layer:
        """Two 3x3 convolutions."""
        return nn.Sequential(
            ("conv1", self.conv(channels, channels, 3)),
            ("conv2", self.conv(channels, channels, 3, act=False)),
        )

    def inverted(
        self, in_channels: int, out_channels: int, expansion: int, stride: int, norm: bool
    ) -> nn.Layer:
        """1x1, depthwise 3x3 and 1x1; without ``norm`` only the last has one."""
        hidden = expansion * in_channels
        return nn.Sequential(
            ("inverted_conv", self.conv(in_channels, hidden, 1, norm=norm)),
            ("depth_conv", self.conv(hidden, hidden, 3, stride, hidden, norm=norm)),
            ("point_conv", self.conv(hidden, out_channels, 1, act=False)),
        )

    def fused(self, in_channels: int, out_channels: int, expansion: int, stride: int) -> nn.Layer:
        """3x3 and 1x1."""
        hidden = expansion * in_channels
        return nn.Sequential(
            ("spatial_conv", self.conv(in_channels, hidden, 3, stride)),
            ("point_conv", self.conv(hidden, out_channels, 1, act=False)),
        )


class Shortcut(nn.Layer):
    """[N, channels, H, W] → the same: what ``main`` gives, added to the input."""

    def __init__(self, main: nn.Layer) -> None:
        super().__init__()
        self.main = main

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)


class LinearAttention(nn.Layer):
    """[N, channels, H, W] → the same: attention with ReLU instead of softmax, so that keys and
    values are multiplied first, once on the positions and once on 5x5 neighbourhoods (section 3.1).
    """

    def __init__(self, channels: int, head_width: int, norm_epsilon: float) -> None:
        super().__init__()
        self.width = head_width
        # Of queries, keys and values, each group a head's.
        wide, heads = 3 * channels, channels // head_width
        self.groups = 2 * heads
        self.qkv = conv2d(channels, wide, 1, linear=True)
        self.aggregate = nn.Sequential(
            conv2d(wide, wide, SCALE, groups=wide, linear=True),
            conv2d(wide, wide, 1, groups=3 * heads, linear=True),
        )
        self.proj = ConvNorm(2 * channels, channels, 1, keys=KEYS, epsilon=norm_epsilon)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        qkv = self.qkv(x)
        qkv = paddle.concat([qkv, self.aggregate(qkv)], axis=1).flatten(2)
        qkv = qkv.reshape([0, self.groups, 3 * self.width, height * width])
        # Each [N, groups, head_width, H * W].
        queries, keys, values = paddle.split(qkv, 3, axis=2)
        queries, keys = F.relu(queries), F.relu(keys)
        summed = paddle.matmul(paddle.matmul(values, keys, transpose_y=True), queries)
        total = (queries * keys.sum(axis=-1, keepdim=True)).sum(axis=2, keepdim=True)
        mixed = summed / (total + EPSILON)
        return self.proj(mixed.reshape([0, self.groups * self.width, height, width]))


# The L series is that of the authors' code.
Large = partial(EfficientViTConfig, large=True, norm_epsilon=1e-7)


@models.register(
    EfficientViT_b0=EfficientViTConfig(
        channels=(8, 16, 32, 64, 128), depths=(1, 1, 1, 2, 2), features=(1024, 1280), head_width=16
    ),
    EfficientViT_b1=EfficientViTConfig(
        channels=(16, 32, 64, 128, 256),
        depths=(1, 1, 2, 3, 4),
        features=(1536, 1600),
        head_width=16,
    ),
    EfficientViT_b2=EfficientViTConfig(
        channels=(24, 48, 96, 192, 384), depths=(1, 2, 3, 4, 6), features=(2304, 2560)
    ),
    EfficientViT_b3=EfficientViTConfig(
        channels=(32, 64, 128, 256, 512), depths=(1, 3, 5, 6, 9), features=(2304, 2560)
    ),
    EfficientViT_l1=Large(
        channels=(32, 64, 128, 256, 512), depths=(1, 1, 1, 6, 6), features=(3072, 3200)
    ),
    EfficientViT_l2=Large(
        channels=(32, 64, 128, 256, 512), depths=(1, 2, 2, 8, 8), features=(3072, 3200)
    ),
    EfficientViT_l3=Large(
        channels=(64, 128, 256, 512, 1024), depths=(1, 2, 2, 8, 8), features=(6144, 6400)
    ),
)
class EfficientViT(ChainModel):
    """A stem, stages of convolutions, then stages where attention and convolutions alternate.
    Images [N, in_channels, H, W] → logits [N, num_classes].

    The stage ``head`` holds the convolution and the linear layer before the classifier as well.
    """

    config: EfficientViTConfig

    def __init__(self, config: EfficientViTConfig) -> None:
        super().__init__(config)
        self.blocks = blocks = Blocks(config)
        first = config.channels[0]
        self.append("stem", "stem.0", blocks.conv(config.in_channels, first, 3, 2), first, 2)
        for index in range(config.depths[0]):
            main = blocks.plain(first) if config.large else blocks.separable(first)
            self.append("stem", f"stem.{index + 1}", Shortcut(main), first)
        for index, (channels, depth) in enumerate(
            zip(config.channels[1:], config.depths[1:], strict=True)
        ):
            self._append_stage(index, channels, depth)
        wide, features = config.features
        self.last_conv = blocks.conv(channels, wide, 1)
        self.hidden = nn.Sequential(
            nn.Linear(wide, features, bias_attr=False),
            nn.LayerNorm(features, config.norm_epsilon),
            blocks.act(),
        )
        self.close(features)

    def _append_stage(self, index: int, channels: int, depth: int) -> None:
        large = self.config.large
        attention = index == 3 or (index == 2 and not large)
        fused = large and index < 2
        norm = not (attention or (large and index == 2))
        shrink_by, keep_by = ((24 if attention else 16), 6 if attention else 4) if large else (4, 4)
        stage = f"stage{index + 1}"

        def convs(expansion: int, stride: int) -> nn.Layer:
            if fused:
                return self.blocks.fused(self.out_channels, channels, expansion, stride)
            return self.blocks.inverted(self.out_channels, channels, expansion, stride, norm)

        self.append(stage, f"stages.{index}.0", convs(shrink_by, 2), channels, 2)
        for position in range(1, depth + 1):
            block: nn.Layer = Shortcut(convs(keep_by, 1))
            if attention:
                width, epsilon = self.config.head_width, self.config.norm_epsilon
                context = Shortcut(LinearAttention(channels, width, epsilon))
                block = nn.Sequential(("context_module", context), ("local_module", block))
            self.append(stage, f"stages.{index}.{position}", block, channels)

    def pool(self, features: Tensor) -> Tensor:
        """[N, C, h, w] → [N, config.features[1]]."""
        return self.hidden(global_average_pool(self.last_conv(features)))

    def stages(self) -> dict[str, tuple[str, ...]]:
        return {**super().stages(), "head": ("last_conv", "hidden", *self.head)}
