"""How often each class was taken for each, and what that says of every class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Confusion:
    """How often each class was taken for each: the pairs that occur, so that 100,000 classes cost
    what their samples do, not ``C²``.
    """

    true: NDArray[np.int64]
    """[P] class indices."""
    predicted: NDArray[np.int64]
    """[P] class indices; a pair (true, predicted) occurs once."""
    count: NDArray[np.int64]
    """[P] samples, above 0."""
    num_classes: int

    @classmethod
    def of(
        cls, labels: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int
    ) -> Confusion:
        """Count the pairs of two arrays [N] of class indices."""
        pairs, count = np.unique(
            np.asarray(labels, dtype=np.int64) * num_classes + predicted, return_counts=True
        )
        return cls(pairs // num_classes, pairs % num_classes, count.astype(np.int64), num_classes)

    @property
    def support(self) -> NDArray[np.int64]:
        """[C] samples of each class."""
        return self._sums(self.true, np.ones_like(self.count, dtype=bool))

    @property
    def answers(self) -> NDArray[np.int64]:
        """[C] samples that were predicted as each class."""
        return self._sums(self.predicted, np.ones_like(self.count, dtype=bool))

    @property
    def hits(self) -> NDArray[np.int64]:
        """[C] samples of each class that were predicted as it."""
        return self._sums(self.true, self.true == self.predicted)

    def matrix(self) -> NDArray[np.int64]:
        """All counts [C, C]: the row is the true class, the column the predicted one."""
        matrix = np.zeros((self.num_classes, self.num_classes), np.int64)
        matrix[self.true, self.predicted] = self.count
        return matrix

    def _sums(self, keys: NDArray[np.int64], kept: NDArray[np.bool_]) -> NDArray[np.int64]:
        sums = np.bincount(keys[kept], self.count[kept], minlength=self.num_classes)
        return sums.astype(np.int64)


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
    """Whether the class occurs among the labels or the predictions; macro means leave the others
    out."""


def class_scores(confusion: Confusion) -> ClassScores:
    """Precision, recall and F1 of each class."""
    hits, predicted, support = confusion.hits, confusion.answers, confusion.support
    return ClassScores(
        precision=share(hits, predicted),
        recall=share(hits, support),
        f1=share(2 * hits, predicted + support),
        support=support,
        present=(predicted + support) > 0,
    )


def share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """``part / whole``, and 0 of nothing."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
