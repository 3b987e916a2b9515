"""Multi-head attention.

Paper: "Attention Is All You Need", Vaswani et al. 2017, https://arxiv.org/abs/1706.03762
"""

from __future__ import annotations

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812

from ppclas_models.layers.channels_last import to_channels_first, to_channels_last
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.mlp import linear


def split_heads(x: Tensor, num_heads: int, parts: int = 1) -> list[Tensor]:
    """[..., L, parts * C] → ``parts`` tensors [..., num_heads, L, C / num_heads]."""
    leading = x.ndim - 2
    width = x.shape[-1] // (parts * num_heads)
    # 0 keeps an axis, whatever its size.
    split = x.reshape([0] * (leading + 1) + [parts, num_heads, width])
    order = [leading + 1, *range(leading), leading + 2, leading, leading + 3]
    return list(split.transpose(order).unbind(0))


def merge_heads(x: Tensor) -> Tensor:
    """[..., heads, L, d] → [..., L, heads * d]: the heads side by side."""
    leading = x.ndim - 3
    width = x.shape[leading] * x.shape[-1]
    apart = x.transpose([*range(leading), leading + 1, leading, leading + 2])
    # Not ``flatten``: as ONNX Runtime reads it, that leaves two sizes open.
    return apart.reshape([0] * (leading + 1) + [width])


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, scale: float, bias: Tensor | None = None
) -> Tensor:
    """Queries [..., heads, L, d], keys [..., heads, M, d] and values [..., heads, M, e] → [..., L,
    heads * e]: ``softmax(scale * queries @ keys + bias) @ values``.

    ``bias`` broadcasts to [..., heads, L, M].
    """
    scores = paddle.matmul(queries * scale, keys, transpose_y=True)
    if bias is not None:
        scores = scores + bias
    return merge_heads(paddle.matmul(F.softmax(scores), values))


class SelfAttention(nn.Layer):
    """Tokens [..., L, dim] → the same shape, each a mix of all. Checkpoint keys ``names``.

    ``scale`` stands before the products of queries and keys; by default one over the square root
    of a head's width. ``bias`` is added to them and broadcasts to [..., num_heads, L, L].
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        qkv_bias: bool = True,
        scale: float | None = None,
        names: tuple[str, str] = ("qkv", "proj"),
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5 if scale is None else scale
        self.names = names
        self.add_sublayer(names[0], linear(dim, 3 * dim, bias=qkv_bias))
        self.add_sublayer(names[1], linear(dim, dim))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        qkv, proj = (self._sub_layers[name] for name in self.names)
        queries, keys, values = split_heads(qkv(x), self.num_heads, 3)
        return proj(attend(queries, keys, values, self.scale, bias))


class SpatialReductionAttention(nn.Layer):
    """Map [N, H, W, dim] → the same shape: attention to a map that is ``ratio`` times smaller
    along both sides. Checkpoint keys ``q``, ``kv``, ``proj`` and, for ratios above 1, ``sr`` and
    ``norm``.

    Paper: "Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without
    Convolutions", Wang et al. 2021, https://arxiv.org/abs/2102.12122
    """

    def __init__(self, dim: int, num_heads: int, ratio: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.q = linear(dim, dim)
        self.kv = linear(dim, 2 * dim)
        self.proj = linear(dim, dim)
        self.sr = self.norm = None
        if ratio > 1:
            self.sr = conv2d(dim, dim, ratio, ratio, padding=0, bias=True, linear=True)
            self.norm = nn.LayerNorm(dim)

    def reduced(self, x: Tensor) -> Tensor:
        """[N, H, W, dim] → the tokens that keys and values come from, [N, M, dim]."""
        if self.sr is None or self.norm is None:
            return x.flatten(1, 2)
        return self.norm(to_channels_last(self.sr(to_channels_first(x))).flatten(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        (queries,) = split_heads(self.q(x.flatten(1, 2)), self.num_heads)
        keys, values = split_heads(self.kv(self.reduced(x)), self.num_heads, 2)
        mixed = self.proj(attend(queries, keys, values, self.scale))
        return mixed.reshape([-1, *x.shape[1:]])
