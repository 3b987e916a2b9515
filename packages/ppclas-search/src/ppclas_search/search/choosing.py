"""Which point to try next: in order, by chance, by Optuna's TPE, or by a Gaussian process."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ppclas_search.search.space import Point, Range, Sampler, Space, key_of, part_of

Allowed: TypeAlias = Callable[[Point], bool]
"""Whether a point may be tried: its model is not too slow, its run fits into the time."""

FIRST = 4
"""Points before a Gaussian process has enough to learn its scales from."""
_FIRST_PROBED = 8
"""The same where models have probes. Until then its scales are those that follow."""
_OF_MODELS, _OF_RECIPES, _NOISE, _END = 0.1, 0.02, 0.01, 0.01
"""How far runs are from the probe, by their model and by their recipe, and by chance."""
_ALIKE, _NEAR = 1.0, 0.5
"""Parts of an axis over which these two change."""
_MOST_LISTED = 20_000
"""Points up to which all of them are looked at; beyond, and of ranges, a sample."""
_SAMPLE = 2000


@dataclass(frozen=True)
class Tried:
    """A point that has been tried, or is being tried."""

    point: Point
    height: float | None
    """What the search raises; None while it runs, and where the run failed."""
    running: bool = False


def choose(
    space: Space,
    sampler: Sampler,
    tried: Sequence[Tried],
    *,
    seed: int = 0,
    allowed: Allowed = lambda point: True,
    prior: Callable[[Point], float | None] = lambda point: None,
    start: Point | None = None,
) -> Point | None:
    """The point to try after ``tried``: never one of them, never one that is not ``allowed``.

    The same arguments give the same point: a search that was stopped goes on as it would have.

    Args:
        space: what may be chosen.
        sampler: how.
        tried: in the order in which they were begun.
        seed: of everything random.
        allowed: which points may be tried at all.
        prior: what is known of a point before it is tried, on the scale of the heights, as by a
            probe of its model's features; None: nothing.
        start: what comes first where nothing was tried, if it is a point of the space.

    Returns:
        None where no point is left.

    Raises:
        ConfigError: ``grid`` over a range.
    """
    known = {key_of(each.point) for each in tried}
    if sampler == "grid":
        fresh = (point for point in space.points() if key_of(point) not in known)
        return next((point for point in fresh if allowed(point)), None)
    rng = np.random.default_rng([seed, len(tried)])
    points = [
        point for point in _listed(space, rng) if key_of(point) not in known and allowed(point)
    ]
    if not points:
        return None
    if sampler == "random":
        return points[int(rng.integers(len(points)))]
    if sampler == "tpe":
        return _by_tpe(space, tried, points, rng, allowed)
    return _by_gaussian_process(space, tried, points, rng, prior, start)


def _listed(space: Space, rng: np.random.Generator) -> list[Point]:
    """Every point, or a sample where there are too many."""
    size = space.size
    if size is not None and size <= _MOST_LISTED:
        return list(space.points())
    drawn = (_drawn(space, rng) for _ in range(_SAMPLE))
    return list({key_of(point): point for point in drawn}.values())


def _drawn(space: Space, rng: np.random.Generator) -> Point:
    return {
        key: part.at(rng.random()) if isinstance(part, Range) else part[rng.integers(len(part))]
        for key, part in space.parts.items()
    }


# Optuna


def label_of(value: Any) -> Any:
    """What stands for a value in Optuna's storage: itself, or JSON for lists and maps."""
    return value if isinstance(value, str | int | float | bool | None) else json.dumps(value)


def distributions(space: Space) -> dict[str, Any]:
    """Each key as Optuna describes what may be chosen."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for key, part in space.parts.items():
        if not isinstance(part, Range):
            found[key] = CategoricalDistribution([label_of(value) for value in part])
        elif part.whole:
            found[key] = IntDistribution(int(part.low), int(part.high), log=part.log)
        else:
            found[key] = FloatDistribution(part.low, part.high, log=part.log)
    return found


def labelled(point: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of Optuna's trial for ``point``."""
    return {key: label_of(value) for key, value in point.items()}


