"""Which metric decides what the best epoch is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ppclas_core.config.schema import Task
from ppclas_core.contracts.training import Metric
from ppclas_core.errors import ConfigError
from ppclas_core.wording import near_names

from ppclas_engine.scoring.evaluate import score

MAIN: Mapping[Task, str] = {"classification": "top1", "multilabel": "map"}
"""The metric that decides where the config names none."""
_LOWER_IS_BETTER = frozenset(("loss", "ece"))

TITLES: Mapping[str, str] = {
    "loss": "loss",
    "top1": "top-1",
    "top5": "top-5",
    "map": "mAP",
    "auroc": "AUROC",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "exact_match": "exact match",
    "ece": "ECE",
}
"""How people write the metrics' names."""


def plan_monitor(
    wanted: str | None, task: Task, metrics: Sequence[Metric], class_names: tuple[str, ...]
) -> str:
    """The metric ``wanted``, or the task's main one.

    Raises:
        ConfigError: no evaluation of this task gives it; the message lists what does.
    """
    if wanted is None:
        return MAIN[task]
    known = metric_names(task, metrics, class_names)
    if wanted not in known:
        near = near_names(wanted, known)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"train.monitor: no evaluation gives {wanted!r}. {hint}It gives: {', '.join(known)}."
        )
    return wanted


def metric_names(task: Task, metrics: Sequence[Metric], class_names: tuple[str, ...]) -> list[str]:
    """What an evaluation with ``metrics`` names its results: asked of one of two made-up images."""
    logits = np.zeros((2, len(class_names)), np.float32)
    labels = (
        np.zeros(2, np.int64)
        if task == "classification"
        else np.zeros((2, len(class_names)), np.float32)
    )
    return list(score(logits, labels, np.arange(2), class_names, metrics).metrics)


def gain(row: Mapping[str, Any], before: Mapping[str, Any], monitor: str) -> float:
    """How much better ``row`` is than ``before`` by ``monitor``; negative where it is worse."""
    difference = float(row[monitor]) - float(before[monitor])
    return -difference if monitor in _LOWER_IS_BETTER else difference


def is_better(row: Mapping[str, Any], best: Mapping[str, Any] | None, monitor: str) -> bool:
    """Whether an evaluation beats the best one so far: by ``monitor``, then by loss."""
    return best is None or (gain(row, best, monitor), gain(row, best, "loss")) > (0.0, 0.0)


def height(row: Mapping[str, Any], monitor: str) -> float:
    """What training is to raise: ``monitor`` of the row's best weights; losses are negated."""
    values = [float(row[name]) for name in (monitor, f"ema_{monitor}") if name in row]
    return max(-value if monitor in _LOWER_IS_BETTER else value for value in values)


def in_percent(name: str) -> bool:
    """Whether a metric is a share that people read in per cent: no loss, no calibration error."""
    return name.startswith("top") or (name in TITLES and name not in _LOWER_IS_BETTER)


def format_metric(name: str, value: float) -> str:
    """``top-1 93.14%``: losses, calibration errors and a plugin's metrics as numbers."""
    return (
        f"{TITLES.get(name, name)} {value:.2%}"
        if in_percent(name)
        else (f"{TITLES.get(name, name)} {value:.4f}")
    )
