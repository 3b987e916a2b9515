"""Batches of decoded, transformed images, read ahead by worker processes.

What a batch holds depends on (seed, epoch, position) alone: not on the number of workers, nor on where the epoch was
entered.
"""

from __future__ import annotations

import math
import os
import queue
import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ppclas_core.config.schema import SamplingConfig
from ppclas_core.data.base import ImageSet, Record
from ppclas_core.data.multilabel import ManyHot
from ppclas_core.data.pipeline import Pipeline
from ppclas_core.data.sampling import check_repeats, count_batches, count_earlier, cut, epoch_order, image_shares
from ppclas_core.data.worker import Answer, BadImage, Reader, Samples, WorkerProcess
from ppclas_core.errors import ConfigError, DataError, TrainingError

__all__ = ["BadImage", "Batch", "Loader", "auto_workers"]

_AHEAD = 2
"""Batches under way for each worker."""

_Places = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Of a batch: [N] places in the image set, and how many times each has come before in the epoch."""


@dataclass(frozen=True)
class Batch:
    """N labelled images."""

    images: NDArray[Any]
    """[N, H, W, C] uint8 RGB (float32 if the transforms normalise); the consumer's own."""
    labels: NDArray[Any]
    """[N] int64 class indices; [N, C] float32, 1 where a class is there, for images with several labels."""
    indices: NDArray[np.int64]
    """[N] places in the image set."""
    position: int
    """Place in the epoch, 0-based; ``epoch(n, start=position + 1)`` goes on after it."""
    wait_seconds: float
    """How long the consumer waited for it."""


