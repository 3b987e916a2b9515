"""Settings that are each allowed and together make no sense: refused or said before training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from ppclas_core.component import build_component
from ppclas_core.config.schema import Config
from ppclas_core.contracts.training import Scheduler
from ppclas_core.errors import ConfigError
from ppclas_core.plugins import get_registries
from ppclas_data.loading.pipeline import Pipeline, build_transforms
from ppclas_data.loading.sense import check_transforms

_SAMPLES = 2000
"""Steps of a run whose learning rates are looked at."""
_NOTHING = 1e-4
"""Share of the peak below which a learning rate changes nothing."""


def check_sense(config: Config, images: int, classes: int) -> list[str]:
    """What is odd about a resolved ``config`` for so many training photos, a sentence each.

    Raises:
        ConfigError: training would change nothing, diverge for certain, or measure something else.
    """
    data, train, optimizer = config.data, config.train, config.optimizer
    assert data.batch_size is not None
    assert train.epochs is not None
    batches = max(1, images // data.batch_size)
    if train.average_last is not None and train.average_last > train.epochs:
        raise ConfigError(
            f"train.average_last: expected at most {train.epochs}, the epochs of the run; got "
            f"{train.average_last}."
        )
    factors = optimizer.lr_mult
    if isinstance(factors, Mapping) and factors.get("head") == 0 == factors.get("backbone"):
        raise ConfigError("optimizer.lr_mult is 0 for backbone and head: nothing would be trained.")
    for name, value, least in (
        ("clip_norm", optimizer.clip_norm, 1e-4),
        ("layer_decay", optimizer.layer_decay, 0.1),
    ):
        if value is not None and value < least:
            raise ConfigError(
                f"optimizer.{name} is {value:g}, which leaves nothing to train with: expected "
                f"{least:g} or more."
            )
    schedule: Scheduler = build_component(get_registries().schedulers, config.schedule)
    notes = check_transforms(data)
    notes += list(_about_rates(schedule, max(1, batches // train.accumulate), train.epochs))
    for name, value in (("eval_every", train.eval_every), ("patience", train.patience)):
        if value is not None and value > train.epochs:
            notes.append(f"warning: train.{name} is {value}, beyond the {train.epochs} epochs.")
    for metric in config.metrics or ():
        said = metric.params.get("k", ()) if metric.name == "TopK" else ()
        if said and max(said) >= classes:
            notes.append(f"warning: top-{max(said)} is 1 for every model of {classes} classes.")
    sizes = [
        Pipeline(build_transforms(listed or (), "data")).output_shape()[:2]
        for listed in (data.train_transforms, data.eval_transforms)
    ]
    if sizes[0] != sizes[1]:
        said = " and ".join(f"{height}x{width}" for height, width in sizes)
        notes.append(f"warning: training and evaluation see other sizes: {said} pixels.")
    return notes


def _about_rates(schedule: Scheduler, steps: int, epochs: int) -> Iterator[str]:
    name, total = type(schedule).__name__, steps * epochs
    looked_at = range(0, total, max(1, total // _SAMPLES))
    rates = [schedule.value(step, steps, epochs) for step in looked_at]
    highest = max(rates)
    if highest > schedule.peak * (1 + 1e-6):
        raise ConfigError(
            f"schedule {name} rises to {highest:g}, above its lr of {schedule.peak:g}: expected lr "
            "to be the highest rate of the run."
        )
    alive = sum(rate > _NOTHING * schedule.peak for rate in rates)
    if alive <= max(1, len(rates) // 20) and total > 4:
        raise ConfigError(
            f"schedule {name} is over after a few of the {total} steps: the rate is "
            f"{rates[len(rates) // 2]:g} in the middle of the run. Expected it to last the run."
        )
    if (warmup := getattr(schedule, "warmup_epochs", 0)) > epochs:
        yield f"warning: schedule.warmup_epochs is {warmup:g}, beyond the {epochs} epochs."
    decays = getattr(schedule, "decay_epochs", None)
    if isinstance(decays, tuple) and (late := [epoch for epoch in decays if epoch >= epochs]):
        yield (
            f"warning: schedule.decay_epochs has {', '.join(map(str, late))}, beyond the {epochs} "
            "epochs."
        )
    if name not in ("Constant", "Linear") and all(a <= b for a, b in pairwise(rates)) and total > 1:
        yield f"warning: the learning rate of schedule {name} never falls in {epochs} epochs."
