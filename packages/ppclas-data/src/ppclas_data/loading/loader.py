"""Batches of decoded, transformed images, read ahead by worker processes or by what a plugin
brings.

What a batch holds depends on (seed, epoch, position) alone: not on the number of workers, nor on
where the epoch was entered.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from ppclas_core.config.schema import SamplingConfig
from ppclas_core.contracts.data import ImageSet
from ppclas_core.contracts.readers import BadImage, BatchReader, Request
from ppclas_core.errors import DataError

from ppclas_data.loading.pipeline import Pipeline
from ppclas_data.loading.sampling import (
    count_batches,
    count_earlier,
    cut,
    epoch_order,
    image_shares,
)
from ppclas_data.loading.worker import PipelineReader
from ppclas_data.loading.workers import Workers
from ppclas_data.sources.multilabel import ManyHot

if TYPE_CHECKING:
    from paddle import Tensor

__all__ = ["BadImage", "Batch", "Loader", "auto_workers"]

_Places = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Of a batch: [N] places in the image set, and how many times each has come before in the epoch."""


@dataclass(frozen=True)
class Batch:
    """N labelled images."""

    images: NDArray[Any] | Tensor
    """[N, H, W, C] uint8 RGB (float32 if the transforms normalise); the consumer's own. A tensor
    where a reader has put them on the GPU."""
    labels: NDArray[Any]
    """[N] int64 class indices; [N, C] float32, 1 where a class is there, for images with several
    labels."""
    indices: NDArray[np.int64]
    """[N] places in the image set."""
    position: int
    """Place in the epoch, 0-based; ``epoch(n, start=position + 1)`` goes on after it."""
    wait_seconds: float
    """How long the consumer waited for it."""


