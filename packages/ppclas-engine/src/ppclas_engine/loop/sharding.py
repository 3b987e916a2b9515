"""Optimizer state of which each rank holds a part. Importing this module imports Paddle.

Stage 1 of Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter
Models", https://arxiv.org/abs/1910.02054. Paddle's ``group_sharded_parallel`` refuses CPUs and
waits for gradients that a resting layer never sends; its ``DygraphShardingOptimizer`` refuses
parameters with penalties of their own. So this stands on its collectives alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import paddle
from numpy.typing import NDArray
from paddle import Tensor, nn

from ppclas_engine.ranks.distributed import Ranks, current


def owners(sizes: Mapping[str, int], ranks: int) -> dict[str, int]:
    """Which rank holds what belongs to each name: the largest is dealt first, to the rank with the
    least.
    """
    held = [0] * ranks
    found = {}
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        found[name] = held.index(min(held))
        held[found[name]] += sizes[name]
    return found


class ClipOverRanks(nn.ClipGradByGlobalNorm):
    """Clip by the norm over the gradients of all ranks, each of which has a part of them."""

    def __call__(self, params_grads: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """The pairs with clipped gradients. Every rank takes part, also with no pair."""
        with paddle.no_grad():
            squares = [gradient.square().sum().reshape([1]) for _, gradient in params_grads]
            total = paddle.add_n(squares) if squares else paddle.zeros([1])
            current().sum(total)
            scale = self.clip_norm / total.sqrt().clip(min=self.clip_norm)
            return [(parameter, gradient * scale) for parameter, gradient in params_grads]


class Shards:
    """Who holds the optimizer's state of which of ``parameters``."""

    def __init__(self, parameters: Mapping[str, Tensor], ranks: Ranks) -> None:
        self._parameters, self._ranks = parameters, ranks
        self.owners = owners({name: p.size for name, p in parameters.items()}, ranks.size)

    def of(self, rank: int | None = None) -> dict[str, Tensor]:
        """The parameters whose state this ``rank`` holds."""
        rank = self._ranks.rank if rank is None else rank
        return {name: p for name, p in self._parameters.items() if self.owners[name] == rank}

    @contextmanager
    def moving(self) -> Iterator[None]:
        """The optimizer moves this rank's part inside; after it everybody has the parts of all."""
        for name, parameter in self._parameters.items():
            if self.owners[name] != self._ranks.rank:
                parameter.clear_gradient(False)  # an optimizer passes over what has none
        yield
        for rank in range(self._ranks.size):
            self._ranks.share_tensors(list(self.of(rank).values()), rank)

    def gather(self, own: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
        """The ``optimizer_state`` of all ranks for rank 0; the others get nothing."""
        held = self._ranks.gather([(key, list(t.shape), t.dtype.name) for key, t in own.items()])
        whole = {}
        for rank, arrays in enumerate(held):
            for key, shape, dtype in arrays:  # one at a time: no device has room for all
                mine = rank == self._ranks.rank
                value = own[key] if mine else paddle.empty(shape, dtype.lower())
                self._ranks.share_tensors([value], rank)
                if self._ranks.first:
                    whole[key] = value.numpy()
        return whole

    def __str__(self) -> str:
        parts = [sum(p.size for p in self.of(rank).values()) for rank in range(self._ranks.size)]
        low, high = (f"{100 * end / sum(parts):.3g}%" for end in (min(parts), max(parts)))
        share = low if low == high else f"{low} to {high}"
        return f"each of {len(parts)} devices keeps the optimizer's state of {share} of the weights"
