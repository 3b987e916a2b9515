"""``Loss:`` and ``Optimizer:`` of PaddleClas' 2.x schema."""

from __future__ import annotations

import itertools
import math
from typing import Any

from ppclas_core.config.explain import describe
from ppclas_core.errors import ConfigError
from ppclas_core.wording import near_names

from ppclas_paddleclas.common import set_learning_rates, set_optimizer
from ppclas_paddleclas.params import OperatorParams
from ppclas_paddleclas.translation import Translation, one_entry
from ppclas_paddleclas.values import is_whole, read_numbers

_CROSS_ENTROPIES = ("CELoss", "MixCELoss", "GoogLeNetLoss")
"""MixCELoss of releases 2.1 to 2.3 is CELoss for batches that an operator has mixed."""
_LOSSES = (*_CROSS_ENTROPIES, "MultiLabelLoss")
_LR = ("Optimizer", "lr")
_STEPS = {"Piecewise": "decay_epochs", "MultiStepDecay": "milestones", "Step": "step_size"}
"""Schedules that keep a rate for some epochs, and where they say for which."""
_SCHEDULES = ("Constant", "ConstLR", "Cosine", "Linear", *_STEPS)


def translate_loss(t: Translation) -> None:
    """``loss`` of ``Loss.Train``."""
    t.drop("evaluation always measures the cross entropy", "Loss", "Eval")
    if not t.section("Loss", required=True) or not t.require("Loss", "Train"):
        return
    items, where = t.items("Loss", "Train"), ("Loss", "Train", 0)
    if t.refused("Loss"):
        return
    if len(items) != 1:
        t.refuse(
            ("Loss", "Train"), "expected a list with one loss; sums of several are not translated."
        )
        return
    try:
        name, given = one_entry(items[0])
        if name not in _LOSSES:
            near = near_names(name, _LOSSES)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(f"expected one of {', '.join(_LOSSES)}, got {name}.{hint}")
        params = OperatorParams(name, given)
        refuse_weight(params)
        epsilon = params.number("epsilon", 0.0, or_null=True)
        smoothing = epsilon if 0 < epsilon < 1 else 0.0
        if params.take("reduction", "mean") != "mean":
            raise params.error("reduction", "expected mean.")
        params.finish()
        if name == "MultiLabelLoss" and smoothing:
            raise params.error("epsilon", "labels of several classes are not smoothed here.")
    except ConfigError as error:
        t.refuse(where, str(error))
        return
    if name == "MultiLabelLoss":
        t.set("loss.name", "BinaryCrossEntropy", *where)
    else:
        t.set("loss.name", "CrossEntropy", *where)
        t.set("loss.label_smoothing", smoothing, *where)


def refuse_weight(params: OperatorParams) -> None:
    """Refuse the weight of the only loss there is.

    Raises:
        ConfigError: it is not 1.
    """
    if params.number("weight", 1.0) != 1.0:
        raise params.error(
            "weight", "the weight of a loss that stands alone was ignored; leave it at 1.0."
        )


def translate_optimizer(t: Translation) -> None:
    """``optimizer`` and ``schedule`` of ``Optimizer``."""
    if not t.section("Optimizer", required=True):
        return
    if not set_optimizer(t, ("Optimizer", "name"), ("Optimizer",), "Optimizer"):
        return
    if t.has("Optimizer", "clip_norm"):
        t.refuse(
            ("Optimizer", "clip_norm"),
            "it limits the gradient of each tensor by itself; here there is only the norm of all "
            "together, optimizer.clip_norm. Leave the key out, or give clip_norm_global.",
        )
    t.move_number("optimizer.clip_norm", "Optimizer", "clip_norm_global")
    t.drop("weights are in float32 here in any case", "Optimizer", "multi_precision")
    spared = t.flag("Optimizer", "one_dim_param_no_weight_decay")
    if spared:
        t.set("optimizer.no_decay_norm_bias", True, "Optimizer", "one_dim_param_no_weight_decay")
    if t.get("Optimizer", "no_weight_decay_name") and not spared:
        t.refuse(
            ("Optimizer", "no_weight_decay_name"),
            "which parameters decay is set by optimizer.no_decay_norm_bias here, not by parts of "
            "names.",
        )
    _translate_decay(t)
    if t.section(*_LR, required=True):
        _translate_schedule(t)
    set_learning_rates(t)


def _translate_decay(t: Translation) -> None:
    penalty, decay = ("Optimizer", "regularizer"), ("Optimizer", "weight_decay")
    t.set("optimizer.weight_decay", 0.0, "Optimizer", "name", quiet=True)
    if t.is_null(*penalty):
        t.drop("there is none", *penalty)
    elif t.section(*penalty, required=False):
        if t.get(*penalty, "name") != "L2":
            found = describe(t.get(*penalty, "name"))
            t.refuse((*penalty, "name"), f"expected L2, got {found}.", covers=penalty)
        t.move_number("optimizer.weight_decay", *penalty, "coeff")
        t.drop("Optimizer.regularizer is given, which comes before it", *decay)
        return
    if t.is_null(*decay):
        t.drop("there is none", *decay)
    else:
        t.move_number("optimizer.weight_decay", *decay)


