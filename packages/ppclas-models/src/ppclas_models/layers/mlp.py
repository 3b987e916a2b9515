"""Linear layers as transformers have them, and two of them with an activation between."""

from __future__ import annotations

from collections.abc import Callable

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from paddle.nn.initializer import TruncatedNormal


def linear(in_features: int, out_features: int, *, bias: bool = True) -> nn.Linear:
    """[..., in_features] → [..., out_features]; weights drawn from a normal distribution of
    standard deviation 0.02, cut at two deviations, the bias 0.
    """
    return nn.Linear(
        in_features,
        out_features,
        weight_attr=TruncatedNormal(std=0.02),
        bias_attr=None if bias else False,
    )


def gelu(x: Tensor) -> Tensor:
    """Any shape → the same. Paddle's own is looked up when it is called: exports replace it."""
    return F.gelu(x)


class Mlp(nn.Layer):
    """[..., dim] → [..., dim], with ``hidden`` features between. Checkpoint keys ``fc1``,
    ``fc2``.
    """

    def __init__(self, dim: int, hidden: int, act: Callable[[Tensor], Tensor] = gelu) -> None:
        super().__init__()
        self.fc1 = linear(dim, hidden)
        self.act = act
        self.fc2 = linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))
