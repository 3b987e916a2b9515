"""Distillation in the 2.x schema: ``Arch.models``, some of them frozen, and their losses."""

from __future__ import annotations

from typing import Any

from ppclas_core.config.explain import describe
from ppclas_core.errors import ConfigError
from ppclas_core.wording import near_names

from ppclas_paddleclas.common import drop_data_facts, set_pretrained, ssld_name
from ppclas_paddleclas.models import check_name
from ppclas_paddleclas.params import OperatorParams
from ppclas_paddleclas.training_2x import refuse_weight
from ppclas_paddleclas.translation import Translation, one_entry
from ppclas_paddleclas.values import read_flag

_MODELS = ("Arch", "models")
_TRUTH = "DistillationGTCELoss"
_LOSSES: dict[str, tuple[str, dict[str, float]]] = {
    "DistillationDMLLoss": ("ssld", {}),
    "DistillationCELoss": ("soft_ce", {}),
    "DistillationKLDivLoss": ("kl", {"temperature": 4.0}),
    "DistillationDKDLoss": ("dkd", {"temperature": 1.0, "alpha": 1.0, "beta": 1.0}),
    "DistillationDISTLoss": ("dist", {"beta": 1.0, "gamma": 1.0}),
    "DistillationSKDLoss": ("skd", {"temperature": 1.0, "multiplier": 2.0, "alpha": 0.9}),
    "DistillationWSLLoss": ("wsl", {"temperature": 2.0}),
}
"""Old loss between two named models → new one, and the old defaults of its parameters."""
_PAIR, _BASE = "DistillationPairLoss", "base_loss_name"
"""A loss that names another one, ``DISTLoss``, and takes its parameters."""
_WITH_TARGET = ("dkd", "skd", "wsl")
"""Those that look at a target class: the label's, or the teacher's."""


def translate_pair(t: Translation) -> None:
    """``objective`` of a list of named models, of which those that are frozen teach."""
    drop_data_facts(t, [("Arch", "class_num")])
    t.drop("the bundle holds the student", "Arch", "infer_model_name")
    if t.flag("Arch", "use_sync_bn"):
        t.set("train.sync_batch_norm", True, "Arch", "use_sync_bn")
    named = _named_models(t)
    frozen = _for_each_model(t, "freeze_params_list", named)
    weights = _for_each_model(t, "pretrained_list", named)
    teachers = [name for name in named if frozen.get(name)]
    students = [name for name in named if name not in teachers]
    if t.refused("Arch"):
        t.get("Loss")
        return
    if len(students) != 1 or not teachers:
        t.get("Loss")
        t.refuse(
            ("Arch",), "expected one student and at least one frozen teacher (freeze_params_list)."
        )
        return
    (student,) = students
    name, own = _model(t, named[student], weights.get(student), student)
    t.set("model.name", name, *_MODELS)
    set_pretrained(t, own, *_MODELS)
    entries = []
    for teacher in teachers:
        source, own = _model(t, named[teacher], weights.get(teacher), teacher)
        entries.append({"source": source} | ({"weights": own} if isinstance(own, str) else {}))
        if not own:
            t.refuse(_MODELS, f"{teacher} has no weights: set its pretrained to True, or a path.")
    losses, truth = _losses(t, student, teachers)
    objective = {"name": "Distill", "teachers": entries, "losses": losses, "ground_truth": truth}
    t.set("objective", objective, *_MODELS, quiet=True)
    t.lines.append(
        "Arch.models → objective: Distill from "
        f"{', '.join(str(entry['source']) for entry in entries)}"
    )


def _named_models(t: Translation) -> dict[str, dict[str, Any]]:
    named: dict[str, dict[str, Any]] = {}
    for index, item in enumerate(t.items(*_MODELS)):
        try:
            name, params = one_entry(item)
        except ConfigError as error:
            t.refuse((*_MODELS, index), str(error))
        else:
            named[name] = params
    return named


def _for_each_model(t: Translation, key: str, named: dict[str, Any]) -> dict[str, Any]:
    """What the list at ``Arch.<key>`` says of each model; nothing where there is none."""
    values = t.items("Arch", key)
    if values and len(values) != len(named) and not t.refused("Arch"):
        t.refuse(
            ("Arch", key), f"expected a value for each of {len(named)} models, got {len(values)}."
        )
    found = dict(zip(named, values, strict=False))
    if key == "pretrained_list":
        return found
    try:
        return {name: value is not None and read_flag(value) for name, value in found.items()}
    except ConfigError as error:
        t.refuse(("Arch", key), str(error))
        return {}


