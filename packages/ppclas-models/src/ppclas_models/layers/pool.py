"""From a feature map to one vector an image."""

from __future__ import annotations

from paddle import Tensor
from paddle.nn import functional as F  # noqa: N812, Paddle's own abbreviation


def global_average_pool(features: Tensor) -> Tensor:
    """[N, C, H, W] → [N, C]: the mean over all positions."""
    return F.adaptive_avg_pool2d(features, 1).flatten(1)
