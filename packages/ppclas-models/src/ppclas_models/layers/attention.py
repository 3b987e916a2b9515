"""Multi-head attention.

Paper: "Attention Is All You Need", Vaswani et al. 2017, https://arxiv.org/abs/1706.03762
"""

from __future__ import annotations

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812

from ppclas_models.layers.mlp import linear


def split_heads(x: Tensor, num_heads: int, parts: int = 1) -> list[Tensor]:
    """[N, L, parts * C] → ``parts`` tensors [N, num_heads, L, C / num_heads]."""
    width = x.shape[-1] // (parts * num_heads)
    # 0 keeps an axis, whatever its size.
    split = x.reshape([0, 0, parts, num_heads, width]).transpose([2, 0, 3, 1, 4])
    return [split[part] for part in range(parts)]


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, scale: float, bias: Tensor | None = None
) -> Tensor:
    """Queries [N, heads, L, d], keys [N, heads, M, d] and values [N, heads, M, e] → [N, L,
    heads * e]: ``softmax(scale * queries @ keys + bias) @ values``, the heads side by side.

    ``bias`` broadcasts to [N, heads, L, M].
    """
    scores = paddle.matmul(queries * scale, keys, transpose_y=True)
    if bias is not None:
        scores = scores + bias
    return paddle.matmul(F.softmax(scores), values).transpose([0, 2, 1, 3]).flatten(2)


class SelfAttention(nn.Layer):
    """Tokens [N, L, dim] → [N, L, dim], each a mix of all. Checkpoint keys ``qkv``, ``proj``.

    ``scale`` stands before the products of queries and keys; by default one over the square root
    of a head's width. ``bias`` is added to them and broadcasts to [N, num_heads, L, L].
    """

    def __init__(
        self, dim: int, num_heads: int, *, qkv_bias: bool = True, scale: float | None = None
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5 if scale is None else scale
        self.qkv = linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = linear(dim, dim)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        queries, keys, values = split_heads(self.qkv(x), self.num_heads, 3)
        return self.proj(attend(queries, keys, values, self.scale, bias))
