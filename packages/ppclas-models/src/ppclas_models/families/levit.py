"""LeViT: a vision transformer for fast inference, with batch norms, a convolutional start, and
attention that shrinks the map.

Paper: "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference", Graham et al. 2021,
https://arxiv.org/abs/2104.01136
"""

from __future__ import annotations

from functools import partial

import paddle
from paddle import Tensor, nn
from paddle.nn.initializer import Constant, TruncatedNormal
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveInt

from ppclas_models.layers.attention import attend
from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels_last import ToChannelsFirst, ToChannelsLast, to_channels_last
from ppclas_models.layers.conv_norm import ConvNorm, ConvNormKeys
from ppclas_models.layers.mlp import linear
from ppclas_models.layers.pool import global_average_pool
from ppclas_models.layers.positions import Grid, resize_grid
from ppclas_models.layers.stochastic_depth import DropPath

models = Variants()

VALUE_RATIO = 2
"""Features of a value per feature of a key."""
SHRINKING_VALUE_RATIO = 4
"""The same where the map shrinks."""
MLP_RATIO = 2
"""Hidden features of an MLP per feature of a token."""

Conv = partial(ConvNorm, keys=ConvNormKeys("c", "bn"))
Three = tuple[PositiveInt, PositiveInt, PositiveInt]


class LeViTConfig(ModelConfig):
    """A LeViT."""

    channels: Three
    """Features of each stage."""
    depths: Three = (4, 4, 4)
    """Attentions in each stage, besides those that shrink the map."""
    num_heads: Three
    """Of each stage."""
    key_dim: PositiveInt = 32
    """Features of a key of a head."""
    image_size: PositiveInt = 224
    """Side of the images, in pixels; it decides the number of position biases."""
    drop_path_rate: float = Field(0.0, ge=0, lt=1)
    """Stochastic depth of every block."""


class LinearNorm(nn.Layer):
    """[N, H, W, in_features] → [N, H, W, out_features]: a linear layer and a batch norm. With
    ``zero`` the norm's weights start from 0: a branch that says nothing at first.
    """

    def __init__(self, in_features: int, out_features: int, *, zero: bool = False) -> None:
        super().__init__()
        self.c = linear(in_features, out_features, bias=False)
        self.bn = nn.BatchNorm2D(
            out_features, weight_attr=Constant(0.0) if zero else None, data_format="NHWC"
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.c(x))


class Residual(nn.Layer):
    """What ``branch`` says is added to what it gets. Checkpoint key ``m``."""

    def __init__(self, branch: nn.Layer, drop_path_rate: float) -> None:
        super().__init__()
        self.m = branch
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.m(x))


class BiasedAttention(nn.Layer):
    """What the two attentions share: a learned bias for each distance, in rows and in columns,
    between a query and a key on a map of ``side`` x ``side``, resized for other maps. Queries take
    every ``stride``-th row and column.
    """

    def __init__(self, num_heads: int, side: int, stride: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.side = side
        self.stride = stride
        self.attention_biases = self.create_parameter(
            [num_heads, side**2], default_initializer=Constant(0.0)
        )

    def bias(self, grid: Grid) -> Tensor:
        """[num_heads, queries, keys] of a map of so many rows and columns."""
        rows, columns = grid
        distances = self.attention_biases.reshape([1, self.num_heads, self.side, self.side])
        biases = resize_grid(distances, grid).reshape([self.num_heads, rows * columns])
        down, across = self._apart(rows).unsqueeze([1, 3]), self._apart(columns).unsqueeze([0, 2])
        index = down * columns + across  # [query row, query column, key row, key column]
        places = index.shape[0] * index.shape[1]
        chosen = biases.transpose([1, 0])[index.flatten()]
        return chosen.transpose([1, 0]).reshape([self.num_heads, places, rows * columns])

    def _apart(self, length: int) -> Tensor:
        """How far queries and keys are apart along one side, [queries, keys]."""
        keys = paddle.arange(length)
        return (keys[:: self.stride].unsqueeze(1) - keys).abs()

    def grid(self, x: Tensor) -> Grid:
        """Rows and columns of a map [N, H, W, C]; ``side`` where an export does not know them."""
        rows, columns = (size if size > 0 else self.side for size in x.shape[1:3])
        return rows, columns

    def heads(self, x: Tensor) -> Tensor:
        """[N, H, W, num_heads * C] → [N, num_heads, H * W, C]."""
        return x.flatten(1, 2).reshape([0, 0, self.num_heads, -1]).transpose([0, 2, 1, 3])


class Attention(BiasedAttention):
    """[N, H, W, dim] → the same shape."""

    def __init__(self, dim: int, num_heads: int, key_dim: int, side: int) -> None:
        super().__init__(num_heads, side, stride=1)
        self.key_dim = key_dim
        value_dim = VALUE_RATIO * key_dim
        self.qkv = LinearNorm(dim, num_heads * (2 * key_dim + value_dim))
        self.proj = nn.Sequential(nn.Hardswish(), LinearNorm(num_heads * value_dim, dim, zero=True))

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.key_dim, self.key_dim, VALUE_RATIO * self.key_dim]
        queries, keys, values = self.heads(self.qkv(x)).split(parts, axis=-1)
        grid = self.grid(x)
        mixed = attend(queries, keys, values, self.key_dim**-0.5, self.bias(grid))
        return self.proj(mixed.reshape([-1, *grid, mixed.shape[-1]]))


