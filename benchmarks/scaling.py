"""How training scales over ranks: measured on CPU ranks, computed for GPUs.

    python benchmarks/scaling.py [--model NAME] [--size PIXELS] [--batch N] [--ranks 1 2 4]
    [--rounds N]

Measured, with one thread a rank, over gloo: a step's compute alone (forward, backward, update of a
plain Paddle loop), the sum of all gradients alone, and a step under ``paddle.DataParallel``, as
``ppclas train --devices`` runs it. Rounds go turn by turn, a row is the median. Of the all-reduce's
times over several sizes a latency and a bandwidth are fitted.

Computed, for GPUs: a ring's all-reduce of the gradients (2 (n - 1) / n of their bytes over the
slowest link, 2 (n - 1) times the latency), hidden behind the part of the step that is backward,
beside the published throughput of Paddle's ResNet50 on one and eight A100s. What is printed says
which of the two each number is.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SIZES = (10_000, 100_000, 1_000_000, 4_000_000)
"""Of the messages whose times are fitted, in numbers."""
ONE_A100, EIGHT_A100 = 2711.0, 20_267.0
"""Images per second of ResNet50 with AMP, PaddlePaddle's published figures (DeepLearningExamples,
PaddlePaddle/Classification/RN50v1.5, training performance on DGX A100, TF32 off)."""
RESNET50_PARAMETERS, IMAGES_PER_GPU = 25.6e6, 256
LINKS = {
    "NVLink 3, one machine": (300e9 / 2, 5e-6),
    "InfiniBand HDR, 8 x 200 Gb/s per machine": (25e9, 10e-6),
    "Ethernet, 100 Gb/s per machine": (12.5e9 / 8, 30e-6),
}
"""Bytes per second and direction of one GPU's share, seconds per message."""
BACKWARD = 2 / 3
"""Of a step: twice the multiplications of the forward pass."""


def rank_work(model: str, size: int, batch: int, rounds: int) -> None:
    """What one rank measures; rank 0 prints it as JSON."""
    import paddle
    from paddle import distributed, nn
    from ppclas_core.models import create_model

    ranks = int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))
    paddle.set_device("cpu")
    if ranks > 1:
        distributed.init_parallel_env()
    paddle.seed(0)
    net = create_model(model, 10)
    net.train()
    images, labels = paddle.randn([batch, 3, size, size]), paddle.zeros([batch], "int64")
    loss = nn.CrossEntropyLoss()
    parameters = [p for p in net.parameters() if not p.stop_gradient]
    count = sum(p.size for p in parameters)
    optimizer = paddle.optimizer.Momentum(1e-3, parameters=parameters)

    def step(layer: nn.Layer) -> None:
        loss(layer(images), labels).backward()
        optimizer.step()
        optimizer.clear_grad()

    def sum_of(numbers: int) -> Callable[[], None]:
        message = paddle.zeros([numbers])
        return lambda: distributed.all_reduce(message)

    # The reducer's hooks stay on the parameters, so the plain loop has a model of its own.
    works: dict[str, Callable[[], None]] = {"compute": lambda: step(net)}
    if ranks > 1:
        works |= {f"sum {numbers}": sum_of(numbers) for numbers in (*SIZES, count)}
        twin = create_model(model, 10)
        twin.train()
        own = [p for p in twin.parameters() if not p.stop_gradient]
        update = paddle.optimizer.Momentum(1e-3, parameters=own)
        parallel = paddle.DataParallel(twin, find_unused_parameters=True)

        def parallel_step() -> None:
            loss(parallel(images), labels).backward()
            update.step()
            update.clear_grad()

        works["step"] = parallel_step
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):  # the first is warm-up
        for name, work in works.items():
            if ranks > 1:
                distributed.barrier()
            began = time.perf_counter()
            work()
            if turn:
                taken[name].append(time.perf_counter() - began)
    if int(os.environ.get("PADDLE_TRAINER_ID", "0")) == 0:
        medians = {name: statistics.median(times) for name, times in taken.items()}
        print(json.dumps({"parameters": count, **medians}), flush=True)