def _by_tpe(
    space: Space,
    tried: Sequence[Tried],
    points: list[Point],
    rng: np.random.Generator,
    allowed: Allowed,
) -> Point:
    """What Optuna's TPE asks for beside trials like ours; where it repeats itself, any."""
    import optuna

    ways = distributions(space)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=int(rng.integers(2**31))),
    )
    for each in tried:
        if each.height is not None:
            params = labelled(each.point)
            study.add_trial(
                optuna.create_trial(params=params, distributions=ways, value=each.height)
            )
    by_key = {key_of(labelled(point)): point for point in points}
    for _ in range(20):
        asked = study.ask(ways)
        params = dict(asked.params)
        found = by_key.get(key_of(params))
        if found is not None:
            return found
        if space.size is None:  # a range: what was drawn is as good as any
            point = _rounded(space, params)
            if allowed(point) and key_of(point) not in {key_of(each.point) for each in tried}:
                return point
        study.tell(asked, state=optuna.trial.TrialState.FAIL)
    return points[int(rng.integers(len(points)))]


def _rounded(space: Space, params: Mapping[str, Any]) -> Point:
    point: Point = {}
    for key, part in space.parts.items():
        if isinstance(part, Range):
            point[key] = part.at(part.share(params[key]))
        else:
            point[key] = next(value for value in part if label_of(value) == params[key])
    return point


# The Gaussian process


def _by_gaussian_process(
    space: Space,
    tried: Sequence[Tried],
    points: list[Point],
    rng: np.random.Generator,
    prior: Callable[[Point], float | None],
    start: Point | None,
) -> Point:
    """The point with the largest expected improvement; before that, a few to begin with."""
    done = [each for each in tried if each.height is not None]
    promise = max((g for point in points if (g := prior(point)) is not None), default=None)
    if not tried and start is not None:
        best = [point for point in points if prior(point) == promise]
        return min(best, key=_distance(space, start))
    if promise is None and len(done) < FIRST:
        return points[int(rng.integers(len(points)))]
    from scipy.stats import norm

    # Heights above what the prior says: it leads where nothing near has been tried.
    floor = min((guess for point in points if (guess := prior(point)) is not None), default=0.0)

    guessed = promise is not None
    inner = _inner(space) if guessed else lambda point: 0.0

    def guesses(of: Sequence[Point]) -> NDArray[np.float64]:
        return np.array(
            [inner(point) + (floor if (g := prior(point)) is None else g) for point in of]
        )

    coordinates = _coordinates(space, prior if guessed else None, floor)
    scales = _scales(space) if guessed else None

    def at(of: Sequence[Point]) -> NDArray[np.float64]:
        return np.array([coordinates(point) for point in of])

    every = [each.point for each in done]
    heights = np.array([each.height for each in done], np.float64)
    above = heights - guesses(every)
    running = [each.point for each in tried if each.running]
    if running:  # taken for done, as high as expected: two jobs do not try the same place
        expected = (
            _fit(at(every), above, scales).predict(at(running)) if done else np.zeros(len(running))
        )
        every, above = every + running, np.concatenate([above, expected])
    if not every:
        return max(points, key=lambda point: prior(point) or floor)
    mean, spread = _fit(at(every), above, scales).predict(at(points), return_std=True)
    mean, spread = mean + guesses(points), np.maximum(spread, 1e-9)
    better = (mean - heights.max(initial=floor)) / spread
    expected = spread * (better * norm.cdf(better) + norm.pdf(better))
    return points[int(expected.argmax())]


