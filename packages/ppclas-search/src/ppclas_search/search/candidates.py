"""The models of a search before any is trained: size and latency here, and a probe of features."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from ppclas_core.bundle import Bundle, Manifest, Preprocessing, architecture_of, write_bundle
from ppclas_core.config.schema import Config
from ppclas_core.errors import BundleError, DataError, PpclasError
from ppclas_core.files import write_json
from ppclas_core.models import create_model
from ppclas_core.weights import model_state
from ppclas_data.loading.pipeline import Pipeline, build_transforms, with_all_parameters
from ppclas_engine.console import Console
from ppclas_engine.loop.channels import load_fitting
from ppclas_engine.loop.probe import probe_set
from ppclas_engine.planning.plan import Plan, given, plan_run
from ppclas_engine.scoring.evaluate import score
from ppclas_engine.scoring.monitor import height

from ppclas_search.features import extract_features
from ppclas_search.frozen import probe_logits
from ppclas_search.search.space import Point, Space, key_of, part_of, short_value

_STEP = 3.0
"""Time of a training step in forward passes."""
_START = 4.0
"""Seconds of a run before its first step."""


@dataclass(frozen=True)
class Cost:
    """What a model costs where it is used."""

    latency_ms: float
    """Of one photo, at the median."""
    size_mb: float
    """Of what the engine loads, in 10^6 bytes."""


Measure: TypeAlias = Callable[[Bundle], Cost]
"""Runs a bundle in the engine asked for, on this machine."""


@dataclass(frozen=True)
class Candidate:
    """A model with its input, and what is known of it before it is trained."""

    name: str
    """As people read it: ``MobileNetV2 224``."""
    point: Point
    """Its part of a point."""
    latency_ms: float | None = None
    size_mb: float | None = None
    probe: float | None = None
    """Height of a linear classifier on its frozen features."""
    seconds: float | None = None
    """That a full run is expected to take."""
    look_seconds: float | None = None
    """That looking at it took: weights, latency, features."""
    look_cpu_seconds: float | None = None
    """The same, of this process on all CPU cores: what else runs on the machine does not count."""
    dropped: str = ""
    """Why it is not tried."""


@dataclass(frozen=True)
class Limits:
    """What a model may cost."""

    latency_ms: float | None = None
    size_mb: float | None = None

    def broken_by(self, cost: Cost) -> str:
        """Why a model is left out; empty: it is not."""
        if self.size_mb is not None and cost.size_mb > self.size_mb:
            return f"{cost.size_mb:.1f} MB, and at most {self.size_mb:g} are wanted"
        if self.latency_ms is not None and cost.latency_ms > self.latency_ms:
            return f"{cost.latency_ms:.1f} ms for a photo, and at most {self.latency_ms:g} wanted"
        return ""


def candidates_of(space: Space) -> list[Point]:
    """Every model with its input that the space has; one that is empty where it chooses none.

    Ranges are left to the recipe.
    """
    keys = part_of(dict.fromkeys(space.parts))
    chosen = {key: part for key in keys if isinstance(part := space.parts[key], tuple)}
    return list(Space(chosen, space.sampler, None).points())


def promising(candidates: Sequence[Candidate]) -> Candidate:
    """The one with the best probe of those that are tried, the first where there is none."""
    able = [each for each in candidates if not each.dropped]
    return max(able, key=lambda each: -np.inf if each.probe is None else each.probe)


def usual(config: Config, space: Space) -> Point:
    """What training does where nobody says anything, for the keys of ``space``.

    Args:
        config: of a plan, which has every value.
        space: names the keys.
    """
    values = config.model_dump(mode="json")
    found: Point = {}
    for key in space.parts:
        node: Any = values
        for name in key.split("."):
            node = node.get(name) if isinstance(node, dict) else None
        found[key] = node
    return found


def look_at(
    points: Sequence[Point],
    config_of: Callable[[Point], Config],
    folder: Path,
    measure: Measure,
    limits: Limits,
    console: Console,
    *,
    probe: bool,
    alive: Callable[[], None] = lambda: None,
) -> list[Candidate]:
    """Size, latency and, with ``probe``, the worth of the frozen features of each candidate.

    What is known is kept in ``folder``: a search that goes on does not look again.

    Args:
        points: what makes each candidate.
        config_of: the whole config around it.
        folder: for bundles and results.
        measure: gives latency and size.
        limits: candidates over them are dropped before their features are computed.
        console: a line for each.
        probe: whether to compute features, which takes a pass over all photos.
        alive: called after each that was looked at.
    """
    found = []
    for number, point in enumerate(points):
        place = folder / f"{number:03d}"
        known = _read(place / "candidate.json", point)
        if known is None or (probe and known.probe is None and not known.dropped):
            began, used = time.monotonic(), time.process_time()
            place.mkdir(parents=True, exist_ok=True)
            known = _look(point, config_of(point), place, measure, limits, console, probe=probe)
            known = replace(
                known,
                look_seconds=round(time.monotonic() - began, 1),
                look_cpu_seconds=round(time.process_time() - used, 1),
            )
            shutil.rmtree(place / "bundle", ignore_errors=True)
            write_json(place / "candidate.json", asdict(known))
            alive()
        found.append(known)
        console.line(described(known))
    return found


def described(candidate: Candidate) -> str:
    """One line on a candidate."""
    facts = []
    if candidate.probe is not None:
        facts.append(f"probe {abs(candidate.probe):.4f}")
    if candidate.latency_ms is not None:
        facts.append(f"{candidate.latency_ms:.1f} ms")
    if candidate.size_mb is not None:
        facts.append(f"{candidate.size_mb:.1f} MB")
    if candidate.dropped:
        facts.append(f"left out: {candidate.dropped}")
    return f"{candidate.name}: {', '.join(facts) or 'nothing measured'}"


def _read(file: Path, point: Point) -> Candidate | None:
    try:
        known = Candidate(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none yet, or cut short: looked at again
        return None
    return known if key_of(known.point) == key_of(point) else None


def _look(
    point: Point,
    config: Config,
    place: Path,
    measure: Measure,
    limits: Limits,
    console: Console,
    *,
    probe: bool,
) -> Candidate:
    candidate = Candidate(_name(point, config), point)
    try:
        plan = plan_run(config)
        candidate = replace(candidate, name=_name(point, plan.config))
        bundle = _untrained(plan, place / "bundle")
    except PpclasError as error:  # weights that are not to be had, a size that does not fit
        said = str(error).removeprefix(f"{config.model.name}: ")
        # What is wrong with the photos, or with what is measured, no other model puts right.
        if isinstance(error, DataError) or said.startswith("train.monitor: "):
            raise
        return replace(candidate, dropped=said.partition(". ")[0].rstrip("."))
    try:
        cost = measure(bundle)
    except PpclasError as error:
        if limits != Limits():
            return replace(candidate, dropped=f"it could not be measured: {str(error).rstrip('.')}")
        console.warn(f"{candidate.name} could not be measured: {error}")
    else:
        candidate = replace(
            candidate,
            latency_ms=round(cost.latency_ms, 3),
            size_mb=round(cost.size_mb, 3),
            dropped=limits.broken_by(cost),
        )
    if candidate.dropped or not probe:
        return candidate
    return _probed(candidate, plan, bundle, console)


def _name(point: Point, config: Config) -> str:
    size = config.data.image_size
    shown = "x".join(map(str, size)) if isinstance(size, tuple) else size
    others = [
        f"{key.rpartition('.')[2]} {json.dumps(value)}"
        for key, value in point.items()
        if key not in ("model", "model.name", "data.image_size")
    ]
    model = short_value(point["model"]) if "model" in point else config.model.name
    return " ".join([model, *([str(shown)] if shown else []), *others])


def _untrained(plan: Plan, folder: Path) -> Bundle:
    """A bundle of the model as training starts from it, its classifier still random."""
    config, classes = plan.config, plan.train.class_names
    model = create_model(config.model.name, len(classes), **config.model.params)
    if plan.weights is not None:
        load_fitting(model, plan.weights)
    transforms = given(config.data.eval_transforms)
    pipeline = Pipeline(build_transforms(transforms, "data.eval_transforms"))
    high, wide, _ = pipeline.output_shape()
    several = plan.train.task == "multilabel"
    manifest = Manifest(
        task=plan.train.task,
        activation="sigmoid" if several else "softmax",
        architecture=architecture_of(config.model.name, len(classes), config.model.params),
        preprocessing=Preprocessing(
            image_size=(high, wide),
            transforms=with_all_parameters(transforms),
            normalize=config.data.normalize,
        ),
        labels=classes,
    )
    return write_bundle(folder, manifest, model_state(model))


def _probed(candidate: Candidate, plan: Plan, bundle: Bundle, console: Console) -> Candidate:
    """With the height of a logistic regression on frozen features, and the time of a full run."""
    monitor = given(plan.config.train.monitor)
    train, val = probe_set(plan.train), probe_set(plan.val)
    began = time.monotonic()
    try:
        known = extract_features(bundle, train, console)
        asked = extract_features(bundle, val, console)
    except BundleError as error:
        console.warn(f"{candidate.name} has no features to probe: {error}")
        return candidate
    a_photo = (time.monotonic() - began) / (len(train) + len(val))
    epochs = given(plan.config.train.epochs)
    seconds = _START + a_photo * (
        len(plan.train) * (_STEP * epochs + 1) + len(plan.val) * (epochs + 1)
    )
    candidate = replace(candidate, seconds=round(seconds, 1))
    # Random features say nothing about what training makes of them.
    if plan.weights is None or plan.train.task == "multilabel":
        return candidate
    evaluation = score(
        probe_logits(known, asked), asked.labels, np.arange(len(asked)), asked.class_names
    )
    return replace(candidate, probe=round(height(evaluation.metrics, monitor), 5))


def keep_best(found: Sequence[Candidate], seconds: float, jobs: int) -> list[Candidate]:
    """Drop the candidates that do not come to a full run each in ``seconds``, worst first.

    Those without a probe come last. One is always kept.
    """
    able = [each for each in found if not each.dropped]
    ranked = sorted(
        able, key=lambda each: -np.inf if each.probe is None else each.probe, reverse=True
    )
    kept: list[Candidate] = []
    needed = 0.0
    for each in ranked:
        needed += each.seconds or 0.0
        if kept and needed > seconds * jobs:
            break
        kept.append(each)
    names = {id(each) for each in kept}
    places = {id(each): place for place, each in enumerate(ranked, 1)}
    return [
        each
        if each.dropped or id(each) in names
        else replace(
            each,
            dropped=f"place {places[id(each)]} of {len(ranked)} by the probe, and the time is for "
            f"the first {len(kept)}",
        )
        for each in found
    ]
