"""Training steps of ppclas against a hand-written Paddle loop: same model, batch and optimizer,
photos in memory.

    python benchmarks/step_overhead.py [--model NAME] [--size PIXELS] [--batch N] [--minutes N]
    [--steps N]

Both loops run in one process, turn by turn, so that a busy machine slows both; a row is the median
over rounds of the ratio within a round. Ours gets bytes and normalises them, counts right answers,
checks every gradient for numbers that are not finite, follows a schedule, calls the hooks and keeps
the progress line; the bare loop gets float tensors that are ready, and does nothing but forward,
loss, backward and step. Needs nothing beyond the packages themselves.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    OptimizerSection,
    TrainSection,
)
from ppclas_core.models import create_model
from ppclas_data.loading.loader import Batch
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.console import Console
from ppclas_engine.loop.train import Trainer
from ppclas_engine.runs.run import RunFolder
from ppclas_engine.session import plan_run

CLASSES = 10


class InMemory:
    """A loader whose batches are there already."""

    def __init__(self, batches: list[Batch]) -> None:
        self._batches = batches

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """All of them."""
        return iter(self._batches[start:])


def make_ours(model: str, size: int, batch: int, steps: int, folder: Path) -> Callable[[], None]:
    """An epoch of ``steps`` steps of the engine's own loop."""
    photos, _ = make_tiny_dataset(
        folder / "photos", classes=CLASSES, per_class=-(-batch * steps // CLASSES) * 5 // 4
    )
    config = Config(
        model=ModelSection(name=model, pretrained=False),
        data=DataSection(train=str(photos), image_size=size, batch_size=batch, workers=0),
        optimizer=OptimizerSection(name="Momentum"),
        schedule=ComponentConfig(name="Cosine", lr=0.01),
        train=TrainSection(
            epochs=10_000, device="cpu", checkpoint_minutes=1e6, log_every=10, bad_steps=1000
        ),
    )
    trainer = Trainer(plan_run(config), RunFolder(folder / "run"), Console(quiet=True))
    rng = np.random.default_rng(0)
    batches = [
        Batch(
            rng.integers(0, 256, (batch, size, size, 3)).astype(np.uint8),
            rng.integers(0, CLASSES, batch),
            np.arange(batch),
            position,
            0.0,
        )
        for position in range(steps)
    ]
    loader: Any = InMemory(batches)
    trainer._train_loader = loader

    def run() -> None:
        trainer._progress.step_in_epoch = 0
        trainer._train_epoch(threading.Event())

    return run


def make_bare(model: str, size: int, batch: int, steps: int) -> Callable[[], None]:
    """The same in plain Paddle."""
    import paddle

    net = create_model(model, CLASSES)
    net.train()
    optimizer = paddle.optimizer.Momentum(0.01, 0.9, parameters=net.parameters(), weight_decay=1e-4)
    criterion = paddle.nn.CrossEntropyLoss()
    rng = np.random.default_rng(0)
    batches = [
        (
            paddle.to_tensor(rng.normal(size=(batch, 3, size, size)).astype(np.float32)),
            paddle.to_tensor(rng.integers(0, CLASSES, batch)),
        )
        for _ in range(steps)
    ]

    def run() -> None:
        for images, labels in batches:
            loss = criterion(net(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()

    return run


def seconds(run: Callable[[], None]) -> float:
    """CPU time of ``run``: what else the machine does hardly changes it."""
    started = time.process_time()
    run()
    return time.process_time() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description="Training steps of ppclas against a bare Paddle loop."
    )
    parser.add_argument("--model", default="MobileNetV3_small_x1_0")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=3, help="In a round.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours = make_ours(given.model, given.size, given.batch, given.steps, Path(folder))
        bare = make_bare(given.model, given.size, given.batch, given.steps)
        ours(), bare()  # the first steps allocate
        rounds: list[tuple[float, float]] = []
        deadline = time.monotonic() + 60.0 * given.minutes
        while time.monotonic() < deadline or len(rounds) < 4:
            # Who goes first changes, as the second finds warmer caches.
            first, second = (ours, bare) if len(rounds) % 2 else (bare, ours)
            times = {first: seconds(first), second: seconds(second)}
            rounds.append((times[bare], times[ours]))
    images = given.steps * given.batch
    ratios = sorted(one / other for one, other in rounds)
    quarter = len(ratios) // 4
    head = f"{'model':<26}{'pixels':>7}{'batch':>6}{'bare img/s':>12}{'ours img/s':>12}{'ratio':>8}"
    print(f"{head}  middle half of {len(rounds)} rounds")
    print(
        f"{given.model:<26}{given.size:>7}{given.batch:>6}"
        f"{images / statistics.median(one for one, _ in rounds):>12.1f}"
        f"{images / statistics.median(other for _, other in rounds):>12.1f}"
        f"{statistics.median(ratios):>8.3f}  {ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f}"
    )


if __name__ == "__main__":
    main()
