"""The step ``measure``: one engine in a process of its own, timed on real photos.

A process of its own because an engine may crash, and because only so its memory can be told.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import Bundle
from ppclas_data.leftovers import temporary_folder
from ppclas_engine.scoring.predictors import open_engine

from ppclas_deploy.answers import read_photos
from ppclas_deploy.isolate import bundle_job, bundle_of, run_isolated
from ppclas_deploy.timing import Latency, measure


@dataclass(frozen=True)
class Measurement:
    """What one engine did with one model."""

    engine: str
    threads: int | None
    latencies: Mapping[int, Latency]
    """Batch size → wall times."""
    memory: Mapping[int, int | None]
    """Batch size → most bytes that the process held up to then; None where the system does not
    say."""
    load_seconds: float
    versions: Mapping[str, str]
    logits: NDArray[np.float32]
    """[N, C] of the photos."""


def measure_engine(
    bundle: Bundle,
    engine: str,
    photos: Sequence[Path],
    *,
    batches: Sequence[int] = (8,),
    threads: int | None = None,
    seconds: float = 1.0,
    log: Path | None = None,
    timeout: float = 600.0,
) -> Measurement:
    """Run ``bundle`` in ``engine`` on batches of ``photos``, repeated where there are fewer.

    Raises:
        ExportError: it is not installed, cannot run the bundle, crashed, or took too long.
    """
    with temporary_folder() as work:
        logits = Path(work) / "logits.npy"
        job = {
            "bundle": bundle_job(bundle),
            "engine": engine,
            "photos": [str(path.resolve()) for path in photos],
            "batches": sorted(batches),
            "threads": threads,
            "seconds": seconds,
            "logits": str(logits),
        }
        said = run_isolated("measure", job, log or Path(work) / "log", timeout)
        return Measurement(
            engine=engine,
            threads=threads,
            latencies={
                int(batch): Latency(int(batch), tuple(times))
                for batch, times in said["seconds"].items()
            },
            memory={int(batch): most for batch, most in said["memory"].items()},
            load_seconds=said["load_seconds"],
            versions=said["versions"],
            logits=np.load(logits, allow_pickle=False),
        )


def run(job: Mapping[str, Any]) -> dict[str, Any]:
    """The step itself."""
    bundle = bundle_of(job["bundle"])
    pixels = read_photos(bundle, job["photos"])
    started = time.perf_counter()
    engine = open_engine(bundle, job["engine"], job["threads"])
    loaded = time.perf_counter() - started
    seconds: dict[str, list[float]] = {}
    memory: dict[str, int | None] = {}
    for batch in job["batches"]:
        images = engine.prepare(pixels[np.arange(batch) % len(pixels)])
        taken = measure(
            {"engine": functools.partial(engine.logits, images)},
            batch,
            seconds=job["seconds"],
            least=5,
        )
        seconds[str(batch)] = list(taken["engine"].seconds)
        memory[str(batch)] = most_memory()
    parts = [
        engine.logits(engine.prepare(pixels[start : start + 8]))
        for start in range(0, len(pixels), 8)
    ]
    np.save(job["logits"], np.concatenate(parts))
    return {
        "seconds": seconds,
        "memory": memory,
        "load_seconds": loaded,
        "versions": engine.versions(),
    }


def most_memory() -> int | None:
    """The most bytes that this process has held, and those that it started and that run
    (Paddle-Lite's), added up.

    None on Windows; elsewhere than on Linux without the processes that it started.
    """
    own = Path("/proc/self")
    try:
        # getrusage's number starts at what the parent held, before this program replaced it.
        started = [
            word for task in own.glob("task/*/children") for word in task.read_text().split()
        ]
        return sum(
            _most_held(folder) for folder in (own, *(Path("/proc", number) for number in started))
        )
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def _most_held(process: Path) -> int:
    status = (process / "status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
