"""How well a model's frozen features tell classes apart: nearest neighbours and a linear probe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from ppclas_core.config.load import load_config
from ppclas_core.config.schema import DataSection
from ppclas_core.errors import DataError
from ppclas_data.sources.labels import with_class_order
from ppclas_data.sources.splits import open_splits
from ppclas_engine.loop.probe import logistic_regression, probe_set
from ppclas_engine.scoring.evaluate import Evaluation, score

from ppclas_search.features import Features, extract_features, vote

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle
    from ppclas_core.contracts.data import ImageSet
    from ppclas_engine.console import Console


def evaluate_frozen(
    bundle: Bundle,
    path: str | None,
    data: str | None,
    console: Console,
    *,
    knn: int | None = None,
    probe: bool = False,
) -> dict[str, Evaluation]:
    """Score the features of ``bundle`` without its classifier.

    Args:
        bundle: what gives the features.
        path: its run folder, which names training and validation photos.
        data: other photos: a data set with a training and a validation part, or one to split.
        console: for progress.
        knn: so many nearest training photos vote.
        probe: fit a logistic regression to the training photos' features.

    Returns:
        ``knn`` and ``probe`` → the evaluation on the validation photos.

    Raises:
        DataError: no photos are named.
    """
    train, val = _sides(path, data)
    known = extract_features(bundle, train, console)
    asked = extract_features(bundle, val, console)
    found = {}
    if knn is not None:
        found["knn"] = _score(np.log(vote(asked.values, known, knn) + 1e-12), asked)
    if probe:
        found["probe"] = _score(probe_logits(known, asked), asked)
    return found


def probe_logits(known: Features, asked: Features) -> NDArray[np.float32]:
    """Logits [N, C] for ``asked`` of a logistic regression on ``known``."""
    weight, bias = logistic_regression(known.values, known.labels, len(known.class_names))
    return np.asarray(asked.values @ weight + bias, np.float32)


def _score(logits: NDArray[np.float32], asked: Features) -> Evaluation:
    return score(logits, asked.labels, np.arange(len(asked)), asked.class_names)


def _sides(path: str | None, data: str | None) -> tuple[ImageSet, ImageSet]:
    if data is not None:
        section = DataSection(train=data)
    else:
        run = Path(path or "") / "config.yaml"
        if path is None or not run.is_file():
            raise DataError(
                "Which photos? This is no run folder, so name a data set: --data FOLDER|LIST|CSV"
            )
        section = load_config(str(run)).config.data
    splits = open_splits(section)
    splits.train.labels()  # says so where photos may have several
    names = splits.train.class_names
    return probe_set(splits.train, most=20_000), with_class_order(splits.val, names)
