"""Metrics over a whole evaluation, in NumPy.

Ties have one answer everywhere: of two classes with the same probability the one with the lower index ranks higher.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from ppclas_core.builtin.base import Metric
from ppclas_core.errors import ShapeError

Probabilities = NDArray[np.float32]
"""[N, C], each row sums to 1."""
Labels = NDArray[np.int64]
"""[N], class indices."""


def ranks(probabilities: Probabilities, labels: Labels) -> NDArray[np.int64]:
    """How many classes rank before the label, for each sample: [N] in 0..C-1; 0 is a hit at top 1.

    A sample with a NaN among its probabilities has the rank C: it is wrong for every k.

    Raises:
        ShapeError: the two do not fit each other, a label is outside 0..C-1, or there are no samples.
    """
    _check(probabilities, labels)
    num_classes = probabilities.shape[1]
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    earlier = np.arange(num_classes) < labels[:, None]
    before = (probabilities > own) | ((probabilities == own) & earlier)
    return np.where(np.isnan(probabilities).any(axis=1), num_classes, before.sum(axis=1))


def predictions(probabilities: Probabilities) -> Labels:
    """The most probable class of each sample: [N]."""
    return probabilities.argmax(axis=1).astype(np.int64)


def confusion_matrix(labels: Labels, predicted: Labels, num_classes: int) -> NDArray[np.int64]:
    """Counts [C, C]: the row is the true class, the column the predicted one."""
    pairs = np.asarray(labels, dtype=np.int64) * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


@dataclass(frozen=True)
class ClassScores:
    """How well each class is told apart; every array is [C]. A share of nothing is 0."""

    precision: NDArray[np.float64]
    """Correct ones among those predicted as the class, 0..1."""
    recall: NDArray[np.float64]
    """Found ones among those of the class, 0..1."""
    f1: NDArray[np.float64]
    """Harmonic mean of the two, 0..1."""
    support: NDArray[np.int64]
    """Samples of the class."""
    present: NDArray[np.bool_]
    """Whether the class occurs among the labels or the predictions; macro means leave the others out."""


def class_scores(matrix: NDArray[np.int64]) -> ClassScores:
    """Precision, recall and F1 of each class from a confusion matrix [C, C]."""
    hits, predicted, support = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    return ClassScores(
        precision=_share(hits, predicted),
        recall=_share(hits, support),
        f1=_share(2 * hits, predicted + support),
        support=support,
        present=(predicted + support) > 0,
    )


class TopK(Metric):
    """Share of samples whose label is among the k most probable classes: ``top1``, ``top5``, in 0..1."""

    k: tuple[PositiveInt, ...] = (1, 5)
    """Each gives a result named after it. With fewer than k classes the result keeps its name and is 1."""

    def __call__(self, probabilities: Probabilities, labels: Labels) -> dict[str, float]:
        rank = ranks(probabilities, labels)
        num_classes = probabilities.shape[1]
        return {f"top{k}": float((rank < min(k, num_classes)).mean()) for k in self.k}


class MacroF1(Metric):
    """Precision, recall and F1 averaged over classes, each class counting the same: ``macro_f1`` and so on, in 0..1."""

    def __call__(self, probabilities: Probabilities, labels: Labels) -> dict[str, float]:
        _check(probabilities, labels)
        scores = class_scores(confusion_matrix(labels, predictions(probabilities), probabilities.shape[1]))
        return {
            f"macro_{name}": float(getattr(scores, name)[scores.present].mean())
            for name in ("precision", "recall", "f1")
        }


class CalibrationError(Metric):
    """Expected calibration error (Guo et al. 2017, equation 3): ``ece``, in 0..1, 0 where confidence can be trusted.

    Samples are put into bins ``(a, b]`` of equal width by the probability of their predicted class; the error is the
    mean of ``|accuracy - confidence|`` over the bins, weighted by their samples.
    """

    bins: PositiveInt = 15
    """Number of bins over (0, 1]."""

    def __call__(self, probabilities: Probabilities, labels: Labels) -> dict[str, float]:
        _check(probabilities, labels)
        confidence = probabilities.max(axis=1).astype(np.float64)
        correct = predictions(probabilities) == labels
        edges = np.linspace(0.0, 1.0, self.bins + 1)[1:-1]
        which = np.searchsorted(edges, confidence, side="left")
        gaps = np.bincount(which, weights=correct - confidence, minlength=self.bins)
        return {"ece": float(np.abs(gaps).sum() / len(labels))}


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _check(probabilities: Probabilities, labels: Labels) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ShapeError(
            f"a metric needs probabilities [N, C] and labels [N] of at least one sample; "
            f"got {probabilities.shape} and {labels.shape}."
        )
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ShapeError(
            f"labels must be in 0..{probabilities.shape[1] - 1} for {probabilities.shape[1]} classes; "
            f"got {labels.min()}..{labels.max()}."
        )
