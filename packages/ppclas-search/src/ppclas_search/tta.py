"""Test-time augmentation: the mean answer for several views of each photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.errors import ConfigError
from ppclas_engine.results.predict import Prediction, predict, prediction_of
from ppclas_engine.results.score import Scoring, evaluate_bundle
from ppclas_engine.scoring.evaluate import Evaluation, score
from ppclas_engine.scoring.monitor import format_metric

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle
    from ppclas_core.contracts.export import Engine
    from ppclas_engine.console import Console

View = tuple[float, float, float, bool]
"""Factor on the resized short side, place of the crop (down, right) in 0..1, mirrored."""
_CENTRE: View = (1.0, 0.5, 0.5, False)
_CORNERS: tuple[View, ...] = tuple(
    (1.0, down, right, False) for down in (0.0, 1.0) for right in (0.0, 1.0)
)
_MOST = 64
_LARGEST = 1.3


def views_of(said: str) -> tuple[View, ...]:
    """The views that ``flip``, ``5crop`` or a number asks for; the plain one comes first.

    Raises:
        ConfigError: it is none of these.
    """
    if said == "flip":
        return _CENTRE, (1.0, 0.5, 0.5, True)
    if said == "5crop":
        return _CENTRE, *_CORNERS
    if said.isdecimal() and 2 <= int(said) <= _MOST:
        more = [
            (
                1.0 + (_LARGEST - 1.0) * _van_der_corput(number, 5),
                _van_der_corput(number, 2),
                _van_der_corput(number, 3),
                bool(number % 2),
            )
            for number in range(1, int(said))
        ]
        return _CENTRE, *more
    raise ConfigError(
        f"--tta: expected flip, 5crop or a number of views from 2 to {_MOST}, got {said!r}"
    )


def view(bundle: Bundle, seen: View) -> Bundle:
    """``bundle`` with a preprocessing that shows another view of each photo.

    Raises:
        ConfigError: the preprocessing crops no middle, and the view is not only mirrored.
    """
    factor, down, right, mirrored = seen
    preprocessing = bundle.manifest.preprocessing
    transforms = list(preprocessing.transforms)
    if (factor, down, right) != _CENTRE[:3]:
        crops = [place for place, one in enumerate(transforms) if one.name == "CenterCrop"]
        if not crops:
            raise ConfigError(
                "--tta: this model's preprocessing crops no middle out of photos, so there are no "
                "other crops. Use --tta flip."
            )
        for place, one in enumerate(transforms):
            short = one.params.get("short")
            if one.name == "Resize" and short is not None:
                transforms[place] = one.replace(short=round(short * factor))
        size = transforms[crops[-1]].params["size"]
        transforms[crops[-1]] = ComponentConfig(
            name="PlacedCrop", size=size, down=down, right=right
        )
    if mirrored:
        transforms.append(ComponentConfig(name="RandomFlip", probability=1.0))
    changed = preprocessing.replace(transforms=tuple(transforms))
    return replace(bundle, manifest=bundle.manifest.replace(preprocessing=changed))


def evaluate_views(
    bundle: Bundle, scoring: Scoring, console: Console, said: str, *, workers: int | None = None
) -> tuple[Evaluation, Evaluation]:
    """The evaluation of the mean over all views, and of the plain view alone."""
    each = [
        evaluate_bundle(view(bundle, one), scoring, console, workers=workers)
        for one in views_of(said)
    ]
    plain = each[0]
    mean = np.mean([one.probabilities for one in each], axis=0)
    several = bundle.manifest.task == "multilabel"
    logits = np.log(mean + 1e-12) - (np.log1p(-mean + 1e-12) if several else 0.0)
    merged = score(
        np.asarray(logits, np.float32),
        plain.labels,
        plain.indices,
        bundle.labels,
        scoring.metrics,
        bundle.thresholds if several else None,
    )
    return merged, plain


def gain_and_cost(merged: Evaluation, plain: Evaluation, views: int) -> str:
    """A sentence: what the views brought, and how much longer they take."""
    name = next(metric for metric in ("top1", "map") if metric in plain.metrics)
    before, after = plain.metrics[name], merged.metrics[name]
    return (
        f"{views} views: {format_metric(name, after)} instead of {before:.2%} "
        f"({100 * (after - before):+.2f} points), at {views} times the cost"
    )


def predict_views(
    bundle: Bundle,
    paths: Sequence[str],
    said: str,
    *,
    top_k: int = 5,
    batch_size: int = 32,
    threads: int = 2,
    engine: Engine | None = None,
) -> list[Prediction]:
    """As ``predict``, with the mean probabilities over all views."""
    places = {name: place for place, name in enumerate(bundle.labels)}
    total = np.zeros((len(paths), len(places)), np.float64)
    views, answers = views_of(said), []
    for one in views:
        answers = list(
            predict(
                view(bundle, one),
                paths,
                top_k=len(places),
                batch_size=batch_size,
                threads=threads,
                engine=engine,
            )
        )
        for row, answer in enumerate(answers):
            for name, probability in answer.top:
                total[row, places[name]] += probability / len(views)
    return [
        answer
        if answer.error
        else replace(
            prediction_of(answer.path, row.astype(np.float32), bundle, top_k), damage=answer.damage
        )
        for answer, row in zip(answers, total, strict=True)
    ]


def _van_der_corput(number: int, base: int) -> float:
    """Numbers in 0..1 that fill the interval evenly, in a fixed order."""
    value, share = 0.0, 1.0 / base
    while number:
        number, digit = divmod(number, base)
        value += digit * share
        share /= base
    return value
