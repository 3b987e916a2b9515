"""``ppclas train --batch-size auto``: as many images in a step as fit and still bring speed."""

from __future__ import annotations

import math
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ppclas_core.config.schema import Config
from ppclas_data.loading.loader import Batch
from ppclas_engine.console import Console
from ppclas_engine.planning.plan import Plan, plan_run

from ppclas_search.tuning.trial import Trial, trial_of

_SMALLEST, _LARGEST = 8, 1024
_GAIN = 1.05
"""Images per second that twice the images in a step must bring, as a factor."""
_STEPS = 3
_ROOM = 0.85
"""Share of the memory that may be taken."""


@dataclass(frozen=True)
class Measured:
    """Steps with one number of images."""

    size: int
    images_per_second: float
    memory: float
    """Bytes taken at most so far."""


@dataclass(frozen=True)
class BatchSize:
    """What was measured, and what follows."""

    measured: tuple[Measured, ...]
    taken: int
    reason: str
    """Why no more than that."""

    def why(self) -> str:
        """A sentence for the person."""
        speeds = ", ".join(f"{each.size}: {each.images_per_second:.3g}" for each in self.measured)
        return f"{self.taken} images per step: {self.reason} (images per second by size: {speeds})"


def choose(
    measure: Callable[[int], Measured], largest: int, memory: float | None, why_no_more: str
) -> BatchSize:
    """Double the size while that pays; ``measure`` raises MemoryError where it does not fit.

    Args:
        measure: takes steps with so many images.
        largest: number of images to try.
        memory: bytes that may be taken. None: not known.
        why_no_more: than ``largest``, for the person.
    """
    found: list[Measured] = []
    size = _SMALLEST
    while True:
        try:
            now = measure(size)
        except MemoryError:
            reason = f"{size} do not fit into memory"
            break
        found.append(now)
        if len(found) > 1 and now.images_per_second < _GAIN * found[-2].images_per_second:
            taken = found[-2].size
            return BatchSize(tuple(found), taken, f"{size} are hardly faster")
        if 2 * size > largest:
            reason = why_no_more
            break
        # What a step takes grows with its images; what the model takes is there already.
        growth = now.memory - found[-2].memory if len(found) > 1 else 0.0
        if memory is not None and now.memory + 2 * growth > _ROOM * memory:
            reason = f"{2 * size} would take {_ROOM:.0%} of the memory or more"
            break
        size *= 2
    taken = found[-1].size if found else _SMALLEST // 2
    return BatchSize(tuple(found), taken, reason)


def with_batch_size(config: Config, console: Console) -> tuple[Config, BatchSize]:
    """``config`` with the size that pays here, measured by steps of the training it describes.

    Raises:
        ConfigError: the config is for several devices.
        PpclasError: it cannot be trained with.
    """
    plan = plan_run(config.replace(data=config.data.replace(batch_size=_SMALLEST)))
    photos = len(plan.train)
    largest = min(_LARGEST, 2 ** int(math.log2(max(photos / 10, _SMALLEST))))
    why_no_more = (
        f"more than {_LARGEST} are not tried"
        if largest == _LARGEST
        else f"with more, an epoch of the {photos} photos would have fewer than ten steps"
    )
    with (
        trial_of(plan, console, "--batch-size auto") as trial,
        console.bar("measuring batch sizes", int(math.log2(largest / _SMALLEST)) + 1) as bar,
    ):
        (sample,) = trial.batches(1)

        def measure(size: int) -> Measured:
            found = _measure(trial, sample, size)
            bar.advance(f"{size}: {found.images_per_second:.3g} images/s")
            return found

        found = choose(measure, largest, _memory(plan), why_no_more)
    return config.replace(data=config.data.replace(batch_size=found.taken)), found


def _measure(trial: Trial, sample: Batch, size: int) -> Measured:
    places = np.arange(size) % len(sample.labels)
    batch = Batch(
        np.asarray(sample.images)[places], sample.labels[places], sample.indices[places], 0, 0.0
    )
    times = []
    try:
        for number in range(_STEPS):
            began = time.perf_counter()
            trial.step(batch, 0.0, number)  # the loss is read, so the step is done
            times.append(time.perf_counter() - began)
    except (RuntimeError, SystemError) as error:  # what Paddle raises is told apart by its words
        if any(word in str(error).lower() for word in ("out of memory", "resourceexhausted")):
            raise MemoryError(str(error)) from error
        raise
    # The first step of a size pays for what comes once.
    return Measured(size, size / statistics.median(times[1:]), _taken(trial.plan))


def _taken(plan: Plan) -> float:
    if plan.config.train.device == "gpu":
        import paddle

        return float(paddle.device.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) * (1 if sys.platform == "darwin" else 1024)


def _memory(plan: Plan) -> float | None:
    """Bytes there are for this process; None where the system does not say."""
    if plan.config.train.device == "gpu":
        import paddle

        return float(paddle.device.cuda.get_device_properties().total_memory)
    facts = Path("/proc/meminfo")
    if not facts.is_file():
        return None
    lines = dict(line.split(":", 1) for line in facts.read_text(encoding="ascii").splitlines())
    return _taken(plan) + 1024.0 * float(lines["MemAvailable"].split()[0])
