"""What a run says of itself: the line of an epoch, tables of its evaluation, pictures."""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppclas_core.engine.evaluate import Evaluation
from ppclas_core.engine.pictures import draw_confusion, draw_curves
from ppclas_core.engine.progress import Totals
from ppclas_core.engine.run import RunFolder
from ppclas_core.files import write_text

RAW, EMA, MEAN = "raw", "ema", "mean"
"""The weights as they are, their moving average, and the mean of the last epochs' ones."""
_SECONDS_BETWEEN_PICTURES = 30.0


def columns(evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Their metrics for a row of ``metrics.jsonl``; those of averaged weights as ``ema_…`` and ``mean_…``."""
    row = evaluations[RAW].summary()
    for weights, evaluation in evaluations.items():
        if weights != RAW:
            row |= {f"{weights}_{key}": value for key, value in evaluation.metrics.items()}
    return row


def goal(row: Mapping[str, Any]) -> float:
    """What training is to raise, a share in 0..1."""
    value: float = row["top1"]
    return value


def is_better(row: Mapping[str, Any], best: Mapping[str, Any] | None) -> bool:
    """Whether an evaluation beats the best one so far: by top-1, then by loss."""
    return best is None or (row["top1"], -row["loss"]) > (best["top1"], -best["loss"])


def epoch_line(row: Mapping[str, Any], epochs: int, better: bool) -> str:
    """The console's line for a row of ``metrics.jsonl``."""
    parts = [f"epoch {row['epoch']}/{epochs}" if row["epoch"] else "classifier fitted to the frozen features"]
    if row["train_loss"] is not None:
        parts.append(f"train loss {row['train_loss']:.4f}")
    if row["train_top1"] is not None:
        parts.append(f"train top-1 {row['train_top1']:.1%}")
    if "top1" in row:
        parts += [f"loss {row['loss']:.4f}", f"top-1 {row['top1']:.2%}{' (best)' if better else ''}"]
    if "ema_top1" in row:
        parts.append(f"top-1 of the average {row['ema_top1']:.2%}")
    if "mean_top1" in row:
        parts.append(f"top-1 of the last epochs' mean {row['mean_top1']:.2%}")
    if row["images_per_second"] is not None:
        parts.append(f"{row['images_per_second']:.1f} img/s, {row['wait_share']:.0%} waiting for data")
    return "  ".join(parts)


def step_facts(totals: Totals, rate: float, steps_done: int, steps_left: int) -> str:
    """What stands beside the bar; ``steps_done`` are those that ``totals`` sums over."""
    seconds = totals.seconds
    speed = totals.images / seconds if seconds else 0.0
    wait = totals.wait / seconds if seconds else 0.0
    left = steps_left * seconds / max(steps_done, 1)
    return (
        f"loss {totals.loss / max(totals.images, 1):.4f}  lr {rate:.2e}  {speed:.1f} img/s  "
        f"wait {wait:.0%}  {_memory()}  {_duration(left)} left"
    )


def write_tables(run: RunFolder, evaluation: Evaluation) -> None:
    """``per_class.csv`` and ``confusion.csv`` of the best epoch."""
    table = io.StringIO()
    writer = csv.DictWriter(table, list(evaluation.per_class[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(evaluation.per_class)
    write_text(run.path / "per_class.csv", table.getvalue())
    table = io.StringIO()
    names = [str(row["class"]) for row in evaluation.per_class]
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["true \\ predicted", *names])
    rows.writerows([name, *counts] for name, counts in zip(names, evaluation.confusion.tolist(), strict=True))
    write_text(run.path / "confusion.csv", table.getvalue())


class Pictures:
    """``curves.png`` and ``confusion.png``, drawn again now and then: matplotlib takes its time."""

    def __init__(self, run: RunFolder, class_names: tuple[str, ...]) -> None:
        self._run, self._class_names = run, class_names
        self._last = 0.0

    def draw(self, history: Sequence[Mapping[str, Any]], *, force: bool = False) -> None:
        """Draw them, unless that was done a moment ago and ``force`` is off."""
        if not force and time.monotonic() - self._last < _SECONDS_BETWEEN_PICTURES:
            return
        self._last = time.monotonic()
        draw_curves(history, self._run.path / "curves.png")
        table = self._run.path / "confusion.csv"
        if table.exists():
            counts = _read_confusion(table, len(self._class_names))
            draw_confusion(counts, self._class_names, self._run.path / "confusion.png")


def _read_confusion(path: Path, num_classes: int) -> NDArray[np.int64]:
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return np.array([row[1:] for row in rows], dtype=np.int64).reshape(num_classes, num_classes)


def _memory() -> str:
    """The most that this process has used: on a GPU of its memory, else of the machine's."""
    import paddle

    if paddle.get_device().startswith("gpu"):
        return f"{paddle.device.cuda.max_memory_reserved() / 2**30:.1f} GB"
    try:
        import resource
    except ImportError:  # Windows
        return ""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes, except on macOS, which counts bytes.
    return f"{peak / (2**30 if sys.platform == 'darwin' else 2**20):.1f} GB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
