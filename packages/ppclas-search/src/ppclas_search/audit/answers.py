"""Out-of-fold probabilities: from a cross-validation, or from a cheap probe on frozen features."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import Bundle
from ppclas_core.config.load import load_config
from ppclas_core.errors import DataError
from ppclas_data.sources.splits import roots
from ppclas_engine.console import Console
from ppclas_engine.loop.probe import logistic_regression

from ppclas_search.audit.photos import Photo, Photos
from ppclas_search.crossval.dealing import ALWAYS, deal
from ppclas_search.crossval.folds import RECIPE
from ppclas_search.crossval.tables import read_answers
from ppclas_search.features import extract_features

_FOLDS = 5


def photos_of_folds(folder: Path) -> tuple[str | None, str | None, str | None]:
    """Where the photos of a run or of folds are, their root and their file of class names.

    Raises:
        DataError: the folder is neither.
    """
    for name in (RECIPE, "config.yaml"):
        if (folder / name).is_file():
            data = load_config(str(folder / name)).config.data
            return data.train, roots(data)[0], data.labels
    raise DataError(
        f"Which photos? {folder} is no run and no folder of folds, so name them: ppclas data audit "
        "PHOTOS"
    )


def from_file(
    path: Path, photos: Sequence[Photo], class_names: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Places of the photos that ``out_of_fold.csv`` speaks of, and their probabilities [N, C].

    Raises:
        DataError: it speaks of other photos, or of other classes.
    """
    answers = read_answers(path)
    if set(answers.class_names) != set(class_names):
        odd = sorted(set(answers.class_names) ^ set(class_names))
        raise DataError(
            f"{path}: expected the classes of the photos, got others ({', '.join(odd[:5])} are in "
            "one of the two alone). Give the photos that the folds were made of."
        )
    place_of = {_real(photo.path): place for place, photo in enumerate(photos)}
    rows = [row for row, name in enumerate(answers.paths) if _real(name) in place_of]
    if not rows:
        raise DataError(
            f"{path}: expected answers for these photos, got none (its first is "
            f"{answers.paths[0]}). Give the photos that the folds were made of."
        )
    order = [answers.class_names.index(name) for name in class_names]
    places = np.array([place_of[_real(answers.paths[row])] for row in rows])
    return places, answers.probabilities[rows][:, order]


def from_probe(
    photos: Photos, bundle: Bundle, console: Console, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The same by logistic regressions on frozen features, each fitted without a fifth of the
    photos. What cannot be read is left out.
    """
    names, values = [], []
    for _, images in photos.sets:
        found = extract_features(bundle, images, console)
        names += [os.path.abspath(name) for name in found.names]  # noqa: PTH100 - as in photos
        values.append(found.values)
    place_of = {photo.path: place for place, photo in enumerate(photos)}
    places = np.array([place_of[name] for name in names])
    features, labels = np.concatenate(values), photos.labels()[places]
    folds = np.array(deal([(label,) for label in labels.tolist()], names, _FOLDS, seed))
    probabilities = np.zeros((len(labels), len(photos.class_names)))
    for fold in range(_FOLDS):
        asked = folds == fold
        weight, bias = logistic_regression(
            features[~asked], labels[~asked], len(photos.class_names)
        )
        logits = (features[asked] @ weight + bias).astype(np.float64)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities[asked] = exponentials / exponentials.sum(axis=1, keepdims=True)
    known = folds != ALWAYS
    return places[known], probabilities[known]


def _real(path: str) -> str:
    return os.path.realpath(path)
