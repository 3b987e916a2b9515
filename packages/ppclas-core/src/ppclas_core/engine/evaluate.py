"""Score a model, or an export in its engine, on an image set: every readable image counts exactly once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ppclas_core.builtin.base import Metric
from ppclas_core.builtin.metrics import CalibrationError, MacroF1, TopK, class_scores, confusion_matrix
from ppclas_core.engine.predictors import Predictor
from ppclas_core.errors import DataError

if TYPE_CHECKING:
    from ppclas_core.data.loader import Batch

Answers = tuple[list[NDArray[Any]], list[NDArray[Any]], list[NDArray[Any]]]
"""Logits, labels and places in the image set, an array a batch."""


@dataclass(frozen=True)
class Evaluation:
    """What a model answered on an image set of N images and C classes."""

    metrics: dict[str, float]
    """``loss`` (mean cross entropy), ``top1``, ``top5`` (k clamped to C), ``macro_f1`` and ``ece``, shares in 0..1."""
    num_images: int
    confusion: NDArray[np.int64]
    """[C, C] counts; rows are the true classes."""
    per_class: list[dict[str, Any]]
    """A row a class: class, images, precision, recall, f1."""
    indices: NDArray[np.int64]
    """[N] positions in the image set, in the order of ``logits``."""
    logits: NDArray[np.float32]
    """[N, C]."""

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
) -> Evaluation:
    """Run ``predictor`` over ``batches``; ``on_batch`` gets the number of images of each.

    Where several processes share the batches, ``gather`` gives each of them everyone's answers: then every image
    counts once, in the order of the set, and all come to the same numbers.

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
        list(itertools.chain(*parts)) for parts in zip(*gather((logits, labels, indices)), strict=True)
    )
    if not logits:
        raise DataError(
            "Not one image of the set could be read, so there is nothing to evaluate. Run 'ppclas data check'."
        )
    order = np.argsort(np.concatenate(indices), kind="stable")
    answers = (np.concatenate(arrays)[order] for arrays in (logits, labels, indices))
    return score(*answers, class_names, more_metrics)


def score(
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    class_names: tuple[str, ...],
    more_metrics: Sequence[Metric] = (),
) -> Evaluation:
    """Metrics of logits [N, C] against labels [N]: the ones always given, and ``more_metrics``."""
    log_probabilities = _log_softmax(logits)
    probabilities = np.exp(log_probabilities)
    predicted = logits.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, len(class_names))
    metrics = {
        "loss": float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        # Ranked by logits: probabilities of a sure model round to ties.
        **TopK()(logits, labels),
        "macro_f1": MacroF1()(probabilities, labels)["macro_f1"],
        **CalibrationError()(probabilities, labels),
    }
    for metric in more_metrics:
        metrics |= metric(probabilities.astype(np.float32), labels)
    return Evaluation(metrics, len(labels), confusion, _per_class(confusion, class_names), indices, logits)


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))


def _per_class(confusion: NDArray[np.int64], class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    scores = class_scores(confusion)
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