class ShrinkingAttention(BiasedAttention):
    """[N, dim, H, W] → [N, ⌈H / 2⌉, ⌈W / 2⌉, out_dim] (section 4.2)."""

    def __init__(self, dim: int, out_dim: int, key_dim: int, side: int) -> None:
        num_heads = dim // key_dim
        super().__init__(num_heads, side, stride=2)
        self.key_dim = key_dim
        value_dim = SHRINKING_VALUE_RATIO * key_dim
        self.kv = LinearNorm(dim, num_heads * (key_dim + value_dim))
        self.q = nn.Sequential(EverySecond(), LinearNorm(dim, num_heads * key_dim))
        self.proj = nn.Sequential(nn.Hardswish(), LinearNorm(num_heads * value_dim, out_dim))

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.key_dim, SHRINKING_VALUE_RATIO * self.key_dim]
        x = to_channels_last(x)
        keys, values = self.heads(self.kv(x)).split(parts, axis=-1)
        queries = self.heads(self.q(x))
        grid = self.grid(x)
        mixed = attend(queries, keys, values, self.key_dim**-0.5, self.bias(grid))
        rows, columns = ((length + 1) // 2 for length in grid)
        return self.proj(mixed.reshape([-1, rows, columns, mixed.shape[-1]]))


class EverySecond(nn.Layer):
    """[N, H, W, C] → [N, ⌈H / 2⌉, ⌈W / 2⌉, C]: every second row and column."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, ::2, ::2]


def mlp(dim: int) -> nn.Sequential:
    """[N, H, W, dim] → the same shape."""
    return nn.Sequential(
        LinearNorm(dim, MLP_RATIO * dim),
        nn.Hardswish(),
        LinearNorm(MLP_RATIO * dim, dim, zero=True),
    )


# The paper's table 3.
@models.register(
    LeViT_128S=LeViTConfig(
        channels=(128, 256, 384), depths=(2, 3, 4), num_heads=(4, 6, 8), key_dim=16
    ),
    LeViT_128=LeViTConfig(channels=(128, 256, 384), num_heads=(4, 8, 12), key_dim=16),
    LeViT_192=LeViTConfig(channels=(192, 288, 384), num_heads=(3, 5, 6)),
    LeViT_256=LeViTConfig(channels=(256, 384, 512), num_heads=(4, 6, 8)),
    LeViT_384=LeViTConfig(channels=(384, 512, 768), num_heads=(6, 9, 12), drop_path_rate=0.1),
)
class LeViT(ChainModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes].

    The paper's second classifier, for a teacher's labels, is left out, as in the published weights.
    The stage ``head`` holds the norm of the pooled features as well. Biases are resized for images
    of another size than ``image_size``.
    """

    head = ("head.l",)
    config: LeViTConfig

    def __init__(self, config: LeViTConfig) -> None:
        super().__init__(config)
        self._append_stem()
        side = -(-config.image_size // self.out_stride)
        index = 0
        for number, dim in enumerate(config.channels, 1):
            stage = f"stage{number}"
            layers: list[nn.Layer] = []
            stride = 1
            if number == 1:
                self.append(stage, "channels_last", ToChannelsLast(), dim)
            else:
                shrink = ShrinkingAttention(self.out_channels, dim, config.key_dim, side)
                layers += [shrink, Residual(mlp(dim), config.drop_path_rate)]
                side, stride = (side + 1) // 2, 2
            num_heads = config.num_heads[number - 1]
            for _ in range(config.depths[number - 1]):
                attention = Attention(dim, num_heads, config.key_dim, side)
                layers += [
                    Residual(branch, config.drop_path_rate) for branch in (attention, mlp(dim))
                ]
            for layer in layers:
                self.append(stage, f"blocks.{index}", layer, dim, stride)
                index, stride = index + 1, 1
            self.append(stage, f"map{number}", ToChannelsFirst(), dim)
        self.add_sublayer("head.bn", nn.BatchNorm2D(self.out_channels, data_format="NHWC"))
        self.close(self.out_channels, weight=TruncatedNormal(std=0.02))

    def _append_stem(self) -> None:
        first = self.config.channels[0]
        for position, channels in enumerate((first // 8, first // 4, first // 2, first)):
            conv = Conv(self.out_channels, channels, 3, 2)
            self.append("stem", f"patch_embed.{2 * position}", conv, channels, 2)
            if position < 3:
                act = f"patch_embed.{2 * position + 1}"
                self.append("stem", act, nn.Hardswish(), channels)

    def pool(self, features: Tensor) -> Tensor:
        """[N, C, h, w] → [N, C]: the mean over all positions, normalised."""
        pooled = global_average_pool(features).unsqueeze([1, 2])
        return self._sub_layers["head.bn"](pooled).flatten(1)

    def stages(self) -> dict[str, tuple[str, ...]]:
        return {**super().stages(), "head": ("head.bn", *self.head)}
