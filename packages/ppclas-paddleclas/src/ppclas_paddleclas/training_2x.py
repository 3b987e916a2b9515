"""``Loss:`` and ``Optimizer:`` of PaddleClas' 2.x schema."""

from __future__ import annotations

from ppclas_core.config.explain import describe
from ppclas_core.errors import ConfigError
from ppclas_core.wording import near_names

from ppclas_paddleclas.common import set_learning_rates, set_optimizer
from ppclas_paddleclas.params import OperatorParams
from ppclas_paddleclas.schedules_2x import translate_schedule
from ppclas_paddleclas.translation import Translation, one_entry

_SOFT = "SoftTargetCrossEntropy"
_CROSS_ENTROPIES = ("CELoss", "MixCELoss", "GoogLeNetLoss", _SOFT)
"""MixCELoss of releases 2.1 to 2.3 is CELoss for batches that an operator has mixed, as is
SoftTargetCrossEntropy, of which the operator smooths the labels."""
_BINARY = "BCELoss"
_LOSSES = (*_CROSS_ENTROPIES, _BINARY, "MultiLabelLoss")
_LR = ("Optimizer", "lr")


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
        if name == "MultiLabelLoss":
            set_multilabel_loss(t, params, *where)
            params.finish()
            return
        epsilon = params.number("epsilon", 0.0, or_null=True) if name != _SOFT else 0.0
        smoothing = epsilon if 0 < epsilon < 1 else 0.0
        if params.take("reduction", "mean") != "mean":
            raise params.error("reduction", "expected mean.")
        if name == _BINARY:
            _set_binary_loss(t, params, *where)
        else:
            t.set("loss.name", "CrossEntropy", *where)
        params.finish()
    except ConfigError as error:
        t.refuse(where, str(error))
        return
    t.set("loss.label_smoothing", smoothing, *where)


def _set_binary_loss(t: Translation, params: OperatorParams, *where: str | int) -> None:
    """``loss`` of BCELoss: each class that has a share of an image is there."""
    if params.take("pos_weight") is not None:
        raise params.error("pos_weight", "weights of classes have no setting here.")
    t.set("loss.name", "MixedBinaryCrossEntropy", *where)
    threshold = params.number("target_threshold", 0.2)
    if not 0 <= threshold < 1:
        raise params.error("target_threshold", f"expected 0 or more, below 1, got {threshold:g}.")
    t.set("loss.threshold", threshold, *where)


def set_multilabel_loss(t: Translation, params: OperatorParams, *where: str | int) -> None:
    """``loss`` of images with several labels.

    Raises:
        ConfigError: a parameter has no setting here.
    """
    epsilon = params.number("epsilon", 0.0, or_null=True)
    if 0 < epsilon < 1:
        raise params.error("epsilon", "labels of several classes are not smoothed here.")
    if params.take("reduction", "mean") != "mean":
        raise params.error("reduction", "expected mean.")
    weighted, summed = params.flag("weight_ratio"), params.flag("size_sum")
    t.set("loss.name", "AttributeCrossEntropy" if weighted else "BinaryCrossEntropy", *where)
    if not summed:  # the mean over images and classes, not the sum over classes
        t.set("loss.mean_over_classes", True, *where)


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
    decoupled = t.get("Optimizer", "name") in ("AdamW", "AdamWDL", "Lamb")
    name = t.get("Optimizer", "name")
    if name in ("Adam", "AdamW", "AdamWDL", "Lamb"):
        t.move_number("optimizer.clip_each", "Optimizer", "clip_norm")
    elif t.has("Optimizer", "clip_norm"):
        t.refuse(
            ("Optimizer", "clip_norm"),
            "it limits the gradient of each tensor by itself, as Adam and its like alone do. "
            "Leave the key out, or give clip_norm_global, the norm of all together.",
        )
    t.move_number("optimizer.clip_norm", "Optimizer", "clip_norm_global")
    if t.is_null("Optimizer", "clip_grad"):
        t.drop("gradients are not clipped", "Optimizer", "clip_grad")
    else:
        t.move_number("optimizer.clip_norm", "Optimizer", "clip_grad")
    t.drop("weights are in float32 here in any case", "Optimizer", "multi_precision")
    if name == "AdamWDL" and t.flag("Optimizer", "filter_bias_and_bn", default=True):
        t.set("optimizer.no_decay_norm_bias", True, "Optimizer", "filter_bias_and_bn")
    spared = t.flag("Optimizer", "one_dim_param_no_weight_decay")
    if spared:
        t.set("optimizer.no_decay_norm_bias", True, "Optimizer", "one_dim_param_no_weight_decay")
    names = t.get("Optimizer", "no_weight_decay_name")
    if isinstance(names, str) and decoupled:
        t.set("optimizer.no_decay_names", names.split(), "Optimizer", "no_weight_decay_name")
    elif names and not spared:
        t.refuse(
            ("Optimizer", "no_weight_decay_name"),
            "expected parts of names with a space between them, for AdamW or Lamb; else which "
            "parameters decay is set by optimizer.no_decay_norm_bias.",
        )
    _translate_decay(t)
    if t.section(*_LR, required=True):
        translate_schedule(t)
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


def translate_precision(t: Translation) -> None:
    """``train.precision`` of ``AMP``, and ``train.ema_decay`` of ``EMA``."""
    if t.is_null("AMP"):
        t.drop("mixed precision is off where AMP is empty", "AMP")
    elif t.section("AMP", required=False):
        if t.flag("AMP", "use_amp", default=True):
            t.set("train.precision", "fp16", "AMP", "level" if t.has("AMP", "level") else "use_amp")
            if t.flag("AMP", "use_pure_fp16"):  # of the first releases
                t.set("train.amp_level", "O2", "AMP", "use_pure_fp16")
            t.move("train.amp_level", "AMP", "level")
        else:
            for key in ("level", "use_pure_fp16"):
                t.drop("mixed precision is off", "AMP", key)
        for key in (
            "scale_loss",
            "use_dynamic_loss_scaling",
            "use_promote",
            "use_fp16_test",
            "use_bf16_test",
        ):
            t.drop("the loss scale is found while training, evaluation is in float32", "AMP", key)
    if t.section("EMA", required=False):
        if t.has("EMA", "decay"):
            t.move_number("train.ema_decay", "EMA", "decay")
        else:
            t.set("train.ema_decay", 0.9999, "EMA")
