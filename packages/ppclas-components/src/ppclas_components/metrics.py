"""Metrics over a whole evaluation, in NumPy.

Ties have one answer everywhere: of two classes with the same probability the one with the lower
index ranks higher.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from ppclas_core.config.schema import Task
from ppclas_core.contracts.training import BOTH_TASKS, Metric
from ppclas_core.errors import ShapeError
from pydantic import Field, PositiveInt, field_validator

from ppclas_components.confusion import ClassScores, Confusion, class_scores, share

Probabilities = NDArray[np.float32]
"""[N, C]; each row sums to 1 where an image has one label."""
Labels = NDArray[np.int64]
"""[N], class indices."""
Truth = NDArray[np.bool_]
"""[N, C]: whether the class is there."""


def ranks(probabilities: Probabilities, labels: Labels) -> NDArray[np.int64]:
    """How many classes rank before the label, for each sample: [N] in 0..C-1; 0 is a hit at top 1.

    A sample with a NaN among its probabilities has the rank C: it is wrong for every k.

    Raises:
        ShapeError: the two do not fit each other, a label is outside 0..C-1, or there are no
            samples.
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


class TopK(Metric):
    """Share of samples with their label among the k most probable: ``top1``, ``top5``, in 0..1.

    Russakovsky et al. 2015, https://arxiv.org/abs/1409.0575. The second label comes second:

    >>> import numpy as np
    >>> TopK(k=(1, 2))(np.float32([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3]]), np.array([0, 2]))
    {'top1': 0.5, 'top2': 1.0}
    """

    k: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 5)
    """All different. Each gives a result named after it. With fewer than k classes the result keeps
    its name and is 1."""

    @field_validator("k")
    @classmethod
    def _different(cls, k: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(k)) < len(k):
            raise ValueError(f"expected different numbers, got {list(k)}")
        return k

    def __call__(self, probabilities: Probabilities, labels: Labels) -> dict[str, float]:
        rank = ranks(probabilities, labels)
        num_classes = probabilities.shape[1]
        return {f"top{k}": float((rank < min(k, num_classes)).mean()) for k in self.k}


class MacroF1(Metric):
    """Precision, recall and F1, averaged over classes: ``macro_f1`` and so on, in 0..1.

    ``F1 = 2 · hits / (predicted + support)`` of each class (Sokolova & Lapalme 2009, table 3). Of
    labels 0, 1, 1 and predictions 0, 1, 0 class 0 has precision 1/2 and recall 1, class 1 has 1 and
    1/2:

    >>> import numpy as np
    >>> MacroF1()(np.float32([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), np.array([0, 1, 1]))
    {'macro_precision': 0.75, 'macro_recall': 0.75, 'macro_f1': 0.666...}
    """

    def __call__(self, probabilities: Probabilities, labels: Labels) -> dict[str, float]:
        _check(probabilities, labels)
        scores = class_scores(
            Confusion.of(labels, predictions(probabilities), probabilities.shape[1])
        )
        return {
            f"macro_{name}": float(getattr(scores, name)[scores.present].mean())
            for name in ("precision", "recall", "f1")
        }


class CalibrationError(Metric):
    """Expected calibration error: ``ece``, in 0..1, 0 where confidence can be trusted.

    The mean of ``|accuracy - confidence|`` over the bins of ``reliability``, weighted by the
    answers in them (Guo et al. 2017, equation 3, https://arxiv.org/abs/1706.04599). Two answers of
    0.8, one of them right, give 0.8 - 0.5:

    >>> import numpy as np
    >>> CalibrationError()(np.float32([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1]))
    {'ece': 0.300...}
    """

    tasks: ClassVar[tuple[Task, ...]] = BOTH_TASKS

    bins: PositiveInt = 15
    """Number of bins over 0..1."""

    def __call__(self, probabilities: Probabilities, labels: NDArray[Any]) -> dict[str, float]:
        curve = reliability(probabilities, labels, self.bins)
        gaps = np.abs(curve.accuracy - curve.confidence) * curve.count
        return {"ece": float(gaps.sum() / curve.count.sum())}