def _model(t: Translation, given: dict[str, Any], listed: Any, title: str) -> tuple[str, Any]:
    """The catalogue name of a model, and its weights: a path, true for the published ones, or
    none.
    """
    params = OperatorParams(title, given)
    name = params.take("name")
    try:
        if not isinstance(name, str):
            raise params.error("name", f"expected the name of a model, got {describe(name)}.")
        own = params.take("pretrained", False)
        own = listed or (own if isinstance(own, str | bool) else None)
        ssld = params.flag("use_ssld")
        params.drop("class_num", "infer_add_softmax", "data_format")
        if params.take("dropout_prob") is not None:
            raise params.error("dropout_prob", "there is no setting for it here.")
        params.finish()
    except ConfigError as error:
        t.refuse(_MODELS, str(error))
        return str(name), True
    if not check_name(t, name, *_MODELS):
        return name, True
    if listed and not isinstance(listed, str):
        t.refuse(("Arch", "pretrained_list"), f"expected paths or null, got {describe(listed)}.")
    return (ssld_name(t, name, *_MODELS) if ssld and own is True else name), own


def _losses(
    t: Translation, student: str, teachers: list[str]
) -> tuple[list[dict[str, Any]], float]:
    """The losses with the teachers, and the weight of the one with the labels."""
    found: list[dict[str, Any]] = []
    truth = 0.0
    t.drop("evaluation measures the cross entropy of the student", "Loss", "Eval")
    if not t.section("Loss", required=True) or not t.require("Loss", "Train"):
        return found, truth
    items = t.items("Loss", "Train")
    for index, item in enumerate(items):
        where = ("Loss", "Train", index)
        try:
            name, given = one_entry(item)
            params = OperatorParams(name, given)
            if len(items) == 1:
                refuse_weight(params)
            weight = params.number("weight", 1.0)
            if name == _TRUTH:
                truth += weight
                _translate_truth(t, params, student, index)
            elif (between := _named_loss(name, params)) in _LOSSES:
                new, defaults = _LOSSES[between]
                own: dict[str, float | str] = {
                    key: params.number(key, value) for key, value in defaults.items()
                }
                # PaddleClas hands a pair's loss the two answers alone.
                teachers_own = new in _WITH_TARGET and params.flag("use_target_as_gt")
                if new in _WITH_TARGET and (teachers_own or name == _PAIR):
                    own["target"] = "teacher"
                _check_pairs(params, student, teachers)
                found.append({"name": new, "weight": weight, **own})
            else:
                known = (*_LOSSES, _TRUTH, _PAIR)
                near = near_names(name, known)
                hint = f" Did you mean {near[0]}?" if near else ""
                raise ConfigError(f"expected one of {', '.join(known)}, got {name}.{hint}")
            params.finish()
        except ConfigError as error:
            t.refuse(where, str(error))
    if not found and not t.refused("Loss"):
        t.refuse(("Loss", "Train"), "expected a loss between the student and a teacher.")
    return found, truth


def _named_loss(name: str, params: OperatorParams) -> str:
    """The loss that is meant: itself, or the one that a pair's loss names."""
    if name != _PAIR:
        return name
    params.drop("s_key", "t_key")
    base = params.take(_BASE)
    found = f"Distillation{base}"
    # The loss of a feature map is none between answers, and DKDLoss fails without labels.
    known = [each.removeprefix("Distillation") for each in _LOSSES if "DKD" not in each]
    if base not in known:
        raise params.error(_BASE, f"expected one of {', '.join(known)}, got {describe(base)}.")
    return found


def _translate_truth(t: Translation, params: OperatorParams, student: str, index: int) -> None:
    names = params.take("model_names", [student])
    if names != [student]:
        raise params.error("model_names", f"expected [{student}], got {describe(names)}.")
    epsilon = params.number("epsilon", 0.0, or_null=True)
    smoothing = epsilon if 0 < epsilon < 1 else 0.0
    t.set("loss.label_smoothing", smoothing, "Loss", "Train", index)
    _drop_names(params)


def _check_pairs(params: OperatorParams, student: str, teachers: list[str]) -> None:
    """Every pair is the student with a teacher; of several teachers the answers are averaged."""
    pairs = params.take("model_name_pairs", [])
    good = isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 and student in pair for pair in pairs
    )
    others = [name for pair in pairs for name in pair if name != student] if good else []
    if not good or sorted(map(str, others)) != sorted(teachers):
        raise params.error(
            "model_name_pairs",
            f"expected the pair of {student} and {', '.join(teachers)}, got {describe(pairs)}.",
        )
    if len(teachers) > 1:
        raise params.error(
            "model_name_pairs",
            "PaddleClas sums the losses with each teacher; here several teachers make one answer.",
        )
    if params.take("act", "softmax") != "softmax":
        raise params.error("act", "expected softmax.")
    if params.flag("use_target_as_gt"):
        raise params.error("use_target_as_gt", "true has no setting here.")
    if params.take("epsilon") is not None:
        raise params.error("epsilon", "a teacher's answers are not smoothed here.")
    _drop_names(params)


def _drop_names(params: OperatorParams) -> None:
    params.drop("name")
    if params.take("key") not in (None, "logits"):
        raise params.error("key", "expected logits: only the models' answers are compared.")
