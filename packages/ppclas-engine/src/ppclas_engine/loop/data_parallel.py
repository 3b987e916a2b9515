"""A step's loss as one layer, for Paddle's ``DataParallel``. Importing this module imports Paddle.

Its reducer sums gradients in buckets as the backward pass fills them, and leaves out what a rank
does not use: Li et al. 2020, "PyTorch Distributed: Experiences on Accelerating Data Parallel
Training", https://arxiv.org/abs/2006.15704
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import paddle
from paddle import Tensor, nn
from ppclas_core.contracts.objective import StepLoss, TrainBatch

from ppclas_engine.loop.trained import Trained
from ppclas_engine.ranks.distributed import Ranks
from ppclas_engine.ranks.failure import PeerLostError

_TRANSPORT = re.compile(r"gloo|nccl|connection|peer|process.?group", re.IGNORECASE)


class _LossOfStep(nn.Layer):
    """Everything that trains, as sublayers; the loss is its output, whatever it was made of."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.model = trained.model
        self.beside = nn.LayerDict(dict(trained.objective.layers()))
        self._objective = trained.objective

    def forward(
        self, batch: TrainBatch, forward: Callable[[Tensor], Any]
    ) -> tuple[Tensor, StepLoss]:
        result = self._objective.step(batch, forward)
        return result.loss, result


class DataParallelStep:
    """The losses of steps, whose gradients become the sum over all ranks in the backward pass."""

    def __init__(self, trained: Trained, ranks: Ranks) -> None:
        # Parts of an objective may rest for a while, and photos without labels have no classifier.
        self._layer = paddle.DataParallel(_LossOfStep(trained), find_unused_parameters=True)
        self._size = ranks.size

    def __call__(
        self, batch: TrainBatch, forward: Callable[[Tensor], Any], *, sums: bool
    ) -> StepLoss:
        """The loss of ``batch``; without ``sums`` its gradients stay on this rank until a later
        batch takes them along.
        """
        with nullcontext() if sums else self._layer.no_sync():
            _, result = self._layer(batch, forward)
        return result

    def weight(self, share: float) -> float:
        """What to multiply a loss by that stands for ``share`` of the step: Paddle takes the mean
        over the ranks, and a sum is wanted.
        """
        return share * self._size


@contextmanager
def peers_of_backward() -> Iterator[None]:
    """Tell a collective that failed in the backward pass, because a peer is gone, from errors of
    the pass itself.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if _TRANSPORT.search(str(error)):
            line = str(error).strip().splitlines()[-1][:200]
            raise PeerLostError(f"Another rank is gone ({line}).") from error
        raise
