"""Distillation in the 2.x schema: ``Arch.models``, some of them frozen, and their losses."""

from __future__ import annotations

from typing import Any

from ppclas_core.config.explain import describe
from ppclas_core.errors import ConfigError

from ppclas_paddleclas.common import drop_data_facts, set_pretrained, ssld_name
from ppclas_paddleclas.models import check_name
from ppclas_paddleclas.pair_losses import PairLosses
from ppclas_paddleclas.pair_maps import Watched, open_watched
from ppclas_paddleclas.params import OperatorParams
from ppclas_paddleclas.translation import Translation, one_entry
from ppclas_paddleclas.values import read_flag

_MODELS = ("Arch", "models")


def translate_pair(t: Translation) -> None:
    """``objective`` of a list of named models, of which those that are frozen teach."""
    drop_data_facts(t, [("Arch", "class_num")])
    t.drop("each of the models says it for itself", "Arch", "use_ssld")
    if t.flag("Arch", "use_sync_bn"):
        t.set("train.sync_batch_norm", True, "Arch", "use_sync_bn")
    named = _named_models(t)
    frozen = _for_each_model(t, "freeze_params_list", named)
    weights = _for_each_model(t, "pretrained_list", named)
    watched = open_watched(t, named, frozen, weights)
    teachers = [name for name in named if frozen.get(name)]
    students = [name for name in named if name not in teachers]
    exported = t.get("Arch", "infer_model_name")
    if t.refused("Arch"):
        t.get("Loss")
    elif teachers and len(students) == 1:
        _translate_distillation(t, named, weights, teachers, students[0], watched)
    elif not teachers and len(students) > 1:
        first = exported if exported in students else students[0]
        rest = [name for name in students if name != first]
        _translate_mutual(t, named, weights, [str(first), *rest])
    else:
        t.get("Loss")
        t.refuse(
            ("Arch",),
            "expected one student and frozen teachers (freeze_params_list), or several students "
            f"that all learn; got {len(students)} and {len(teachers)}.",
        )


def _translate_distillation(
    t: Translation,
    named: dict[str, dict[str, Any]],
    weights: dict[str, Any],
    teachers: list[str],
    student: str,
    watched: dict[str, Watched],
) -> None:
    t.drop("the bundle holds the student", "Arch", "infer_model_name")
    name, own = _model(t, named[student], weights.get(student), student)
    t.set("model.name", name, *_MODELS)
    set_pretrained(t, own, *_MODELS)
    entries = []
    for teacher in teachers:
        source, own = _model(t, named[teacher], weights.get(teacher), teacher)
        entries.append({"source": source} | ({"weights": own} if isinstance(own, str) else {}))
        if not own:
            index = list(named).index(teacher)
            t.lines.append(
                f"{teacher} has no weights in this file: taken to be the published ones. Give its "
                f"own with -o Arch.models.{index}.{teacher}.pretrained=PATH; PaddleClas would "
                "learn from random weights"
            )
    found = PairLosses(t, [student, *teachers], mutual=False, watched=watched).translate()
    objective = {
        "name": "Distill",
        "teachers": entries,
        "losses": found.terms,
        "ground_truth": found.truth,
        "teacher_norm": "batch",
    }
    t.set("objective", objective, *_MODELS, quiet=True)
    t.lines.append(
        "Arch.models → objective: Distill from "
        f"{', '.join(str(entry['source']) for entry in entries)}"
    )


def _translate_mutual(
    t: Translation,
    named: dict[str, dict[str, Any]],
    weights: dict[str, Any],
    students: list[str],
) -> None:
    """``Mutual`` of networks that all learn; the first of ``students`` becomes the bundle."""
    t.drop(f"the bundle holds {students[0]}", "Arch", "infer_model_name")
    built = [_model(t, named[student], weights.get(student), student) for student in students]
    (name, own), *others = built
    t.set("model.name", name, *_MODELS)
    set_pretrained(t, own, *_MODELS)
    found = PairLosses(t, students, mutual=True).translate()
    peers = [{"name": each, "pretrained": theirs or False} for each, theirs in others]
    objective = {
        "name": "Mutual",
        "peers": peers,
        "losses": found.terms,
        "ground_truth": found.truth,
    }
    t.set("objective", objective, *_MODELS, quiet=True)
    t.lines.append(
        f"Arch.models → objective: Mutual, {students[0]} with {', '.join(students[1:])}; each "
        "counts the loss between them, PaddleClas once for all: the gradients are the same"
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
        params.drop("class_num", "infer_add_softmax", "data_format", "return_patterns")
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
