"""``curves.png``, ``confusion.png``, ``reliability.png`` and ``mistakes.png``."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_components.confusion import Confusion
from ppclas_components.metrics import Reliability
from ppclas_core.files import write_atomic
from ppclas_data.inspection.thumbnails import thumbnail
from rich.cells import cell_len, chop_cells

from ppclas_engine.results.fonts import families, in_words
from ppclas_engine.results.tables import Answer

MISTAKES = 24
"""Photos on ``mistakes.png``."""
_COLUMNS = 6
MATRIX_CLASSES = 40
"""Up to so many classes are shown as a matrix; of more, those that go wrong are named instead."""
_COUNTED = 30
"""Up to so many its cells carry their counts."""
_LISTED = 20
"""Most frequent confusions that stand beside a matrix."""

_LEFT_TO_RIGHT = "\u200e"
"""After a name that may be Arabic: what follows stands to its right all the same."""

_BLUE, _LIGHT_BLUE, _ORANGE, _GREEN, _RED, _GREY = (
    "#2563eb",
    "#93c5fd",
    "#ea580c",
    "#15803d",
    "#b91c1c",
    "#6b7280",
)

_COLOURS = {"right": _GREEN, "missed": _ORANGE, "wrong": _RED}

_CURVES = (
    ("Loss", {"train_loss": ("training", _ORANGE), "loss": ("validation", _BLUE)}),
    (
        "Accuracy",
        {
            "train_top1": ("training top-1", _ORANGE),
            "top1": ("validation top-1", _BLUE),
            "top5": ("validation top-5", _LIGHT_BLUE),
            "ema_top1": ("top-1 of the average", _GREEN),
            "map": ("validation mAP", _BLUE),
            "macro_f1": ("validation macro F1", _GREEN),
            "auroc": ("validation AUROC", _LIGHT_BLUE),
            "ema_map": ("mAP of the average", "#a3a3a3"),
        },
    ),
    ("Learning rate", {"lr": ("at the end of the epoch", _GREY)}),
)


def draw_curves(
    rows: Sequence[Mapping[str, Any]], path: Path, best_epoch: int | None = None
) -> None:
    """Loss, accuracy and learning rate over the epochs in ``rows`` (of ``metrics.jsonl``)."""
    figure = _figure(12.5, 3.8)
    several = any("map" in row for row in rows)
    for axes, (title, curves) in zip(figure.subplots(1, 3), _CURVES, strict=True):
        drawn = False
        for key, (label, colour) in curves.items():
            if key == "macro_f1" and not several:
                continue
            points = [(row["epoch"], row[key]) for row in rows if row.get(key) is not None]
            if points:
                axes.plot(
                    *zip(*points, strict=True), marker="o", markersize=3, color=colour, label=label
                )
                drawn = True
        if best_epoch is not None and title != "Learning rate":
            axes.axvline(
                best_epoch,
                color=_GREY,
                linewidth=1,
                linestyle=":",
                label=f"best epoch ({best_epoch})",
            )
        axes.set_title("Ranking and labels" if title == "Accuracy" and several else title)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if title == "Accuracy":
            axes.set_ylim(top=1.005)
            axes.yaxis.set_major_formatter(lambda x, _: f"{100 * x:.4g}%" if x <= 1 else "")
        if title == "Loss":
            axes.set_ylim(bottom=0)
        if drawn:
            axes.legend(fontsize=8, frameon=False)
    _save(figure, path)


def draw_confusion(confusion: Confusion, class_names: Sequence[str], path: Path) -> None:
    """A confusion matrix, true classes as rows: right ones blue, confusions red, and the
    most frequent ones; of more than 40 classes those alone.

    The colour is the share of the row; that of confusions is stretched so that rare ones show.
    """
    many = len(class_names) > MATRIX_CLASSES
    side = 7.0 if many else max(4.6, 0.36 * len(class_names) + 2.4)
    listed = top_confusions(confusion, class_names, _LISTED if side > 6 else 10)
    figure = _figure(side + (4.2 if listed and not many else 0.6), side)
    correct, total = int(confusion.hits.sum()), int(confusion.count.sum())
    title = f"{correct} of {total} right ({correct / max(total, 1):.2%})"
    if many:
        figure.suptitle(title, fontsize=11)
        beside = figure.subplots()
    elif listed:
        axes, beside = figure.subplots(1, 2, width_ratios=[side, 3.6])
    else:
        axes = figure.subplots()
    if not many:
        axes.set_title(title)
        _draw_matrix(axes, confusion.matrix(), class_names)
    if listed or many:
        _list_confusions(beside, listed)
    _save(figure, path)


def _draw_matrix(axes: Any, confusion: NDArray[np.int64], class_names: Sequence[str]) -> None:
    count = len(class_names)
    axes.imshow(_matrix_colours(confusion), interpolation="nearest")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    names = [_short(in_words(name), 28) for name in class_names]
    few = count <= 12
    axes.set_xticks(
        range(count), names, rotation=45 if few else 90, ha="right" if few else "center"
    )
    axes.set_yticks(range(count), names)
    axes.tick_params(labelsize=9 if count <= _COUNTED else 6.5, length=2)
    if count <= _COUNTED:
        shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
        for row, column in np.argwhere(confusion):
            dark = shares[row, column] > (
                0.55 if row == column else 0.75 * max(_largest_confusion(shares), 0.2)
            )
            colour, number = "white" if dark else "black", int(confusion[row, column])
            axes.text(column, row, number, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e5e7eb", linewidth=0.6)
    axes.tick_params(which="minor", length=0)


def top_confusions(
    confusion: Confusion, class_names: Sequence[str], limit: int = _LISTED
) -> list[tuple[str, str, int, int]]:
    """(true class, predicted class, count, images of the true class) of the largest confusions."""
    wrong = confusion.true != confusion.predicted
    rows, columns = confusion.true[wrong], confusion.predicted[wrong]
    counts, totals = confusion.count[wrong], confusion.support
    return [
        (class_names[rows[i]], class_names[columns[i]], int(counts[i]), int(totals[rows[i]]))
        for i in np.argsort(-counts, kind="stable")[:limit]
    ]


def draw_reliability(curve: Reliability, path: Path, *, several: bool = False) -> None:
    """How often answers of a given confidence are right, their number, the calibration error."""
    bins = len(curve.count)
    left, width = np.arange(bins) / bins, 1.0 / bins
    filled = curve.count > 0
    total = max(int(curve.count.sum()), 1)
    error = float((np.abs(curve.accuracy - curve.confidence) * curve.count).sum() / total)
    figure = _figure(5.6, 6.0)
    top, below = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    right, sure, middle = curve.accuracy[filled], curve.confidence[filled], left[filled] + width / 2
    top.bar(middle, right, width * 0.94, color=_LIGHT_BLUE, label="right")
    for height, colour, label in (
        (sure - right, _RED, "surer than right"),
        (right - sure, _BLUE, "less sure than right"),
    ):
        gap = np.maximum(height, 0.0)
        patch: Any = {
            "color": "none",
            "hatch": "///",
            "edgecolor": colour,
            "linewidth": 0,
            "label": label,
        }
        top.bar(middle, gap, width * 0.94, bottom=np.minimum(right, sure), **patch)
    top.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1, label="as sure as right")
    top.set_ylabel("share in which the class is there" if several else "share that is right")
    top.set_ylim(0, 1.02)
    top.set_title(f"Calibration error {error:.3f} (ECE, {bins} bins)", pad=24)
    # Above the axes: bars can be anywhere inside.
    top.legend(
        fontsize=8,
        frameon=False,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=4,
        columnspacing=1.2,
    )
    below.bar(left + width / 2, curve.count, width * 0.94, color=_GREY)
    if curve.count.max(initial=0) > 50 * max(curve.count[filled].min(initial=1), 1):
        below.set_yscale("log")
        below.yaxis.set_major_formatter("{x:g}")
        below.tick_params(axis="y", which="minor", labelleft=False)
    below.set_ylabel("answers" if several else "photos")
    below.set_xlabel("probability of a class" if several else "probability of the predicted class")
    below.set_xlim(0, 1)
    for axes in (top, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, axis="y")
    _save(figure, path)


def draw_mistakes(
    answers: Sequence[Answer], read: Callable[[int], bytes], path: Path, *, several: bool = False
) -> list[Answer]:
    """Draw the worst photos with truth and prediction, of encoded bytes by ``read``; which ones."""
    worst = worst_answers(answers)
    rows = max(1, math.ceil(len(worst) / _COLUMNS))
    columns = min(_COLUMNS, max(len(worst), 1))
    figure = _figure(2.25 * columns, (3.0 if several else 2.75) * rows + 0.4, dpi=100)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, answer in zip(grid.flat, worst, strict=False):
        axes.imshow(thumbnail(partial(read, answer.image), answer.path))
        lines = [
            (_short(in_words(text)), _COLOURS[kind])
            for text, kind in about(answer, several=several)
        ]
        for line, (text, colour) in enumerate(lines):
            axes.text(
                0.0,
                -0.035 - 0.1 * line,
                text,
                transform=axes.transAxes,
                va="top",
                fontsize=8,
                color=colour,
            )
    wrong = sum(not answer.right for answer in answers)
    title = f"{wrong} of {len(answers)} wrong"
    shown_wrong = sum(not answer.right for answer in worst)
    title += (
        f": the worst {len(worst)}"
        if shown_wrong == len(worst)
        else ", and the least sure of the others"
    )
    figure.suptitle(title, fontsize=11)
    _save(figure, path)
    return worst


def worst_answers(answers: Sequence[Answer], limit: int = MISTAKES) -> list[Answer]:
    """Wrong ones by falling loss, then right ones."""
    return sorted(answers, key=lambda answer: (answer.right, -answer.loss))[:limit]


def about(answer: Answer, *, several: bool) -> list[tuple[str, str]]:
    """Lines under a photo, each with what it is: right, missed or wrong."""
    if not several:
        return [
            (f"true {answer.labels[0]} {answer.label_probability:.0%}", "right"),
            (
                f"said {answer.predicted[0]} {answer.probability:.0%}",
                "right" if answer.right else "wrong",
            ),
        ]
    missed = [name for name in answer.labels if name not in answer.predicted]
    invented = [name for name in answer.predicted if name not in answer.labels]
    found = [name for name in answer.labels if name in answer.predicted]
    lines = [(f"found {', '.join(found)}", "right")] if found else []
    lines += [(f"missed {', '.join(missed)}", "missed")] if missed else []
    lines += [(f"wrong {', '.join(invented)}", "wrong")] if invented else []
    return lines or [("no label, none said", "right")]


def _short(text: str, width: int = 30) -> str:
    """What fits of ``text``; Chinese characters take the place of two."""
    return text if cell_len(text) <= width else f"{chop_cells(text, width - 1)[0]}…"


def _largest_confusion(shares: NDArray[np.float64]) -> float:
    off = shares.copy()
    np.fill_diagonal(off, 0.0)
    return float(off.max(initial=0.0))


def _matrix_colours(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """[C, C, 3] in 0..1: from white to blue on the diagonal, to red beside it."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    scale = max(_largest_confusion(shares), 0.2)
    wrong = np.sqrt(np.clip(shares / scale, 0.0, 1.0))[:, :, None]
    colours: NDArray[np.float64] = 1.0 - wrong * (1.0 - np.array([0.73, 0.11, 0.11]))
    diagonal = np.arange(len(confusion))
    right = shares[diagonal, diagonal][:, None]
    colours[diagonal, diagonal] = 1.0 - right * (1.0 - np.array([0.15, 0.39, 0.92]))
    return colours