class AUROC(Metric):
    """Area under the ROC curve, averaged over classes: ``auroc``, in 0..1; 0.5 is chance.

    The probability that an image with the class gets a higher probability of it than one without
    (Fawcett 2006, section 7). Classes that no image has, or every image, are left out; where that
    leaves none, the result is 0.5. Of the four pairs here one is the wrong way round (0.4 < 0.6):

    >>> import numpy as np
    >>> AUROC()(np.float32([[0.9], [0.4], [0.6], [0.1]]), np.array([[1], [1], [0], [0]]))
    {'auroc': 0.75}
    """

    tasks: ClassVar[tuple[Task, ...]] = BOTH_TASKS

    def __call__(self, probabilities: Probabilities, labels: NDArray[Any]) -> dict[str, float]:
        return {
            "auroc": _mean(auroc_per_class(probabilities, truth_of(probabilities, labels)), 0.5)
        }


class MeanAveragePrecision(Metric):
    """Mean over classes of average precision, for several labels the main number: ``map``, 0..1.

    Average precision is the mean over a class's images of the precision at the threshold that just
    includes them, with no interpolation (Manning, Raghavan & Schütze 2008, section 8.4). Classes
    that no image has are left out; where that leaves none, the result is 0. Here the precision is
    1/1, then 2/3:

    >>> import numpy as np
    >>> MeanAveragePrecision()(np.float32([[0.9], [0.4], [0.6]]), np.array([[1], [1], [0]]))
    {'map': 0.833...}
    """

    tasks: ClassVar[tuple[Task, ...]] = BOTH_TASKS

    def __call__(self, probabilities: Probabilities, labels: NDArray[Any]) -> dict[str, float]:
        return {
            "map": _mean(
                average_precision_per_class(probabilities, truth_of(probabilities, labels)), 0.0
            )
        }


