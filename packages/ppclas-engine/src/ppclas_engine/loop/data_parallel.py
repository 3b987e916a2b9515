"""The losses of steps over several ranks. Importing this module imports Paddle.

The reducer of Paddle's ``DataParallel`` sums gradients in buckets as the backward pass fills them,
and leaves out what a rank does not use: Li et al. 2020, "PyTorch Distributed: Experiences on
Accelerating Data Parallel Training", https://arxiv.org/abs/2006.15704
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import takewhile
from typing import Any

import paddle
from paddle import Tensor, nn
from ppclas_components.objectives import Supervised
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
        self.scale = ranks.size
        """Of losses: Paddle takes the mean over the ranks, and a sum is wanted."""

    def __call__(
        self, batch: TrainBatch, forward: Callable[[Tensor], Any], *, sums: bool
    ) -> StepLoss:
        """The loss of ``batch``; without ``sums`` its gradients stay on this rank until a later
        batch takes them along.
        """
        with nullcontext() if sums else self._layer.no_sync():
            _, result = self._layer(batch, forward)
        return result

    def finish(self) -> None:
        """After the backward pass: the reducer has left nothing to do."""


class GradientsToOwners:
    """The losses of steps, whose gradients are summed on the rank that moves the parameter and
    leave the others: stage 2 of ZeRO (`ppclas_engine.loop.sharding`).
    """

    scale = 1

    def __init__(self, trained: Trained, ranks: Ranks, owners: Mapping[str, int]) -> None:
        self._objective, self._ranks, self._owners = trained.objective, ranks, owners
        # Gradients come in about this order, and all ranks must send in the same.
        self._order = list(reversed(trained.parameters().items()))
        self._ready: set[str] = set()
        self._used: set[str] = set()
        """By any rank in any step."""
        self._next = 0
        # With another objective a layer may rest on one rank alone: sums in the others' backward
        # pass (of batch norms) would meet these.
        if isinstance(trained.objective, Supervised):
            for name, parameter in self._order:
                parameter._register_backward_hook(partial(self._arrive, name))

    def __call__(
        self, batch: TrainBatch, forward: Callable[[Tensor], Any], *, sums: bool
    ) -> StepLoss:
        """The loss of ``batch``. Its gradients go whether ``sums`` or not: they would take room."""
        self._ready.clear()
        self._next = 0
        return self._objective.step(batch, forward)

    def finish(self) -> None:
        """After the backward pass: send what did not come by itself."""
        self._send_until(len(self._order))
        if len(self._used) < len(self._order):
            self._used = self._used.union(*self._ranks.gather(self._ready))
        for name, parameter in self._order:
            if name not in self._used:  # the optimizer is to pass over it
                parameter.clear_gradient(False)

    def _arrive(self, name: str, *_: object) -> None:
        self._ready.add(name)
        arrived = takewhile(lambda item: item[0] in self._ready, self._order[self._next :])
        self._send_until(self._next + len(list(arrived)))

    @paddle.no_grad()
    def _send_until(self, end: int) -> None:
        for name, parameter in self._order[self._next : end]:
            if parameter.grad is not None:
                self._ready.add(name)
            else:
                parameter.grad = paddle.zeros_like(parameter)
            self._ranks.sum_on(self._owners[name], parameter.grad)
            if self._owners[name] != self._ranks.rank:
                parameter.clear_gradient(False)
        self._next = end


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
