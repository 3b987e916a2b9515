"""``predict`` on a folder of photos against the bare engine on tensors that lie ready.

    python benchmarks/predict.py EXPORT FOLDER [--engine-threads 1] [--readers 1] [--batch 32]
    [--photos 256]

What predict adds to the engine is reading, decoding, resizing, normalising, batching and ranking.
The target is 0.9 of the engine's images per second. Decoding needs a CPU that the engine does not
use: with E engine threads and R readers the machine should have E + R idle cores. Rounds of both
take turns, and the table says how busy the machine was meanwhile. On a busy machine the second
ratio tells more: CPU time of the thread that runs the engine (with one engine thread), which is
what an idle machine's wall time would be where the readers keep up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from ppclas_core.bundle import Bundle
from ppclas_core.contracts.data import Draw
from ppclas_data.loading.pipeline import bundle_pipeline
from ppclas_engine.results.predict import expand_paths, predict
from ppclas_engine.scoring.predictors import open_engine

TARGET = 0.9


def main() -> None:
    """Print one table; exit with 1 below the target."""
    parser = argparse.ArgumentParser()
    parser.add_argument("export")
    parser.add_argument("folder")
    parser.add_argument("--engine")
    parser.add_argument("--engine-threads", type=int, default=1)
    parser.add_argument("--readers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--photos", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    bundle = Bundle.load(given.export)
    engine = open_engine(bundle, given.engine, given.engine_threads)
    files = expand_paths([given.folder])[: given.photos]
    pipeline, draw = bundle_pipeline(bundle), Draw(np.random.default_rng(0))
    started = time.perf_counter()
    decoded = []
    for file in files:
        with open(file, "rb") as opened:
            decoded.append(pipeline(opened.read(), draw, file))
    reading = len(files) / (time.perf_counter() - started)
    tensors = [
        engine.prepare(np.stack(decoded[start : start + given.batch]))
        for start in range(0, len(files), given.batch)
    ]

    def bare() -> None:
        for tensor in tensors:
            engine.logits(tensor)

    def whole() -> None:
        answers = list(
            predict(bundle, files, batch_size=given.batch, threads=given.readers, engine=engine)
        )
        assert not any(answer.error for answer in answers)

    def timed(work: Callable[[], None]) -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.thread_time()
        work()
        return len(files) / (time.perf_counter() - wall), len(files) / (time.thread_time() - cpu)

    bare()
    pairs = [(timed(bare), timed(whole)) for _ in range(given.rounds)]
    ratios = [statistics.median(whole[k] / alone[k] for alone, whole in pairs) for k in (0, 1)]
    print(
        f"{bundle.manifest.architecture.name}, {len(files)} photos, batches of {given.batch}, "
        f"{engine.versions()}"
    )
    print(
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; reading alone, one thread: "
        f"{reading:.0f} images/s"
    )
    print(f"{'images/s':<34} {'wall':>8} {'engine thread':>14}")
    for index, name in enumerate(
        (f"engine alone, {given.engine_threads} threads", f"predict, {given.readers} readers")
    ):
        wall, cpu = (statistics.median(pair[index][k] for pair in pairs) for k in (0, 1))
        print(f"{name:<34} {wall:>8.1f} {cpu:>14.1f}")
    print(
        f"{'ratio, median of the rounds':<34} {ratios[0]:>8.3f} {ratios[1]:>14.3f}   (target "
        f"{TARGET})"
    )
    sys.exit(max(ratios[0], ratios[1] if given.engine_threads == 1 else 0.0) < TARGET)


if __name__ == "__main__":
    main()
