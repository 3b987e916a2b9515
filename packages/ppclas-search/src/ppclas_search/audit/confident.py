"""Confident learning: labels that a model's own certainty speaks against.

Paper: "Confident Learning: Estimating Uncertainty in Dataset Labels", Northcutt et al. 2021,
https://arxiv.org/abs/1911.00068
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNSURE = -1
"""The true class of a photo of which the model is sure of none."""


def thresholds(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[C]: from which probability on the model is sure of a class: the mean of those that photos
    labelled so get for it (equation 2). Above 1 for a class without photos.

    Args:
        labels: [N] class indices, as they were given.
        probabilities: [N, C], of models that were not trained on the photo.
    """
    found = np.full(probabilities.shape[1], np.inf)
    for label in np.unique(labels):
        found[label] = probabilities[labels == label, label].mean()
    return found


def sure_classes(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> NDArray[np.int64]:
    """[N]: the most probable of the classes that the model is sure of (equation 1), or ``UNSURE``.

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.95, 0.05], [0.5, 0.5]])
    >>> sure_classes(np.array([0, 0, 1, 1, 0]), p).tolist()  # thresholds 0.733 and 0.425
    [0, 0, 1, 0, 1]
    """
    sure = probabilities >= thresholds(labels, probabilities) - 1e-9
    best = np.where(sure, probabilities, -1.0).argmax(axis=1)
    return np.where(sure.any(axis=1), best, UNSURE)


def confident_joint(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> NDArray[np.int64]:
    """[C, C]: photos labelled i (row) of which the model is sure that they are j (column)."""
    classes = probabilities.shape[1]
    found = sure_classes(labels, probabilities)
    known = found != UNSURE
    pairs = labels[known] * classes + found[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def doubtful(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[N]: whether the model is sure of another class than the label, and finds it more probable.

    These are the photos off the diagonal of the confident joint.
    """
    found = sure_classes(labels, probabilities)
    return (found != UNSURE) & (found != labels) & (probabilities.argmax(axis=1) != labels)


def label_quality(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[N] in 0..1: the probability of the label ("self-confidence"); the lowest come first."""
    return np.asarray(probabilities[np.arange(len(labels)), labels])