def _list_confusions(axes: Any, listed: Sequence[tuple[str, str, int, int]]) -> None:
    """A horizontal bar a confusion, the most frequent on top."""
    places = np.arange(len(listed))
    axes.barh(places, [count for _, _, count, _ in listed], color=_RED, alpha=0.35, height=0.8)
    for place, (true, said, count, total) in zip(places, listed, strict=True):
        names = [f"{_short(in_words(name), 22)}{_LEFT_TO_RIGHT}" for name in (true, said)]
        text = " → ".join(names)
        axes.text(0, place, f" {text}  {count}/{total}", va="center", ha="left", fontsize=8)
    axes.set_ylim(max(len(listed), 10) - 0.5, -0.5)
    axes.set_title("most frequent confusions: true → predicted", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _figure(width: float, height: float, dpi: int = 110) -> Any:
    # Paddle lets every library's INFO lines through; matplotlib's are about its font cache.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    # The figure class alone: pyplot would pick a window system and keep every figure alive.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=dpi)


def _save(figure: Any, path: Path) -> None:
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if text.get_text()]
    fonts = families("".join(text.get_text() for text in texts))
    for text in texts if len(fonts) > 1 else ():
        text.set_fontfamily(fonts)
    with warnings.catch_warnings():
        # Said once, by ``about_fonts``.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        write_atomic(path, lambda temporary: figure.savefig(temporary, format="png"))
