"""A transformer's encoder block: attention, then an MLP, each added to what it gets.

Paper: "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", Dosovitskiy et
al. 2020, https://arxiv.org/abs/2010.11929, whose norms come before the two (section 3.1); layer
scale: "Going Deeper with Image Transformers", Touvron et al. 2021,
https://arxiv.org/abs/2103.17239
"""

from __future__ import annotations

from typing import Any, NamedTuple

from paddle import Tensor, nn
from paddle.nn.initializer import Constant

from ppclas_models.layers.channels_last import to_channels_first, to_channels_last
from ppclas_models.layers.stochastic_depth import DropPath


class BlockKeys(NamedTuple):
    """How a family's checkpoints spell the layers of an encoder block."""

    norm1: str = "norm1"
    attn: str = "attn"
    norm2: str = "norm2"
    mlp: str = "mlp"


class EncoderBlock(nn.Layer):
    """Tokens [N, ..., dim] → the same shape. Checkpoint keys ``keys`` and, with ``layer_scale``,
    ``gamma_1`` and ``gamma_2``.

    With ``post_norm`` the norms come after the two instead (Swin Transformer V2), and start from 0.

    ``layer_scale`` is the first value of one factor per channel on each of the two branches. What
    ``forward`` gets beside the tokens goes to ``attn``.
    """

    def __init__(
        self,
        dim: int,
        attn: nn.Layer,
        mlp: nn.Layer,
        *,
        drop_path_rate: float = 0.0,
        epsilon: float = 1e-5,
        layer_scale: float | None = None,
        post_norm: bool = False,
        keys: BlockKeys = BlockKeys(),  # noqa: B008, it cannot be changed
    ) -> None:
        super().__init__()
        weight = Constant(0.0) if post_norm else None
        norms = (nn.LayerNorm(dim, epsilon, weight_attr=weight) for _ in range(2))
        for name, layer in zip(keys, (next(norms), attn, next(norms), mlp), strict=True):
            self.add_sublayer(name, layer)
        self.keys = keys
        self.drop_path = DropPath(drop_path_rate)
        self.post_norm = post_norm
        self.gamma_1 = self.gamma_2 = None
        if layer_scale is not None:
            first = Constant(layer_scale)
            self.gamma_1 = self.create_parameter([dim], default_initializer=first)
            self.gamma_2 = self.create_parameter([dim], default_initializer=first)

    def forward(self, x: Tensor, *context: Any) -> Tensor:
        norm1, attn, norm2, mlp = (self._sub_layers[name] for name in self.keys)
        if self.post_norm:
            x = x + self.drop_path(norm1(attn(x, *context)))
            return x + self.drop_path(norm2(mlp(x)))
        x = x + self.drop_path(_scaled(attn(norm1(x), *context), self.gamma_1))
        return x + self.drop_path(_scaled(mlp(norm2(x)), self.gamma_2))


def _scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else x * gamma


class MapEncoderBlock(EncoderBlock):
    """[N, dim, H, W] → the same shape, with an ``attn`` that maps [N, H, W, dim]."""

    def forward(self, x: Tensor, *context: Any) -> Tensor:
        # Not by ``super``, which tracing for export takes for the parent of a subclass's.
        return to_channels_first(EncoderBlock.forward(self, to_channels_last(x), *context))


class TokensToMap(nn.Layer):
    """Tokens [N, prefix + height * width, C], row by row → a map [N, C, height, width]; the first
    ``prefix`` tokens, which stand for no place, are left out.
    """

    def __init__(self, prefix: int = 0) -> None:
        super().__init__()
        self.prefix = prefix

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        places = tokens[:, self.prefix :] if self.prefix else tokens
        return places.transpose([0, 2, 1]).reshape([0, 0, height, width])
