"""``Optimizer.lr`` of PaddleClas' 2.x schema."""

from __future__ import annotations

import itertools
import math
from typing import Any

from ppclas_core.config.explain import describe
from ppclas_core.errors import ConfigError

from ppclas_paddleclas.translation import Translation
from ppclas_paddleclas.values import is_whole, read_numbers

_LR = ("Optimizer", "lr")
_STEPS = {"Piecewise": "decay_epochs", "MultiStepDecay": "milestones", "Step": "step_size"}
"""Schedules that keep a rate for some epochs, and where they say for which."""
_MOST_STEPS = 10_000
"""As often at most does a rate change."""
_READS = {
    "Constant": (),
    "ConstLR": (),
    "Cosine": ("eta_min",),
    "Linear": ("end_lr", "power", "cycle"),
    "Piecewise": ("decay_epochs", "values"),
    "MultiStepDecay": ("milestones", "gamma"),
    "Step": ("step_size", "gamma"),
}
"""Schedule → the parameters that it alone reads. PaddleClas passes over those of the others."""


def translate_schedule(t: Translation) -> None:
    """``schedule`` of ``Optimizer.lr``."""
    name = t.get(*_LR, "name", default="ConstLR")
    if not isinstance(name, str) or name not in _READS:
        t.refuse(
            (*_LR, "name"),
            f"expected one of {', '.join(_READS)}, got {describe(name)}.",
            covers=_LR,
        )
        return
    warmup = t.number(*_LR, "warmup_epoch", default=0) or 0
    start = (t.number(*_LR, "warmup_start_lr", default=0) or 0) if warmup else 0
    t.get(*_LR, "warmup_start_lr")
    by_epoch = t.flag(*_LR, "by_epoch")
    if t.number(*_LR, "last_epoch", default=-1) != -1:
        t.refuse((*_LR, "last_epoch"), "expected -1, the start of a run.")
    t.drop("counted from the data", *_LR, "step_each_epoch")
    t.drop("nothing is printed by the schedule", *_LR, "verbose")
    for key in dict.fromkeys(key for keys in _READS.values() for key in keys):
        if key not in _READS[name]:
            t.drop(f"{name} does not read it", *_LR, key)
    if name in _STEPS:
        _translate_steps(t, name, warmup, start, by_epoch)
        return
    if t.require(*_LR, "learning_rate"):
        t.move_number("schedule.lr", *_LR, "learning_rate")
    if name == "Cosine":
        end = t.number(*_LR, "eta_min", default=0) or 0
        if start or end or by_epoch:
            _warmup_then(t, "cosine", warmup, start, by_epoch)
            t.move_number("schedule.end_lr", *_LR, "eta_min")
        else:
            t.set("schedule.name", "CosineWarmup", *_LR, "name")
            t.set("schedule.warmup_epochs", warmup, *_LR, "warmup_epoch")
    elif name == "Linear":
        power = t.number(*_LR, "power", default=1)
        if t.flag(*_LR, "cycle"):
            t.refuse((*_LR, "cycle"), "true: the line starts once here. Leave the key out.")
        if warmup or by_epoch or power != 1:
            _warmup_then(t, "polynomial", warmup, start, by_epoch)
            t.move_number("schedule.power", *_LR, "power")
        else:
            t.set("schedule.name", "Linear", *_LR, "name")
        t.move_number("schedule.end_lr", *_LR, "end_lr")
    elif warmup:
        _warmup_then(t, "constant", warmup, start, by_epoch)
    else:
        t.set("schedule.name", "Constant", *_LR, "name")


def _warmup_then(t: Translation, shape: str, warmup: float, start: float, by_epoch: bool) -> None:
    t.set("schedule.name", "WarmupThen", *_LR, "name")
    t.set("schedule.shape", shape, *_LR, "name", quiet=True)
    if warmup:
        t.set("schedule.warmup_epochs", warmup, *_LR, "warmup_epoch")
    if start:
        t.set("schedule.warmup_lr", start, *_LR, "warmup_start_lr")
    if by_epoch:
        t.set("schedule.by_epoch", True, *_LR, "by_epoch")


def _translate_steps(
    t: Translation, name: str, warmup: float, start: float, by_epoch: bool
) -> None:
    """A rate that is multiplied by a factor at the beginning of some epochs."""
    lr, epochs, factors = _rates(t, name)
    if lr is None or epochs is None or t.refused(*_LR):
        return
    source = "learning_rate" if t.has(*_LR, "learning_rate") else "values"
    t.set("schedule.lr", lr, *_LR, source)
    # The built-in one takes the same part again and again, and starts from 0.
    falls = {
        round(after / before, 9) if before else 0.0
        for before, after in itertools.pairwise((1.0, *factors))
    }
    plain = len(falls) <= 1 and all(0 < fall <= 1 for fall in falls)
    plain = plain and all(epoch == int(epoch) for epoch in epochs)
    if plain and not start and warmup == int(warmup) and not (by_epoch and warmup):
        t.set("schedule.name", "Piecewise", *_LR, "name")
        # PaddleClas counts them from the end of the warmup, this project from the start of the run.
        t.set("schedule.decay_epochs", [int(warmup) + int(e) for e in epochs], *_LR, _STEPS[name])
        for fall in falls - {0.1}:
            t.set("schedule.gamma", fall, *_LR, "gamma" if t.has(*_LR, "gamma") else source)
        if warmup:
            t.set("schedule.warmup_epochs", warmup, *_LR, "warmup_epoch")
        return
    _warmup_then(t, "steps", warmup, start, by_epoch)
    t.set("schedule.decay_epochs", epochs, *_LR, _STEPS[name])
    t.set("schedule.factors", list(factors), *_LR, "gamma" if t.has(*_LR, "gamma") else source)