class Loader:
    """Read the images of a set, epoch by epoch.

    Unreadable images are left out of their batch, reported once through ``on_bad``, and become an error when they are
    more than ``max_bad_fraction`` of the set. A batch of which nothing is left is passed over.
    """

    def __init__(
        self,
        image_set: ImageSet,
        pipeline: Pipeline,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        epochs: int = 1,
        workers: int = 0,
        max_bad_fraction: float = 0.01,
        drop_last: bool = False,
        repeat_draws_after: int | None = None,
        sampling: SamplingConfig | None = None,
        on_bad: Callable[[BadImage], None] | None = None,
        part: Callable[[list[NDArray[np.int64]]], list[NDArray[np.int64]]] | None = None,
    ) -> None:
        """Start the worker processes; ``close`` ends them, as does leaving a ``with`` block.

        Args:
            image_set: what to read.
            pipeline: what to do with each image.
            batch_size: images a batch.
            shuffle: another order every epoch, from (seed, epoch); otherwise the set's own order.
            seed: of order and transforms.
            epochs: how many there will be, for transforms that change over a run.
            workers: processes that read; 0 reads in this process.
            max_bad_fraction: share of the set that may be unreadable.
            drop_last: leave an incomplete last batch out, unless it is the only one.
            repeat_draws_after: epochs after which the random draws of transforms come again. None: never.
            sampling: which images an epoch shows, and how often; needs ``shuffle``. None: each once.
            on_bad: called once for each unreadable image.
            part: what this process reads of an epoch's batches, where several share them. A batch of which nothing is
                left comes empty then, so that all keep step.

        Raises:
            ConfigError: a transform fails on a plain grey image, or lives in a script that workers cannot import;
                ``sampling`` does not fit the set or the batch.
        """
        pipeline.output_shape()
        self.image_set = image_set
        self.batch_size = batch_size
        self.bad_images: list[BadImage] = []
        """Unreadable images met so far."""
        self._bad_allowed = max_bad_fraction * len(image_set)
        self._max_bad_fraction = max_bad_fraction
        self._on_bad = on_bad
        self._part = part
        self._shuffle = shuffle
        self._drop_last = drop_last
        self._repeat_draws_after = repeat_draws_after
        self._sampling = sampling or SamplingConfig()
        check_repeats(batch_size, self._sampling.repeats)
        self._shares = image_shares(image_set, self._sampling)
        self._labels = ManyHot(image_set) if image_set.task == "multilabel" else image_set.labels()
        self._reader = Reader(image_set.subset(()), pipeline, seed, epochs)
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._next_ticket = 0
        self._workers: list[WorkerProcess] = []
        if workers:
            _check_importable(pipeline)
            self._workers = [WorkerProcess(number, self._reader, self._answers) for number in range(workers)]
        self._finalizer = weakref.finalize(self, _kill_all, self._workers)

    @property
    def batches_per_epoch(self) -> int:
        """Number of positions in an epoch."""
        count = count_batches(len(self.image_set), self.batch_size, drop_last=self._drop_last)
        return count if self._part is None else len(self._part([np.empty(0, np.int64)] * count))

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return tuple(worker.pid for worker in self._workers)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of ``epoch`` (0-based) from position ``start`` on.

        Raises:
            DataError: more unreadable images than allowed; the message lists the first few.
            TrainingError: a worker process died.
        """
        if self._workers and not self._finalizer.alive:
            raise TrainingError("expected an open loader, got one that was closed; make a new one")
        batches = self._batches(epoch)
        asked = time.perf_counter()
        draws_of = epoch if self._repeat_draws_after is None else epoch % self._repeat_draws_after
        for position, samples in self._read(draws_of, batches, start):
            self._note_bad(samples.bad)
            if len(samples.indices) or self._part is not None:
                waited = time.perf_counter() - asked
                yield Batch(samples.images, self._labels[samples.indices], samples.indices, position, waited)
                asked = time.perf_counter()

    def close(self) -> None:
        """End the worker processes. Once is enough; more do nothing."""
        self._finalizer()

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _batches(self, epoch: int) -> list[_Places]:
        order = epoch_order(
            len(self.image_set),
            shuffle=self._shuffle,
            seed=self._reader.seed,
            epoch=epoch,
            shares=self._shares,
            repeats=self._sampling.repeats,
        )
        indices, earlier = (
            cut(values, self.batch_size, drop_last=self._drop_last) for values in (order, count_earlier(order))
        )
        if self._part is not None:
            indices, earlier = self._part(indices), self._part(earlier)
        return list(zip(indices, earlier, strict=True))

    def _read(self, epoch: int, batches: list[_Places], start: int) -> Iterator[tuple[int, Samples]]:
        if not self._workers:
            for position in range(start, len(batches)):
                yield position, self._reader.read(epoch, *self._task(batches[position]))
            return
        tickets: dict[int, int] = {}  # ticket → position; answers to an abandoned epoch have none and are dropped
        ready: dict[int, Samples] = {}
        sent = start
        for position in range(start, len(batches)):
            while position not in ready:
                sent = self._send(epoch, batches, sent, tickets)
                answer = self._receive()
                if answer.ticket in tickets:
                    if answer.error is not None:
                        raise answer.error
                    assert answer.samples is not None  # neither an error nor a death
                    ready[tickets.pop(answer.ticket)] = answer.samples
            sent = self._send(epoch, batches, sent, tickets)
            yield position, ready.pop(position)

    def _send(self, epoch: int, batches: list[_Places], sent: int, tickets: dict[int, int]) -> int:
        """Hand out tasks, the least busy worker first, until all have enough; the first position not sent."""
        while sent < len(batches):
            worker = min(self._workers, key=lambda worker: len(worker.open_tickets))
            if len(worker.open_tickets) >= _AHEAD:
                break
            tickets[self._next_ticket] = sent
            worker.send(self._next_ticket, epoch, *self._task(batches[sent]))
            self._next_ticket += 1
            sent += 1
        return sent

    def _task(self, places: _Places) -> tuple[list[int], tuple[Record, ...], list[int] | None]:
        indices, earlier = (values.tolist() for values in places)
        return indices, self.image_set.subset(indices).records, earlier if any(earlier) else None

    def _receive(self) -> Answer:
        answer = self._answers.get()
        if answer.exit_code is not None:
            self.close()
            raise TrainingError(f"a loader worker {_how_it_ended(answer.exit_code)}")
        self._workers[answer.worker].open_tickets.discard(answer.ticket)
        return answer

    def _note_bad(self, found: tuple[BadImage, ...]) -> None:
        known = {bad.index for bad in self.bad_images}
        for bad in found:
            if bad.index in known:
                continue
            self.bad_images.append(bad)
            if self._on_bad is not None:
                self._on_bad(bad)
        if len(self.bad_images) > self._bad_allowed:
            total = len(self.image_set)
            listed = "; ".join(f"{bad.where}: {bad.reason}" for bad in self.bad_images[:3])
            more = f"; and {len(self.bad_images) - 3} more" if len(self.bad_images) > 3 else ""
            raise DataError(
                f"expected at most {self._max_bad_fraction:.1%} unreadable images in {self.image_set.origin}, got "
                f"{len(self.bad_images)} of {total} so far: {listed}{more}. Replace or remove them "
                f"('ppclas data check' lists all), or raise data.max_bad_fraction"
            )


def auto_workers(device: Literal["cpu", "gpu"], cpus: int | None = None) -> int:
    """How many workers suit this machine: on a CPU that also trains at most 2, beside a GPU at most 8.

    One core is left to the training process; a single core reads in the training process.
    """
    available = available_cpus() if cpus is None else cpus
    return max(0, min(2 if device == "cpu" else 8, available - 1))


def available_cpus() -> int:
    """CPU cores that this process may use, after affinity and, in a container, its quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Cores' worth of time that a container's control group grants; None without a limit. ``root`` is for tests."""
    version_1 = (root / "cpu" / "cpu.cfs_quota_us", root / "cpu" / "cpu.cfs_period_us")
    for files in ((root / "cpu.max",), version_1):
        try:
            quota, period = (int(word) for file in files for word in file.read_text().split())
        except (OSError, ValueError):  # no such file, or no quota ("max")
            continue
        if quota > 0:
            return quota / period
    return None


def _check_importable(pipeline: Pipeline) -> None:
    for transform in pipeline.transforms:
        if type(transform).__module__ == "__main__":
            script = getattr(sys.modules["__main__"], "__file__", "the notebook")
            raise ConfigError(
                f"transform {type(transform).__name__} is defined in {script}, which worker processes do not run; move "
                f"it to a module of its own, or use 0 workers"
            )


def _kill_all(workers: list[WorkerProcess]) -> None:
    for worker in workers:
        worker.kill()


def _how_it_ended(exit_code: int) -> str:
    advice = "use fewer workers, or 0 (data.workers) to see what happens"
    if exit_code < 0:
        name = signal.Signals(-exit_code).name if -exit_code in set(signal.Signals) else str(-exit_code)
        cause = "; the system ends processes this way when memory runs out" if name == "SIGKILL" else ""
        return f"was ended by the signal {name}{cause}: {advice}"
    return f"ended with exit code {exit_code} (its own message is above): {advice}"
