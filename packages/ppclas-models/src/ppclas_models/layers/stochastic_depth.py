"""Stochastic depth: residual branches that are left out at random while training.

Paper: "Deep Networks with Stochastic Depth", Huang et al. 2016, https://arxiv.org/abs/1603.09382
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from paddle import nn
from pydantic import Field

Rate = Annotated[float, Field(ge=0, lt=1)]
"""Share that training drops."""


class DropPath(nn.Dropout):
    """[N, ...] → the same; in training, each sample is 0 with probability ``rate`` and scaled by
    1 / (1 - rate) otherwise.

    It stands at the end of a residual branch, so that the sample passes by the shortcut alone.
    """

    def __init__(self, rate: float) -> None:
        super().__init__(rate, axis=0)


def drop_path_rates(rate: float, depths: Sequence[int]) -> list[list[float]]:
    """A rate for each block of each stage: from 0 for the first, linearly, to ``rate`` for the
    last (the paper's equation 4).
    """
    last = max(sum(depths) - 1, 1)
    starts = [sum(depths[:stage]) for stage in range(len(depths))]
    return [
        [rate * (start + position) / last for position in range(depth)]
        for start, depth in zip(starts, depths, strict=True)
    ]
