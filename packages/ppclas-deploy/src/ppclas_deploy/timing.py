"""How long a batch takes: latencies, measured after a warm-up, with their percentiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

WARMUP = 3
"""Runs that do not count: memory is allocated and code is chosen in them."""


@dataclass(frozen=True)
class Latency:
    """Wall times of one batch, in seconds."""

    batch: int
    seconds: tuple[float, ...]

    def milliseconds(self, percent: float) -> float:
        """The time of a batch that ``percent`` (0..100) of the runs stayed below."""
        return float(np.percentile(self.seconds, percent)) * 1e3

    @property
    def images_per_second(self) -> float:
        """At the median."""
        return self.batch / float(np.median(self.seconds))


def measure(
    runs: Mapping[str, Callable[[], object]],
    batch: int,
    *,
    seconds: float = 1.0,
    least: int = 10,
    most: int = 1000,
) -> dict[str, Latency]:
    """Time each of ``runs``, in turns, so that what else the machine does hits all alike.

    Each gets ``seconds`` in all, at least ``least`` and at most ``most`` rounds.
    """
    for run in runs.values():
        for _ in range(WARMUP):
            run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    ends = time.perf_counter() + seconds * len(runs)
    for done in range(most):
        if done >= least and time.perf_counter() >= ends:
            break
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    return {name: Latency(batch, tuple(taken)) for name, taken in times.items()}