def _translate_schedule(t: Translation) -> None:
    name = t.get(*_LR, "name", default="ConstLR")
    if not isinstance(name, str) or name not in _SCHEDULES:
        t.refuse(
            (*_LR, "name"),
            f"expected one of {', '.join(_SCHEDULES)}, got {describe(name)}.",
            covers=_LR,
        )
        return
    warmup = t.number(*_LR, "warmup_epoch", default=0) or 0
    if t.number(*_LR, "warmup_start_lr", default=0):
        t.refuse((*_LR, "warmup_start_lr"), "warmup starts from 0 here.")
    if t.flag(*_LR, "by_epoch"):
        t.refuse(
            (*_LR, "by_epoch"), "true: the rate changes with each step here. Leave the key out."
        )
    if t.number(*_LR, "last_epoch", default=-1) != -1:
        t.refuse((*_LR, "last_epoch"), "expected -1, the start of a run.")
    if name in _STEPS:
        _translate_steps(t, name, warmup)
        return
    if t.require(*_LR, "learning_rate"):
        t.move_number("schedule.lr", *_LR, "learning_rate")
    if name == "Cosine":
        t.set("schedule.name", "CosineWarmup", *_LR, "name")
        t.set("schedule.warmup_epochs", warmup, *_LR, "warmup_epoch")
        if t.number(*_LR, "eta_min", default=0):
            t.refuse((*_LR, "eta_min"), "the cosine ends at 0 here.")
        return
    if warmup:
        t.refuse((*_LR, "warmup_epoch"), f"{name} has no warmup here. Set it to 0.")
    if name == "Linear":
        t.set("schedule.name", "Linear", *_LR, "name")
        t.move_number("schedule.end_lr", *_LR, "end_lr")
        if t.number(*_LR, "power", default=1) != 1:
            t.refuse((*_LR, "power"), "expected 1.")
    else:
        t.set("schedule.name", "Constant", *_LR, "name")


def _translate_steps(t: Translation, name: str, warmup: float) -> None:
    """A rate that is multiplied by the same factor at the beginning of some epochs."""
    t.set("schedule.name", "Piecewise", *_LR, "name")
    lr, epochs, gamma = _rates(t, name)
    if warmup != int(warmup):
        t.refuse((*_LR, "warmup_epoch"), f"{name} takes whole epochs of warmup here.")
    if lr is None or epochs is None or t.refused(*_LR):
        return
    source = "learning_rate" if t.has(*_LR, "learning_rate") else "values"
    t.set("schedule.lr", lr, *_LR, source)
    # PaddleClas counts them from the end of the warmup, this project from the start of the run.
    counted = [int(warmup) + epoch for epoch in epochs]
    t.set("schedule.decay_epochs", counted, *_LR, _STEPS[name])
    if gamma is not None:
        t.set("schedule.gamma", gamma, *_LR, "gamma" if t.has(*_LR, "gamma") else source)
    if warmup:
        t.set("schedule.warmup_epochs", warmup, *_LR, "warmup_epoch")


def _rates(t: Translation, name: str) -> tuple[float | None, list[int] | None, float | None]:
    """The first rate, the epochs at which it falls, and the factor, if it is not a tenth."""
    run = t.get("Global", "epochs", default=120)
    if not is_whole(run):
        t.refuse(("Global", "epochs"), f"expected a whole number, got {describe(run)}.")
        run = 120
    if name != "Piecewise":
        lr = t.number(*_LR, "learning_rate") if t.require(*_LR, "learning_rate") else None
        return lr, _epochs(t, name, run), t.number(*_LR, "gamma", default=0.1)
    if t.has(*_LR, "learning_rate"):
        return _tenths(t, run)
    epochs = _epochs(t, name, run)
    if not t.require(*_LR, "values"):
        return None, None, None
    try:
        values = read_numbers(t.get(*_LR, "values"))
    except ConfigError as error:
        t.refuse((*_LR, "values"), str(error))
        return None, None, None
    falls = {
        round(after / before, 9) if before else None for before, after in itertools.pairwise(values)
    }
    if epochs is not None and (
        len(values) != len(epochs) + 1 or len(falls) > 1 or not falls or min(values) <= 0
    ):
        t.refuse(
            (*_LR, "values"),
            "expected one value more than decay_epochs, each above 0 and the same part of the one "
            f"before it, got {describe(t.get(*_LR, 'values'))}.",
        )
        return None, None, None
    return values[0] if values else None, epochs, next(iter(falls), None)


def _tenths(t: Translation, run: int) -> tuple[float | None, list[int] | None, None]:
    """A tenth every 30 epochs, which some releases take from a learning_rate and others do not."""
    lr, epochs = t.number(*_LR, "learning_rate"), list(range(30, run, 30)) or [30]
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
    return lr, epochs, None


def _epochs(t: Translation, name: str, run: int) -> list[int] | None:
    """At which epochs a rate falls, from 1 on."""
    key = _STEPS[name]
    if not t.require(*_LR, key):
        return None
    found: Any = t.get(*_LR, key)
    if name == "Step":
        if is_whole(found) and found > 0:
            return list(range(found, run, found)) or [found]
        t.refuse((*_LR, key), f"expected a whole number of epochs, got {describe(found)}.")
    elif isinstance(found, list) and all(is_whole(epoch) and epoch > 0 for epoch in found):
        return found
    else:
        t.refuse((*_LR, key), f"expected a list of whole epochs, got {describe(found)}.")
    return None