def measure(ranks: int, arguments: list[str]) -> dict[str, float]:
    """Start ``ranks`` of one thread and read what rank 0 says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoints = [f"127.0.0.1:{port + rank}" for rank in range(ranks)]
    processes = []
    for rank in range(ranks):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PADDLE_DISTRI_BACKEND": "gloo"}
        if ranks > 1:
            environment |= {
                "PADDLE_TRAINER_ID": str(rank),
                "PADDLE_TRAINERS_NUM": str(ranks),
                "PADDLE_MASTER": endpoints[0],
                "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints),
                "PADDLE_CURRENT_ENDPOINT": endpoints[rank],
            }
        processes.append(
            subprocess.Popen(
                [sys.executable, str(Path(__file__).resolve()), *arguments, "--as-rank"],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
    outputs = [process.communicate()[0] for process in processes]
    lines = [line for line in outputs[0].splitlines() if line.startswith("{")]
    found: dict[str, float] = json.loads(lines[-1])
    return found


def fit(measured: dict[str, float], ranks: int) -> tuple[float, float]:
    """Latency in seconds and bandwidth in bytes per second of a ring of ``ranks``."""
    hops = 2 * (ranks - 1)
    messages = np.array([[hops, hops / ranks * 4 * numbers] for numbers in SIZES])
    times = np.array([measured[f"sum {numbers}"] for numbers in SIZES])
    # Relative errors count: the times span three powers of ten.
    latency, per_byte = np.linalg.lstsq(messages / times[:, None], np.ones(len(SIZES)), rcond=None)[
        0
    ]
    return max(float(latency), 0.0), 1 / max(float(per_byte), 1e-12)


def efficiency(gpus: int, bandwidth: float, latency: float) -> float:
    """Throughput of ``gpus`` over that of as many alone, for ResNet50 with images as published."""
    step = IMAGES_PER_GPU / ONE_A100
    ring = 2 * (gpus - 1)
    message = ring * latency + ring / gpus * 4 * RESNET50_PARAMETERS / bandwidth
    return step / (step + max(0.0, message - BACKWARD * step))


def main() -> None:
    """Measure, fit, compute, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="MobileNetV3_small_x1_0")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16, help="images a rank")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--as-rank", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.as_rank:
        rank_work(given.model, given.size, given.batch, given.rounds)
        return
    passed = [f"--{key}={getattr(given, key)}" for key in ("model", "size", "batch", "rounds")]
    print(f"{given.model} at {given.size} pixels, {given.batch} images a rank, one thread a rank")
    print("measured   ranks  compute  sum of gradients  DataParallel  images/s against one rank")
    alone = 0.0
    for ranks in given.ranks:
        found = measure(ranks, passed)
        step = found.get("step", found["compute"])
        alone = alone or step
        summed = found.get(f"sum {int(found['parameters'])}", 0.0)
        print(
            f"{ranks:16d}  {1e3 * found['compute']:5.0f} ms  {1e3 * summed:13.1f} ms  "
            f"{1e3 * step:9.0f} ms  {ranks * alone / step:10.2f}"
        )
        if ranks > 1:
            latency, bandwidth = fit(found, ranks)
            print(
                f"{'':16}  all-reduce: {1e6 * latency:.0f} us a hop, "
                f"{bandwidth / 1e9:.2f} GB/s a rank"
            )
    print()
    print(f"published  ResNet50 on eight A100s: {EIGHT_A100 / ONE_A100 / 8:.3f} of eight alone")
    print("computed   GPUs   " + "   ".join(LINKS))
    for gpus in (8, 16, 32, 64, 128, 256, 512):
        row = [
            "–" if gpus > 8 and name.startswith("NVLink") else f"{efficiency(gpus, *link):.3f}"
            for name, link in LINKS.items()
        ]
        print(
            f"{gpus:15d}   "
            + "   ".join(f"{cell:>{len(name)}}" for cell, name in zip(row, LINKS, strict=True))
        )


if __name__ == "__main__":
    main()