class ThresholdF1(Metric):
    """F1 of labels at a threshold: ``macro_f1``, ``micro_f1`` and ``exact_match``, in 0..1.

    Macro: averaged over classes (those that neither occur nor are predicted are left out). Micro:
    over all decisions alike. ``exact_match`` is the share of images with no label wrong or missing
    (Sokolova & Lapalme 2009, table 4). Here 2 of 3 labels are found, beside one that is wrong:

    >>> import numpy as np
    >>> ThresholdF1()(np.float32([[0.9, 0.6], [0.4, 0.7]]), np.array([[1, 0], [1, 1]]))
    {'macro_f1': 0.666..., 'micro_f1': 0.666..., 'exact_match': 0.0}
    """

    tasks: ClassVar[tuple[Task, ...]] = ("multilabel",)

    threshold: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Probability from which a class is said to be there."""

    def __call__(self, probabilities: Probabilities, labels: NDArray[Any]) -> dict[str, float]:
        return decision_scores(truth_of(probabilities, labels), probabilities >= self.threshold)


@dataclass(frozen=True)
class Reliability:
    """How often answers of a confidence are right, in bins ``(a, b]`` of equal width over 0..1."""

    confidence: NDArray[np.float64]
    """[bins] mean probability in the bin; 0 where it is empty."""
    accuracy: NDArray[np.float64]
    """[bins] share that is right; 0 where the bin is empty."""
    count: NDArray[np.int64]
    """[bins] answers in the bin."""


def reliability(probabilities: Probabilities, labels: NDArray[Any], bins: int = 15) -> Reliability:
    """The reliability curve: of the predicted class, or of every class for several labels.

    With several labels "right" means that the class is there, so the curve runs over all of 0..1.
    """
    if labels.ndim == 2:
        confidence = probabilities.reshape(-1).astype(np.float64)
        right = truth_of(probabilities, labels).reshape(-1)
    else:
        _check(probabilities, labels)
        confidence = probabilities.max(axis=1).astype(np.float64)
        right = predictions(probabilities) == labels
    edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    which = np.searchsorted(edges, confidence, side="left")
    count = np.bincount(which, minlength=bins)
    share = np.maximum(count, 1)
    return Reliability(
        np.bincount(which, weights=confidence, minlength=bins) / share,
        np.bincount(which, weights=right, minlength=bins) / share,
        count,
    )


def truth_of(probabilities: Probabilities, labels: NDArray[Any]) -> Truth:
    """Which classes are there: [N, C], from labels [N, C] of ones and zeros, or [N] class indices.

    Raises:
        ShapeError: the two do not fit each other, or there are no samples.
    """
    if labels.ndim == 1:
        _check(probabilities, labels)
        return labels[:, None] == np.arange(probabilities.shape[1])
    if probabilities.ndim != 2 or labels.shape != probabilities.shape or not len(labels):
        raise ShapeError(
            "a metric of several labels needs probabilities [N, C] and labels [N, C] of at least "
            f"one sample; got {probabilities.shape} and {labels.shape}."
        )
    return labels > 0.5


def decision_scores(truth: Truth, given: Truth) -> dict[str, float]:
    """``macro_f1``, ``micro_f1``, ``exact_match`` of ``truth`` and ``given``, both [N, C]."""
    scores = threshold_scores(truth, given)
    both, total = 2 * int((truth & given).sum()), int(truth.sum() + given.sum())
    return {
        "macro_f1": float(scores.f1[scores.present].mean()) if scores.present.any() else 1.0,
        "micro_f1": both / total if total else 1.0,
        "exact_match": float((truth == given).all(axis=1).mean()),
    }


def threshold_scores(truth: Truth, given: Truth) -> ClassScores:
    """Precision, recall and F1 of each class, of ``truth`` and ``given`` labels, both [N, C]."""
    hits, said, support = (truth & given).sum(axis=0), given.sum(axis=0), truth.sum(axis=0)
    return ClassScores(
        precision=share(hits, said),
        recall=share(hits, support),
        f1=share(2 * hits, said + support),
        support=support,
        present=(said + support) > 0,
    )


def auroc_per_class(probabilities: Probabilities, truth: Truth) -> NDArray[np.float64]:
    """Area under each class's ROC curve: [C]; NaN where the class is in no image, or in all.

    Equal probabilities count one half (Mann and Whitney 1947).
    """
    areas = np.full(truth.shape[1], np.nan)
    for c in range(truth.shape[1]):
        there = int(truth[:, c].sum())
        absent = len(truth) - there
        if there and absent:
            _, place, tied = np.unique(probabilities[:, c], return_inverse=True, return_counts=True)
            # 1-based rank in the middle of those that are tied.
            middle = np.cumsum(tied) - (tied - 1) / 2.0
            areas[c] = (middle[place][truth[:, c]].sum() - there * (there + 1) / 2.0) / (
                there * absent
            )
    return areas


def average_precision_per_class(probabilities: Probabilities, truth: Truth) -> NDArray[np.float64]:
    """``Σ_n (R_n - R_{n-1}) P_n`` over falling thresholds: [C]; NaN for a class of no image."""
    areas = np.full(truth.shape[1], np.nan)
    for c in range(truth.shape[1]):
        there = int(truth[:, c].sum())
        if there:
            order = np.argsort(-probabilities[:, c], kind="stable")
            falling = probabilities[order, c]
            last_of_tie = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
            hits = np.cumsum(truth[order, c])[last_of_tie]
            recall = hits / there
            areas[c] = float((np.diff(recall, prepend=0.0) * hits / (last_of_tie + 1)).sum())
    return areas


def best_thresholds(probabilities: Probabilities, truth: Truth) -> NDArray[np.float64]:
    """The threshold of each class with the highest F1 here: [C]; 0.5 for a class of no image.

    It lies in the middle between two probabilities that came. Of equally good ones the nearest to
    0.5. For calibrated probabilities it is half of the F1 that it reaches (Lipton et al. 2014,
    https://arxiv.org/abs/1402.1892).
    """
    thresholds = np.full(truth.shape[1], 0.5)
    for c in range(truth.shape[1]):
        there = int(truth[:, c].sum())
        if there:
            order = np.argsort(-probabilities[:, c], kind="stable")
            falling = probabilities[order, c].astype(np.float64)
            last_of_tie = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
            f1 = 2.0 * np.cumsum(truth[order, c])[last_of_tie] / (last_of_tie + 1 + there)
            middles = (falling[last_of_tie] + np.append(falling, 0.0)[last_of_tie + 1]) / 2.0
            best = middles[f1 == f1.max()]
            thresholds[c] = best[np.abs(best - 0.5).argmin()]
    return thresholds


def _mean(values: NDArray[np.float64], otherwise: float) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else otherwise


def _check(probabilities: Probabilities, labels: Labels) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ShapeError(
            f"a metric needs probabilities [N, C] and labels [N] of at least one sample; "
            f"got {probabilities.shape} and {labels.shape}."
        )
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ShapeError(
            f"labels must be in 0..{probabilities.shape[1] - 1} for {probabilities.shape[1]} "
            f"classes; got {labels.min()}..{labels.max()}."
        )


def wilson(right: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % confidence interval of a share ``right`` of ``total``, in 0..1 (Wilson 1927)."""
    share, more = right / total, z * z / total
    half = z * sqrt(share * (1 - share) / total + more / (4 * total))
    low, high = (share + more / 2 - half) / (1 + more), (share + more / 2 + half) / (1 + more)
    return max(0.0, low), min(1.0, high)  # rounding passes both ends
