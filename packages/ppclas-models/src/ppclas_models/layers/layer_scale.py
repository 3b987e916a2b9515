"""A learned factor for each channel of a residual branch.

Paper: "Going deeper with Image Transformers", Touvron et al. 2021,
https://arxiv.org/abs/2103.17239, section 2.
"""

from __future__ import annotations

from paddle import Tensor, nn


class LayerScale(nn.Layer):
    """[N, channels, H, W] → the same, each channel times its factor, which begins at ``initial``.

    Checkpoint key ``gamma``.
    """

    def __init__(self, channels: int, initial: float = 1e-5) -> None:
        super().__init__()
        self.gamma = self.create_parameter(
            [channels], default_initializer=nn.initializer.Constant(initial)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma.reshape([-1, 1, 1])
