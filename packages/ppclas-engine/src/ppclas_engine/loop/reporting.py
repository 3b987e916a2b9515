"""What a run says of itself: the line of an epoch, facts beside the bar, pictures, the report."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ppclas_engine.console import duration
from ppclas_engine.loop.progress import Progress, Totals
from ppclas_engine.planning.plan import Plan
from ppclas_engine.profile import cost_facts
from ppclas_engine.results.model_card import write_model_card
from ppclas_engine.results.report import run_page, write_report
from ppclas_engine.results.tables import read_tables
from ppclas_engine.runs.run import RunFolder
from ppclas_engine.scoring.evaluate import Evaluation
from ppclas_engine.scoring.monitor import format_metric

if TYPE_CHECKING:
    from ppclas_core.contracts.image_model import ImageModel

RAW, EMA, MEAN, HALFWAY = "raw", "ema", "mean", "halfway"
"""The weights as they are, their moving average, the mean of the last epochs' ones, and half way
between the fitted classifier on frozen features and them."""


def columns(evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Metrics for a row of ``metrics.jsonl``; of averaged weights as ``ema_…``, ``mean_…``."""
    row = evaluations[RAW].summary()
    for weights, evaluation in evaluations.items():
        if weights != RAW:
            row |= {f"{weights}_{key}": value for key, value in evaluation.metrics.items()}
    return row


def epoch_line(row: Mapping[str, Any], epochs: int, better: bool, monitor: str) -> str:
    """The console's line for a row of ``metrics.jsonl``."""
    parts = [
        f"epoch {row['epoch']}/{epochs}"
        if row["epoch"]
        else "classifier fitted to the frozen features"
    ]
    if row["train_loss"] is not None:
        parts.append(f"train loss {row['train_loss']:.4f}")
    if row["train_top1"] is not None:
        parts.append(f"train top-1 {row['train_top1']:.2%}")
    # The usual first, then what decides.
    shown = [
        name
        for name in ("loss", "top1", "map", "macro_f1")
        if name in row and (name != "macro_f1" or "map" in row)
    ]
    shown += [monitor] if monitor in row and monitor not in shown else []
    parts += [
        f"{format_metric(name, row[name])}{' (best)' if better and name == monitor else ''}"
        for name in shown
    ]
    for prefix, whose in (
        (EMA, "the average"),
        (MEAN, "the last epochs' mean"),
        (HALFWAY, "the mean with the start"),
    ):
        if f"{prefix}_{monitor}" in row:
            said = format_metric(monitor, row[f"{prefix}_{monitor}"])
            title, _, value = said.rpartition(" ")
            parts.append(f"{title} of {whose} {value}")
    if row["images_per_second"] is not None:
        parts.append(
            f"{row['images_per_second']:.1f} img/s, {row['wait_share']:.0%} waiting for data"
        )
    return "  ".join(parts)


def step_facts(totals: Totals, rate: float, steps_done: int, steps_left: int) -> str:
    """What stands beside the bar, most important first; ``totals`` sum over ``steps_done``."""
    seconds = totals.seconds
    speed = totals.images / seconds if seconds else 0.0
    wait = totals.wait / seconds if seconds else 0.0
    left = steps_left * seconds / max(steps_done, 1)
    loss = totals.loss / max(totals.images, 1)
    facts = (
        *(f"{duration(left)} left", f"loss {loss:.4f}", f"{speed:.1f} img/s"),
        *(f"wait {wait:.0%}", _memory(), f"lr {rate:.2e}"),
    )
    return "  ".join(fact for fact in facts if fact)


class Pictures:
    """Pictures and ``report.html`` of a run: drawn at its end, and before if that costs little."""

    SHARE = 0.01
    """Of the run's time that pictures may take before its end."""

    def __init__(self, run: RunFolder, plan: Plan, model: ImageModel) -> None:
        self._run, self._plan, self._model = run, plan, model
        self._costs: dict[str, str] | None = None
        self._began = time.monotonic()
        self._last, self._spent = 5.0, 0.0  # seconds; the first guess is a slow one

    def draw(self, progress: Progress, *, force: bool = False) -> None:
        """Draw them; without ``force`` only while they keep to their share of the time so far."""
        started = time.monotonic()
        if not force and self._spent + self._last > self.SHARE * (started - self._began):
            return
        tables = read_tables(self._run.path)
        if tables is not None and progress.best is not None:
            if self._costs is None:
                self._costs = cost_facts(self._model, self._plan.config.data.image_size or 224)
            page = run_page(
                *(self._run, self._plan, progress.history, progress.best),
                *(progress.seconds, self._costs),
            )
            write_report(self._run.path, page, tables, self._plan.val)
            write_model_card(self._run.bundle, self._plan, progress.best, tables)
        self._last = time.monotonic() - started
        self._spent += self._last


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