class Loader:
    """Read the images of a set, epoch by epoch.

    Unreadable images are left out of their batch, reported once through ``on_bad``, and become an
    error when they are more than ``allowed_bad``. A batch of which nothing is left
    is passed over.
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
        reader: BatchReader | None = None,
        max_bad_fraction: float = 0.01,
        drop_last: bool = False,
        repeat_draws_after: int | None = None,
        sampling: SamplingConfig | None = None,
        on_bad: Callable[[BadImage], None] | None = None,
        on_note: Callable[[str], None] | None = None,
        part: Callable[[list[NDArray[np.int64]]], list[NDArray[np.int64]]] | None = None,
    ) -> None:
        """Start the reader; ``close`` ends it, as does leaving a ``with`` block.

        Args:
            image_set: what to read.
            pipeline: what to do with each image.
            batch_size: images per batch.
            shuffle: another order every epoch, from (seed, epoch); otherwise the set's own order.
            seed: of order and transforms.
            epochs: how many there will be, for transforms that change over a run.
            workers: processes that read; 0 reads in this process.
            reader: who reads. None: the worker processes.
            max_bad_fraction: share of the set that may be unreadable: ``allowed_bad``.
            drop_last: leave an incomplete last batch out, unless it is the only one.
            repeat_draws_after: epochs after which the random draws of transforms come again. None:
                never.
            sampling: which images an epoch shows, and how often; needs ``shuffle``. None: each
                once.
            on_bad: called once for each unreadable image.
            on_note: called with a line on what the reader does, or what is done where it cannot
                run. None: to stderr.
            part: what this process reads of an epoch's batches, where several share them. A batch
                of which nothing is left comes empty then, so that all keep step.

        Raises:
            ConfigError: a transform fails on a plain grey image, or lives in a script that workers
                cannot import; ``sampling`` does not fit the set or the batch.
        """
        pipeline.output_shape()
        self.image_set = image_set
        self.batch_size = batch_size
        self.bad_images: list[BadImage] = []
        """Unreadable images met so far."""
        self._bad_allowed, self._bad_words = allowed_bad(max_bad_fraction, len(image_set))
        self._on_bad = on_bad
        self._part = part
        self._shuffle = shuffle
        self._drop_last = drop_last
        self._sampling = sampling or SamplingConfig()
        self._shares = image_shares(image_set, self._sampling)
        self._labels = ManyHot(image_set) if image_set.task == "multilabel" else image_set.labels()
        self._seed = seed
        plain = PipelineReader(image_set.subset(()), pipeline, seed, epochs, repeat_draws_after)
        self._reader = (reader or Workers()).open(plain, workers, on_note or _on_stderr)

    @property
    def batches_per_epoch(self) -> int:
        """Number of positions in an epoch."""
        count = count_batches(len(self.image_set), self.batch_size, drop_last=self._drop_last)
        return count if self._part is None else len(self._part([np.empty(0, np.int64)] * count))

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return self._reader.pids

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of ``epoch`` (0-based) from position ``start`` on.

        Raises:
            DataError: more unreadable images than allowed; the message lists the first few.
            TrainingError: a worker process died.
        """
        batches = self._batches(epoch)
        asked = time.perf_counter()
        requests = (self._request(epoch, places) for places in batches[start:])
        for position, samples in enumerate(self._reader.read(requests), start):
            self._note_bad(samples.bad)
            if len(samples.indices) or self._part is not None:
                waited = time.perf_counter() - asked
                yield Batch(
                    samples.images, self._labels[samples.indices], samples.indices, position, waited
                )
                asked = time.perf_counter()

    def close(self) -> None:
        """End the reader. Once is enough; more do nothing."""
        self._reader.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _batches(self, epoch: int) -> list[_Places]:
        order = epoch_order(
            len(self.image_set),
            shuffle=self._shuffle,
            seed=self._seed,
            epoch=epoch,
            shares=self._shares,
            repeats=self._sampling.repeats,
        )
        indices, earlier = (
            cut(values, self.batch_size, drop_last=self._drop_last)
            for values in (order, count_earlier(order))
        )
        if self._part is not None:
            indices, earlier = self._part(indices), self._part(earlier)
        return list(zip(indices, earlier, strict=True))

    def _request(self, epoch: int, places: _Places) -> Request:
        indices, earlier = (values.tolist() for values in places)
        return Request(
            epoch,
            indices,
            self.image_set.subset(indices).records,
            earlier if any(earlier) else None,
        )

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
                f"expected at most {self._bad_words} in {self.image_set.origin}, got "
                f"{len(self.bad_images)} of {total} so far: "
                f"{listed}{more}. Replace or remove them ('ppclas data check' lists all), or raise "
                "data.max_bad_fraction"
            )


def allowed_bad(fraction: float, total: int) -> tuple[int, str]:
    """How many of ``total`` images may be unreadable, and in words: a share of them, but one in a
    small set, too, unless the share is 0; never all.

    >>> allowed_bad(0.01, 500), allowed_bad(0.01, 20), allowed_bad(0.0, 20)
    ((5, '1.0% unreadable images'), (1, 'one unreadable image'), (0, '0.0% unreadable images'))
    """
    count = fraction * total
    if 0 < count < 1:
        return min(1, total - 1), "one unreadable image"
    return min(int(count), total - 1), f"{fraction:.1%} unreadable images"


def auto_workers(device: Literal["cpu", "gpu"], cpus: int | None = None) -> int:
    """How many workers suit this machine: on a CPU that also trains at most 2, beside a GPU at most
    8.

    One core is left to the training process; a single core reads in the training process.
    """
    available = available_cpus() if cpus is None else cpus
    return max(0, min(2 if device == "cpu" else 8, available - 1))


def available_cpus() -> int:
    """CPU cores that this process may use, after affinity and, in a container, its quota."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Cores that a container's control group grants; None without limit. Tests give a ``root``."""
    version_1 = (root / "cpu" / "cpu.cfs_quota_us", root / "cpu" / "cpu.cfs_period_us")
    for files in ((root / "cpu.max",), version_1):
        try:
            quota, period = (int(word) for file in files for word in file.read_text().split())
        except (OSError, ValueError):  # no such file, or no quota ("max")
            continue
        if quota > 0:
            return quota / period
    return None


def _on_stderr(line: str) -> None:
    print(line, file=sys.stderr)
