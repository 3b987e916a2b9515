"""``curves.png`` and ``confusion.png``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppclas_core.files import write_atomic

_LABELLED_CELLS = 24
"""Up to so many classes the cells carry their counts and the axes their names."""


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Loss, accuracy and learning rate over the epochs in ``rows`` (of ``metrics.jsonl``)."""
    figure = _figure(12, 3.6)
    loss, accuracy, rate = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in rows]
    for axes, title, curves in (
        (loss, "Loss", {"train_loss": "training", "loss": "validation"}),
        (
            accuracy,
            "Accuracy",
            {"train_top1": "training top-1", "top1": "validation top-1", "top5": "validation top-5"},
        ),
        (rate, "Learning rate", {"lr": "at the end of the epoch"}),
    ):
        for key, label in curves.items():
            points = [(epoch, row[key]) for epoch, row in zip(epochs, rows, strict=True) if row.get(key) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize=8)
    accuracy.set_ylim(top=1.005)
    _save(figure, path)


def draw_confusion(confusion: NDArray[np.int64], class_names: Sequence[str], path: Path) -> None:
    """A confusion matrix [C, C] with true classes as rows; the colour is the share of the row."""
    count = len(class_names)
    labelled = count <= _LABELLED_CELLS
    side = min(max(4.0, 0.45 * count + 2.5), 14.0)
    figure = _figure(side + 0.8, side)
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(picture, ax=axes, fraction=0.046, label="share of the true class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    correct, total = int(np.trace(confusion)), int(confusion.sum())
    axes.set_title(f"{correct} of {total} right ({correct / max(total, 1):.1%})")
    if labelled:
        axes.set_xticks(range(count), class_names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_yticks(range(count), class_names, fontsize=8)
        for row, column in np.argwhere(confusion):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, int(confusion[row, column]), ha="center", va="center", fontsize=8, color=colour)
    _save(figure, path)


def _figure(width: float, height: float) -> Any:
    # Paddle lets every library's INFO lines through; matplotlib's are about its font cache.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    # The figure class alone: pyplot would pick a window system and keep every figure alive.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=110)


def _save(figure: Any, path: Path) -> None:
    with warnings.catch_warnings():
        # Class names in scripts that the default font lacks are drawn as boxes; the names stand in report files too.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        write_atomic(path, lambda temporary: figure.savefig(temporary, format="png"))