def _distance(space: Space, start: Point) -> Callable[[Point], float]:
    """How far a point is from ``start``, whose values need not be of the space."""
    axes = {key: _axis(part) for key, part in space.parts.items() if key in start}

    def apart(key: str, value: Any) -> float:
        wanted, part = start[key], space.parts[key]
        listed = part if isinstance(part, tuple) else (value,)
        if not all(type(each) in (int, float) for each in (wanted, value, *listed)):
            return float(value != wanted)
        return sum(abs(a - b) for a, b in zip(axes[key](value), axes[key](wanted), strict=True))

    return lambda point: sum(apart(key, point[key]) for key in axes)


def _inner(space: Space) -> Callable[[Point], float]:
    """What a point loses for each setting that is at an end of what may be chosen: people choose
    ends that they take for too small and too large."""
    axes = {
        key: _axis(part)
        for key, part in space.parts.items()
        if (isinstance(part, Range) or (len(part) > 2 and _ordered(part)))
        and not part_of({key: None})
    }
    return lambda point: (
        -_END
        * sum((2 * share - 1) ** 2 for key, axis in axes.items() for share in axis(point[key]))
    )


def _ordered(part: Sequence[Any]) -> bool:
    return len(part) > 1 and all(type(value) in (int, float) for value in part)


def _scales(space: Space) -> NDArray[np.float64]:
    """[D]: over which part of each coordinate models change; recipes do not count."""
    found = []
    for key, part in space.parts.items():
        value = part.low if isinstance(part, Range) else part[0]
        found += [_ALIKE if part_of({key: value}) else 1e6] * len(_axis(part)(value))
    return np.array([*found, _ALIKE])


def _fit(
    known: NDArray[np.float64], heights: NDArray[np.float64], scales: NDArray[np.float64] | None
) -> Any:
    """A Gaussian process; with ``scales`` one of a model and its recipe, while little is known."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    if scales is not None and len(known) < _FIRST_PROBED:
        models = ConstantKernel(_OF_MODELS**2) * Matern(scales, nu=2.5)
        recipes = ConstantKernel(_OF_RECIPES**2) * Matern(_NEAR, nu=2.5)
        kernel = models + recipes + WhiteKernel(_NOISE**2)
        return GaussianProcessRegressor(kernel, optimizer=None).fit(known, heights)
    kernel = ConstantKernel(1.0, (0.05, 20.0)) * Matern(
        np.ones(known.shape[1]), (0.1, 20.0), nu=2.5
    ) + WhiteKernel(0.05, (1e-4, 0.5))
    process = GaussianProcessRegressor(
        kernel, normalize_y=True, n_restarts_optimizer=1, random_state=0
    )
    with warnings.catch_warnings():  # few points leave the scales undecided, which is all it says
        warnings.simplefilter("ignore", ConvergenceWarning)
        return process.fit(known, heights)


def _coordinates(
    space: Space, prior: Callable[[Point], float | None] | None, floor: float
) -> Callable[[Point], list[float]]:
    """A point as numbers of about 0..1: an axis for ordered values, one for each of the others."""
    axes = {key: _axis(part) for key, part in space.parts.items()}

    def coordinates(point: Point) -> list[float]:
        found = [number for key, axis in axes.items() for number in axis(point[key])]
        if prior is None:
            return found
        guess = prior(point)
        # Ten points of a probe are as far as the two ends of an axis.
        return [*found, 10.0 * ((floor if guess is None else guess) - floor)]

    return coordinates


def _axis(part: Any) -> Callable[[Any], list[float]]:
    if isinstance(part, Range):
        return lambda value: [part.share(value)]
    if _ordered(part):
        low, high = min(part), max(part)
        scale = Range(low, high, log=low > 0 and high / low >= 8)
        return lambda value: [scale.share(value)]
    texts = [json.dumps(value, sort_keys=True) for value in part]
    if len(texts) == 1:
        return lambda value: []
    if len(texts) == 2:
        return lambda value: [float(json.dumps(value, sort_keys=True) == texts[1])]
    return lambda value: [float(json.dumps(value, sort_keys=True) == text) for text in texts]
