"""Score a model, or an export in its engine, on an image set: every readable image counts once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from ppclas_components.confusion import ClassScores, Confusion, class_scores
from ppclas_components.metrics import (
    AUROC,
    CalibrationError,
    MacroF1,
    MeanAveragePrecision,
    Reliability,
    TopK,
    auroc_per_class,
    average_precision_per_class,
    best_thresholds,
    decision_scores,
    reliability,
    threshold_scores,
    truth_of,
)
from ppclas_components.signatures import checked_numbers
from ppclas_core.bundle import sigmoid
from ppclas_core.config.schema import Task
from ppclas_core.contracts.training import Metric
from ppclas_core.errors import DataError

from ppclas_engine.scoring.predictors import Predictor

if TYPE_CHECKING:
    from ppclas_data.loading.loader import Batch

Answers = tuple[list[NDArray[Any]], list[NDArray[Any]], list[NDArray[Any]]]
"""Logits, labels and places in the image set, an array a batch."""


@dataclass(frozen=True)
class Evaluation:
    """What a model answered on an image set of N images and C classes."""

    metrics: dict[str, float]
    """One label per image: ``loss`` (mean cross entropy), ``top1``, ``top5`` (k clamped to C),
    ``macro_f1`` and ``ece``. Several: ``loss`` (binary cross entropy, summed over classes, mean
    over images), ``map``, ``auroc``, ``macro_f1``, ``micro_f1``, ``exact_match`` and ``ece``. All
    but the loss are shares in 0..1."""
    num_images: int
    confusion: Confusion | None
    """None where images have several labels."""
    per_class: list[dict[str, Any]]
    """One row per class: class, images, precision, recall, f1; with several labels
    average_precision, auroc (None where that is not defined) and threshold too."""
    indices: NDArray[np.int64]
    """[N] positions in the image set, in the order of ``logits``."""
    logits: NDArray[np.float32]
    """[N, C]."""
    probabilities: NDArray[np.float64]
    """[N, C], by softmax or, with several labels, by sigmoid."""
    labels: NDArray[Any]
    """[N] class indices, or [N, C] ones and zeros."""
    reliability: Reliability
    thresholds: NDArray[np.float64] | None = None
    """[C] with several labels: the probability from which a class is said to be there."""

    @property
    def task(self) -> Task:
        """Whether images have one label or several."""
        return "classification" if self.labels.ndim == 1 else "multilabel"

    def summary(self) -> dict[str, Any]:
        """The metrics and the number of images, as ``ppclas eval --json`` prints them."""
        return {**self.metrics, "num_images": self.num_images}


def evaluate(
    predictor: Predictor,
    batches: Iterable[Batch],
    class_names: tuple[str, ...],
    on_batch: Callable[[int], None] = lambda _: None,
    more_metrics: Sequence[Metric] = (),
    gather: Callable[[Answers], list[Answers]] = lambda answers: [answers],
    thresholds: Sequence[float] | Literal["tuned"] | None = None,
) -> Evaluation:
    """Run ``predictor`` over ``batches``; ``on_batch`` gets the number of images of each.

    Where images have several labels, ``thresholds`` are the probabilities from which a class is
    said to be there, one per class (0.5 without them; ``tuned``: those with the highest F1 of each
    class on these very images).

    Where several processes share the batches, ``gather`` gives each of them everyone's answers:
    then every image counts once, in the order of the set, and all come to the same numbers.

    Raises:
        DataError: not one image could be read.
    """
    logits: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    indices: list[NDArray[Any]] = []
    for batch in batches:
        if len(batch.labels):
            logits.append(predictor(batch.images))
            labels.append(batch.labels)
            indices.append(batch.indices)
        on_batch(len(batch.labels))
    logits, labels, indices = (
        list(itertools.chain(*parts))
        for parts in zip(*gather((logits, labels, indices)), strict=True)
    )
    if not logits:
        raise DataError(
            "Not one image of the set could be read, so there is nothing to evaluate. Run 'ppclas "
            "data check'."
        )
    order = np.argsort(np.concatenate(indices), kind="stable")
    said, true, places = (np.concatenate(arrays)[order] for arrays in (logits, labels, indices))
    return score(said, true, places, class_names, more_metrics, thresholds)


def score(
    logits: NDArray[np.float32],
    labels: NDArray[Any],
    indices: NDArray[np.int64],
    class_names: tuple[str, ...],
    more_metrics: Sequence[Metric] = (),
    thresholds: Sequence[float] | Literal["tuned"] | None = None,
) -> Evaluation:
    """Metrics of logits [N, C] against labels [N] or [N, C]: standard ones, ``more_metrics``."""
    if labels.ndim == 2:
        return _score_several(logits, labels, indices, class_names, more_metrics, thresholds)
    log_probabilities = _log_softmax(logits)
    probabilities = np.exp(log_probabilities)
    predicted = logits.argmax(axis=1)
    confusion = Confusion.of(labels, predicted, len(class_names))
    metrics = {
        "loss": float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        # Ranked by logits: probabilities of a sure model round to ties.
        **TopK()(logits, labels),
        "macro_f1": MacroF1()(probabilities, labels)["macro_f1"],
        **CalibrationError()(probabilities, labels),
    }
    for metric in more_metrics:
        metrics |= checked_numbers(metric, metric(probabilities.astype(np.float32), labels))
    return Evaluation(
        metrics=metrics,
        num_images=len(labels),
        confusion=confusion,
        per_class=_per_class(class_scores(confusion), class_names),
        indices=indices,
        logits=logits,
        probabilities=probabilities,
        labels=labels,
        reliability=reliability(probabilities, labels),
    )


def _score_several(
    logits: NDArray[np.float32],
    labels: NDArray[np.float32],
    indices: NDArray[np.int64],
    class_names: tuple[str, ...],
    more_metrics: Sequence[Metric],
    wanted: Sequence[float] | Literal["tuned"] | None,
) -> Evaluation:
    wide = logits.astype(np.float64)
    probabilities = sigmoid(wide)
    truth = truth_of(probabilities, labels)
    if wanted == "tuned":
        thresholds = best_thresholds(probabilities, truth)
    else:
        thresholds = (
            np.full(len(class_names), 0.5) if wanted is None else np.asarray(wanted, np.float64)
        )
    given = probabilities >= thresholds
    # -[t log σ(x) + (1 - t) log(1 - σ(x))] = log(1 + exp(x)) - t x
    each = np.logaddexp(0.0, wide) - truth * wide
    metrics = {
        "loss": float(each.sum(axis=1).mean()),
        # Ranked by logits: probabilities of a sure model round to ties.
        **MeanAveragePrecision()(logits, labels),
        **AUROC()(logits, labels),
        **decision_scores(truth, given),
        **CalibrationError()(probabilities, labels),
    }
    for metric in more_metrics:
        metrics |= checked_numbers(metric, metric(probabilities.astype(np.float32), labels))
    rows = _per_class(threshold_scores(truth, given), class_names)
    areas = zip(
        average_precision_per_class(logits, truth), auroc_per_class(logits, truth), strict=True
    )
    for row, (precision, auroc), threshold in zip(rows, areas, thresholds.tolist(), strict=True):
        row |= {
            "average_precision": _known(precision),
            "auroc": _known(auroc),
            "threshold": threshold,
        }
    return Evaluation(
        metrics=metrics,
        num_images=len(labels),
        confusion=None,
        per_class=rows,
        indices=indices,
        logits=logits,
        probabilities=probabilities,
        labels=labels,
        reliability=reliability(probabilities, labels),
        thresholds=thresholds,
    )


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))


def _per_class(scores: ClassScores, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {
            "class": name,
            "images": int(scores.support[i]),
            "precision": float(scores.precision[i]),
            "recall": float(scores.recall[i]),
            "f1": float(scores.f1[i]),
        }
        for i, name in enumerate(class_names)
    ]


def _known(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)
