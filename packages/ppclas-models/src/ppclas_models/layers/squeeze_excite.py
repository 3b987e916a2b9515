"""Squeeze-and-excitation: scale each channel by a gate that sees the whole map.

Paper: "Squeeze-and-Excitation Networks", Hu et al. 2018, https://arxiv.org/abs/1709.01507
"""

from __future__ import annotations

from collections.abc import Callable

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812

from ppclas_models.layers.pool import global_average_pool


def sigmoid(x: Tensor) -> Tensor:
    """The logistic function; looked up when called, so that an export can put its own in Paddle's
    place.
    """
    return F.sigmoid(x)


class ConvSqueezeExcite(nn.Layer):
    """[N, channels, H, W] → the same, gated by two 1x1 convolutions, called ``names``, with
    ``squeezed`` channels.
    """

    def __init__(
        self,
        channels: int,
        squeezed: int,
        gate: Callable[[Tensor], Tensor],
        act: Callable[[Tensor], Tensor] = F.relu,
        names: tuple[str, str] = ("conv1", "conv2"),
    ) -> None:
        super().__init__()
        self.add_sublayer(names[0], nn.Conv2D(channels, squeezed, 1))
        self.add_sublayer(names[1], nn.Conv2D(squeezed, channels, 1))
        self.names = names
        self.act = act
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        squeeze, excite = (getattr(self, name) for name in self.names)
        return x * self.gate(excite(self.act(squeeze(F.adaptive_avg_pool2d(x, 1)))))


class LinearSqueezeExcite(nn.Layer):
    """[N, channels, H, W] → the same, gated by two linear layers with ``squeezed`` features between
    them.

    Checkpoint keys ``squeeze`` and ``excitation``.
    """

    def __init__(self, channels: int, squeezed: int, gate: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, squeezed)
        self.excitation = nn.Linear(squeezed, channels)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        squeezed = F.relu(self.squeeze(global_average_pool(x)))
        return x * self.gate(self.excitation(squeezed)).unsqueeze([2, 3])
