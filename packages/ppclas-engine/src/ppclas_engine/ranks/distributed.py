"""Ranks: processes that train one model together, each on its part of every batch, on Paddle's
collectives.

A rank is described by Paddle's own environment variables (``PADDLE_TRAINER_ID``,
``PADDLE_TRAINERS_NUM``, ``PADDLE_MASTER``, …), so it does not matter who started it: ``ppclas train
--devices``, ``paddle.distributed.launch`` or a cluster's scheduler. Importing this module does not
import Paddle.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import TrainingError

from ppclas_engine.ranks.deadline import deadline
from ppclas_engine.ranks.failure import PeerLostError

if TYPE_CHECKING:
    from paddle import Tensor, nn

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among all that train the model; alone where ``size`` is 1."""

    rank: int = 0
    size: int = 1

    @property
    def alone(self) -> bool:
        """Whether there is only this process."""
        return self.size == 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, the one that writes files and speaks to the person."""
        return self.rank == 0

    def images_of(self, batches: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """This rank's part of each batch: the parts of all ranks together are the batch."""
        return (
            batches
            if self.alone
            else [np.array_split(batch, self.size)[self.rank] for batch in batches]
        )

    def batches_of(self, batches: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """This rank's share of whole batches, for evaluation."""
        return batches[self.rank :: self.size]

    def share(self, value: T) -> T:
        """What rank 0 has for ``value``."""
        if self.alone:
            return value
        from paddle import distributed

        box = [value if self.first else None]
        with _peers():
            distributed.broadcast_object_list(box, src=0)
        shared: Any = box[0]
        return shared

    def gather(self, value: T) -> list[T]:
        """Every rank's ``value``, in the order of ranks."""
        if self.alone:
            return [value]
        from paddle import distributed

        values: list[T] = []
        with _peers():
            distributed.all_gather_object(values, value)
        return values

    def share_state(self, layers: Sequence[nn.Layer]) -> None:
        """Give every rank the parameters and buffers of rank 0."""
        for tensor in [tensor for layer in layers for tensor in layer.state_dict().values()]:
            self.share_tensors([tensor], 0)

    def sum(self, tensor: Tensor) -> None:
        """Replace ``tensor`` by its sum over the ranks."""
        if self.alone:
            return
        from paddle import distributed

        with _peers():
            distributed.all_reduce(tensor)

    def sum_on(self, rank: int, tensor: Tensor) -> None:
        """Replace ``tensor`` on ``rank`` by its sum over the ranks; on the others it is spoilt."""
        from paddle import distributed

        with _peers():
            distributed.reduce(tensor, dst=rank)

    def share_tensors(self, tensors: Sequence[Tensor], source: int) -> None:
        """Give every rank the ``tensors`` of one dtype that ``source`` has, in one message."""
        import paddle
        from paddle import distributed

        if self.alone or not tensors:
            return
        with paddle.no_grad(), _peers():
            if len(tensors) == 1:
                distributed.broadcast(tensors[0], src=source)
                return
            flat = paddle.concat([tensor.flatten() for tensor in tensors])
            distributed.broadcast(flat, src=source)
            pieces = paddle.split(flat, [tensor.size for tensor in tensors])
            for tensor, piece in zip(tensors, pieces, strict=True):
                tensor.set_value(piece.reshape(tensor.shape))

    def sum_step(self, statistics: Sequence[Tensor], numbers: list[float]) -> list[float]:
        """Add up what a step counted, in one message; the sums of ``numbers`` are returned.

        ``numbers[0]`` is this rank's weight. Batch-norm ``statistics`` are replaced by their
        weighted mean, so that every rank goes on with the same.
        """
        import paddle

        weight = numbers[0]
        pieces = [(tensor.astype("float32") * weight).flatten() for tensor in statistics]
        pieces.append(paddle.to_tensor(numbers, dtype="float32"))
        flat = paddle.concat(pieces)
        self.sum(flat)
        *means, tail = paddle.split(flat, [piece.shape[0] for piece in pieces])
        sums = [float(number) for number in tail.numpy()]
        if sums[0]:
            for tensor, piece in zip(statistics, means, strict=True):
                tensor.set_value((piece / sums[0]).reshape(tensor.shape).astype(tensor.dtype))
        return sums


ALONE = Ranks()
_current = ALONE


def current() -> Ranks:
    """What this process has joined; alone without ``join``."""
    return _current


def launched_ranks() -> int:
    """How many ranks the environment of this process speaks of: more than 1 under a launcher."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))


def join(device: str, seconds: float) -> Ranks:
    """Meet the other ranks and prove that all of them can add up a number; ``device`` is ``cpu`` or
    ``gpu``.

    Raises:
        TrainingError: they did not all come within ``seconds``, or the sum is wrong. Where Paddle
            itself hangs, the process ends with that message (`ppclas_engine.ranks.deadline`).
    """
    global _current
    if not _current.alone or launched_ranks() == 1:
        return _current
    rank, size = int(os.environ["PADDLE_TRAINER_ID"]), launched_ranks()
    master = (
        os.environ.get("PADDLE_MASTER")
        or os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")[0]
    )
    problem = (
        f"rank {rank} of {size} did not meet the others at {master} within {seconds:g} s. Are all "
        "of them started with the same --master and --nnodes, and may they reach that port? "
        "(train.join_seconds is the limit.)"
    )
    if device == "cpu":
        os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"
    try:
        with deadline(seconds, problem):
            import paddle
            from paddle import distributed

            distributed.init_parallel_env()
            total = paddle.ones([1])
            distributed.all_reduce(total)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"{problem} Paddle says: {_last_line(error)}") from error
    if total.item() != size:
        raise TrainingError(
            f"{size} ranks added up ones and got {total.item():g}: the collective is broken."
        )
    _current = Ranks(rank, size)
    return _current


@contextmanager
def _peers() -> Iterator[None]:
    """Tell apart that a peer is gone from what else can go wrong."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise PeerLostError(f"Another rank is gone ({_last_line(error)}).") from error


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