def _rates(t: Translation, name: str) -> tuple[float | None, list[float] | None, tuple[float, ...]]:
    """The first rate, the epochs at which it changes, and what part of it is left from each on."""
    run = t.get("Global", "epochs", default=120)
    if not is_whole(run):
        t.refuse(("Global", "epochs"), f"expected a whole number, got {describe(run)}.")
        for key in ("learning_rate", *_READS[name]):
            t.get(*_LR, key)
        return None, None, ()
    if name != "Piecewise":
        lr = t.number(*_LR, "learning_rate") if t.require(*_LR, "learning_rate") else None
        epochs, gamma = _epochs(t, name, run), t.number(*_LR, "gamma", default=0.1)
        if gamma is not None and not 0 < gamma <= 1:
            t.refuse((*_LR, "gamma"), f"expected more than 0 and at most 1, got {gamma:g}.")
        return lr, epochs, tuple((gamma or 0.1) ** (n + 1) for n in range(len(epochs or ())))
    if t.has(*_LR, "learning_rate"):
        lr, epochs = _tenths(t, run)
        return lr, epochs, tuple(0.1 ** (n + 1) for n in range(len(epochs)))
    epochs = _epochs(t, name, run)
    if not t.require(*_LR, "values"):
        return None, None, ()
    try:
        values = read_numbers(t.get(*_LR, "values"))
    except ConfigError as error:
        t.refuse((*_LR, "values"), str(error))
        return None, None, ()
    if epochs is None:
        return None, None, ()
    first = values[0] if values else 0.0
    if 1 < len(values) == len(epochs):  # the last of the rates holds to the end
        t.lines.append(
            f"Optimizer.lr.values has as many values as decay_epochs: the rate no longer changes "
            f"at epoch {epochs[-1]:g}"
        )
        epochs = epochs[:-1]
    if len(values) != len(epochs) + 1 or not all(0 < rate <= first for rate in values):
        t.refuse(
            (*_LR, "values"),
            "expected one value more than decay_epochs, each above 0 and none above the first, "
            f"got {describe(t.get(*_LR, 'values'))}.",
        )
        return None, None, ()
    return first, epochs, tuple(round(rate / first, 9) for rate in values[1:])


def _tenths(t: Translation, run: int) -> tuple[float | None, list[float]]:
    """A tenth every 30 epochs, which some releases take from a learning_rate and others do not."""
    lr: float | None = t.number(*_LR, "learning_rate")
    epochs: list[float] = [*range(30, run, 30)] or [30]
    expected = {"decay_epochs": epochs, "values": [lr, *((lr or 0) / 10**n for n in range(1, 99))]}
    for key, tenths in expected.items():
        found = t.get(*_LR, key, default=[])
        if not isinstance(found, list) or not all(
            is_whole(value) or isinstance(value, float) for value in found
        ):
            t.refuse((*_LR, key), f"expected a list of numbers, got {describe(found)}.")
        elif any(
            not math.isclose(value, tenth or 0, rel_tol=1e-6)
            for value, tenth in zip(found, tenths, strict=False)
        ):
            t.refuse(
                (*_LR, "learning_rate"),
                "releases of PaddleClas differ in whether it or the lists beside it count. Leave "
                "it out, or leave out decay_epochs and values.",
            )
    return lr, epochs


def _epochs(t: Translation, name: str, run: int) -> list[float] | None:
    """At which epochs a rate falls, from 1 on."""
    key = _STEPS[name]
    if not t.require(*_LR, key):
        return None
    found: Any = t.get(*_LR, key)
    if name == "Step":
        size = t.number(*_LR, key)
        if size is not None and size * _MOST_STEPS >= run and size > 0:
            count = max(math.ceil(run / size) - 1, 1)
            return [round(size * (n + 1), 9) for n in range(count)]
        t.refuse(
            (*_LR, key),
            f"expected epochs, no more than {_MOST_STEPS} times in the run, got {describe(found)}.",
        )
    elif isinstance(found, list) and all(is_whole(epoch) and epoch > 0 for epoch in found):
        return found
    else:
        t.refuse((*_LR, key), f"expected a list of whole epochs, got {describe(found)}.")
    return None
