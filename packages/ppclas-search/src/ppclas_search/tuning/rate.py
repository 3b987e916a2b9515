"""``ppclas train --lr find``: a learning rate from a range test.

Paper: "Cyclical Learning Rates for Training Neural Networks", Smith 2017, section 3.3,
https://arxiv.org/abs/1506.01186. The rate rises from step to step while the loss is watched.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ppclas_core.errors import TrainingError
from ppclas_core.hookspecs import hookimpl
from ppclas_engine.console import Console
from ppclas_engine.planning.plan import Plan

from ppclas_search.tuning.trial import trial_of
from ppclas_search.writing import write_bytes, write_csv

if TYPE_CHECKING:
    from ppclas_core.contracts.training import TrainContext

STEPS = 80
_FROM, _TO = 1e-3, 1e3
"""Rates that are tried, as factors of the one that the rules give."""
_SMOOTH = 0.85
_DIVERGED = 3.0
"""Times the lowest loss from which on it has diverged."""
_FEWEST = 10
_MARGIN = 10.0


@dataclass(frozen=True)
class RangeTest:
    """The loss while the rate rises."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """Of each step's photos, before the step."""
    smooth: tuple[float, ...]
    """The running mean of the losses, each with weight 0.15."""
    taken: float
    """A tenth of the rate at which ``smooth`` was lowest, two digits of it."""
    lowest: float
    diverged: bool
    """Whether the test ended early, with a loss three times the lowest."""

    def why(self) -> str:
        """A sentence for the person."""
        end = (
            f"diverged at {self.rates[-1]:.2g}"
            if self.diverged
            else f"did not diverge up to {self.rates[-1]:.2g}"
        )
        return (
            f"learning rate {self.taken:g}: a tenth of {self.lowest:.2g}, where the loss was "
            f"lowest while the rate rose; it {end} (lr_find.png in the run)"
        )


def judge(rates: Sequence[float], losses: Sequence[float], *, diverged: bool = False) -> RangeTest:
    """What the losses say, the first of which are at the smallest rates.

    The loss falls until the rate is 0.1 and rises behind it; its running mean is lowest later:

    >>> rates = [10.0 ** (step / 5 - 4) for step in range(20)]
    >>> found = judge(rates, [abs(step - 15) + 1.0 for step in range(20)])
    >>> round(found.lowest, 3), found.taken
    (0.398, 0.04)
    """
    smooth, mean = [], 0.0
    for number, loss in enumerate(losses, 1):
        mean = _SMOOTH * mean + (1 - _SMOOTH) * loss
        smooth.append(mean / (1 - _SMOOTH**number))
    # The first means are of few steps.
    start = min(_FEWEST // 2, len(smooth) - 1)
    place = start + int(np.argmin(smooth[start:]))
    taken = float(f"{rates[place] / _MARGIN:.2g}")
    return RangeTest(tuple(rates), tuple(losses), tuple(smooth), taken, rates[place], diverged)


def find_rate(plan: Plan, console: Console, *, steps: int = STEPS) -> RangeTest:
    """Raise the rate over ``steps`` steps of training, from the plan's weights on, and judge.

    Nothing of it stays: the training starts from the same weights.

    Raises:
        ConfigError: the plan is for several devices.
        TrainingError: the loss was not finite from the start.
    """
    rule = float(plan.config.schedule.params["lr"])
    wanted = np.geomspace(rule * _FROM, rule * _TO, steps).tolist()
    rates: list[float] = []
    losses: list[float] = []
    lowest, mean, diverged = math.inf, 0.0, False
    with trial_of(plan, console, "--lr find") as trial:
        trial.fit_head(console)
        with console.bar("finding a learning rate", steps) as bar:
            for number, (rate, batch) in enumerate(
                zip(wanted, trial.batches(steps), strict=False), 1
            ):
                sums = trial.step(batch, rate, number - 1)
                loss = sums.loss / max(sums.images, 1)
                if sums.bad or not math.isfinite(loss):
                    diverged = True
                    break
                rates.append(rate)
                losses.append(loss)
                mean = _SMOOTH * mean + (1 - _SMOOTH) * loss
                smooth = mean / (1 - _SMOOTH**number)
                lowest = min(lowest, smooth) if number >= _FEWEST // 2 else lowest
                bar.advance(f"rate {rate:.2g}  loss {smooth:.3f}")
                if number > _FEWEST and smooth > _DIVERGED * lowest:
                    diverged = True
                    break
    if len(losses) < _FEWEST:
        raise TrainingError(
            f"--lr find: the loss was not finite after {len(losses)} steps at tiny rates. Give a "
            "rate (--lr 0.001), and see what 'ppclas data check' says."
        )
    return judge(rates, losses, diverged=diverged)


def with_rate(plan: Plan, found: RangeTest) -> Plan:
    """The plan at the rate that was found."""
    schedule = plan.config.schedule.replace(lr=found.taken)
    notes = (*(note for note in plan.notes if not note.startswith("learning rate")), found.why())
    return replace(plan, config=plan.config.replace(schedule=schedule), notes=notes)


class KeepCurve:
    """A plugin that writes ``lr_find.png`` and ``lr_find.csv`` into the run when it begins."""

    def __init__(self, found: RangeTest) -> None:
        self._found = found

    @hookimpl
    def on_train_start(self, context: TrainContext) -> None:
        """Write them."""
        write_curve(self._found, context.run)


def write_curve(found: RangeTest, folder: Path) -> None:
    """``lr_find.csv``, a row for each step, and ``lr_find.png``."""
    rows = [
        {"rate": rate, "loss": loss, "smooth": smooth}
        for rate, loss, smooth in zip(found.rates, found.losses, found.smooth, strict=True)
    ]
    write_csv(folder / "lr_find.csv", rows, ["rate", "loss", "smooth"])
    # matplotlib takes its time to import.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, color="#93c5fd", linewidth=1, label="loss of a step")
    axes.plot(found.rates, found.smooth, color="#2563eb", label="running mean")
    axes.axvline(found.lowest, color="#6b7280", linestyle=":", label=f"lowest: {found.lowest:.2g}")
    axes.axvline(found.taken, color="#ea580c", label=f"taken: {found.taken:g}")
    axes.set_xscale("log")
    axes.set_ylim(0, min(max(found.losses), 2.5 * max(found.smooth[0], min(found.smooth))) * 1.05)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_bytes(folder / "lr_find.png", content.getvalue())
