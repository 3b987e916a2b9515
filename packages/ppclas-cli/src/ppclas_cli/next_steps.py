"""The lines after a run: what to try next, and what to do with the model."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ppclas_core.plugins import get_registries

if TYPE_CHECKING:
    from ppclas_core.config.schema import Config
    from ppclas_engine.loop.train import RunResult

_COSTLIER, _BETTER = 2.0, 0.03
"""How much more a model may cost than the one at hand to be named, and what it must bring, in
0..1."""


def next_steps(result: RunResult) -> Iterator[str]:
    """What the curves say first, a stronger model, and the commands that take the run."""
    from ppclas_engine.results.advice import advice
    from ppclas_engine.session import run_config

    run = result.run.path
    config = run_config(run)
    for said, again in itertools.islice(
        advice(result.history, result.best["epoch"], config, run), 1
    ):
        yield said
        yield f"  {again}"
    if result.best.get("top1") != 1 and (stronger := stronger_model(config)):
        yield stronger
    name = shlex.quote(str(run))
    yield "What to do with it:"
    yield f"  ppclas eval {name}"
    yield f"  ppclas predict PHOTO -m {name}"
    yield f"  ppclas export {name} --target onnx"


def stronger_model(config: Config) -> str | None:
    """A sentence that names the catalogue's best model with published weights at no more than twice
    the cost of the one trained; None where that is no better, or trained from random weights."""
    models = get_registries().models
    own = models.entry(config.model.name).metadata
    if not config.model.pretrained or not own.get("top1") or not own.get("macs_g"):
        return None
    found = [
        (facts["top1"], name, facts)
        for name in models
        if (facts := models.entry(name).metadata).get("top1")
        and facts.get("weights_url")
        and facts.get("params")
        and 0 < (facts.get("macs_g") or 0) <= _COSTLIER * own["macs_g"]
    ]
    top1, name, facts = max(found, default=(0.0, "", {}), key=lambda model: model[:2])
    if top1 < own["top1"] + _BETTER:
        return None
    return (
        f"A stronger model is {name} ({facts['params'] / 1e6:.1f} M parameters, "
        f"{facts['macs_g'] / own['macs_g']:.1f} times the operations, {top1:.1%} on ImageNet "
        f"where {config.model.name} has {own['top1']:.1%}): --model {name}"
    )
