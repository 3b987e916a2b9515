"""PaddleClas' schema of 2020: ``ARCHITECTURE:``, ``LEARNING_RATE:``, ``TRAIN:``, ``VALID:`` …"""

from __future__ import annotations

from typing import Any

from ppclas_core.config.explain import describe

from ppclas_paddleclas.common import (
    as_published,
    drop_data_facts,
    say_split,
    set_image_size,
    set_learning_rates,
    set_optimizer,
    set_pretrained,
    set_root,
    set_seed,
    set_top_k,
    set_transforms,
)
from ppclas_paddleclas.mixing import translate_batch_operators
from ppclas_paddleclas.models import check_name, set_name
from ppclas_paddleclas.translation import Translation
from ppclas_paddleclas.values import is_whole

KEYS = (
    "mode",
    "ARCHITECTURE",
    "pretrained_model",
    "checkpoints",
    "last_epoch",
    "load_static_weights",
    "model_save_dir",
    "classes_num",
    "total_images",
    "save_interval",
    "validate",
    "valid_interval",
    "print_interval",
    "epochs",
    "topk",
    "image_shape",
    "use_mix",
    "ls_epsilon",
    "use_distillation",
    "use_ema",
    "ema_decay",
    "use_fp16",
    "amp_scale_loss",
    "use_dynamic_loss_scaling",
    "use_dali",
    "use_aa",
    "use_gpu",
    "use_xpu",
    "is_distributed",
    "LEARNING_RATE",
    "OPTIMIZER",
    "TRAIN",
    "VALID",
)
_GRAPH_OPTIONS = (
    "fuse_bn_act_ops",
    "fuse_elewise_add_act_ops",
    "fuse_bn_add_act_ops",
    "enable_addto",
)
_SCHEDULES = {
    "Constant": "Constant",
    "Cosine": "Cosine",
    "CosineWarmup": "CosineWarmup",
    "ExponentialWarmup": "ExponentialWarmup",
    "Linear": "Linear",
    "Piecewise": "Piecewise",
}
_SCHEDULE_PARAMS = {
    "lr": ("lr", _SCHEDULES),
    "warmup_epoch": ("warmup_epochs", ("CosineWarmup", "ExponentialWarmup")),
    "decay_rate": ("decay_rate", ("ExponentialWarmup",)),
    "gamma": ("gamma", ("Piecewise",)),
    "steps": ("steps", ("Linear",)),
    "end_lr": ("end_lr", ("Linear",)),
    "decay_epochs": ("decay_epochs", ("Piecewise", "ExponentialWarmup")),
}
"""Old parameter → new one, and the schedules that read it."""


def translate_2020(t: Translation) -> None:
    """Fill ``t`` from a tree of the 2020 schema."""
    mode = t.get("mode", default="train")
    trains = not isinstance(mode, str) or mode.lower() == "train"
    t.drop("the command says it (ppclas train, ppclas eval)", "mode")
    distilled = _translate_model(t)
    drop_data_facts(t, [("classes_num",), ("total_images",)])
    t.drop("every run has a folder of its own, runs/<model>-<n> or --output", "model_save_dir")
    t.drop("there is a checkpoint after every epoch", "save_interval")
    _translate_evaluation(t)
    if trains:
        t.require("epochs")
    t.move("train.epochs", "epochs")
    t.move("train.log_every", "print_interval")
    set_image_size(t, "image_shape")
    _translate_loss(t, distilled)
    _translate_precision(t)
    _translate_device(t)
    if t.section("LEARNING_RATE", required=trains):
        _translate_schedule(t)
    if t.section("OPTIMIZER", required=trains):
        _translate_optimizer(t)
    _translate_data(t, trains)
    as_published(t)


def _translate_model(t: Translation) -> bool:
    """The architecture and its weights; whether it is a pair of a teacher and a student."""
    name = t.get("ARCHITECTURE", "name") if t.section("ARCHITECTURE", required=True) else None
    weights = t.get("pretrained_model")
    distilled = t.flag("use_distillation")
    t.drop("which kind a file is goes by its content", "load_static_weights")
    if t.number("last_epoch", default=-1) != -1:
        t.refuse(("last_epoch",), "expected -1, the start of a run; see --resume RUN.")
    if t.get("checkpoints", default=""):
        t.refuse(
            ("checkpoints",),
            "a run is gone on with by --resume RUN, not by its config. Leave the key out.",
        )
    if t.refused("ARCHITECTURE"):
        return distilled
    if not isinstance(name, str) or not name:
        t.refuse(("ARCHITECTURE",), "expected the name of a model under ARCHITECTURE.name.")
        return distilled
    if distilled:
        _translate_pair(t, name, weights)
    else:
        set_name(t, name, "ARCHITECTURE", "name")
        set_pretrained(t, weights, "pretrained_model")
    if t.section("ARCHITECTURE", "params", required=False):
        _translate_model_params(t)
    return distilled


def _translate_pair(t: Translation, name: str, weights: Any) -> None:
    teacher, found, student = name.partition("_distill_")
    if not found:
        t.refuse(
            ("ARCHITECTURE", "name"),
            f"use_distillation needs a pair <teacher>_distill_<student>, got {name!r}.",
        )
        return
    if not check_name(t, teacher, "ARCHITECTURE", "name"):
        return
    set_name(t, student, "ARCHITECTURE", "name")
    of_teacher, of_student = (
        weights if isinstance(weights, list) and len(weights) == 2 else (weights, None)
    )
    set_pretrained(t, of_student, "pretrained_model")
    entry: dict[str, Any] = {"source": teacher}
    if isinstance(of_teacher, str) and of_teacher:
        entry["weights"] = of_teacher
    elif of_teacher:
        t.refuse(
            ("pretrained_model",),
            f"expected the teacher's weights, or [teacher's, student's], got {describe(weights)}.",
        )
    objective = {
        "name": "Distill",
        "teachers": [entry],
        "losses": [{"name": "ssld"}],
        "teacher_norm": "batch",
    }
    t.set("objective", objective, "ARCHITECTURE", "name", quiet=True)
    t.lines.append(
        "use_distillation → objective: Distill from "
        f"{teacher}{f' ({of_teacher})' if of_teacher else ''}, loss ssld"
    )


def _translate_model_params(t: Translation) -> None:
    params = ("ARCHITECTURE", "params")
    t.move("optimizer.lr_mult", *params, "lr_mult_list")
    t.drop("train and evaluation are told apart by the loop", *params, "is_test")
    t.drop(
        "EfficientNet pads as TensorFlow does where its weights were trained so",
        *params,
        "padding_type",
    )
    if t.section(*params, "override_params", required=False):
        rate = (*params, "override_params", "drop_connect_rate")
        t.move_number("model.params.drop_path_rate", *rate)
    if t.get(*params, "data_format", default="NCHW") != "NCHW":
        t.drop("the layout changes on the device; the numbers are the same", *params, "data_format")


def _translate_evaluation(t: Translation) -> None:
    t.get("valid_interval")
    if t.flag("validate", default=True):
        t.drop("every run is validated", "validate")
        t.move("train.eval_every", "valid_interval")
    elif not t.refused("validate"):
        t.refuse(
            ("validate",),
            "false: a run here is always validated; at least its last epoch. Leave the key out.",
        )
    k = t.get("topk", default=5)
    if is_whole(k) and k > 0:
        set_top_k(t, [k], "topk")
    else:
        t.refuse(("topk",), f"expected a whole number from 1, got {describe(k)}.")


def _translate_loss(t: Translation, distilled: bool) -> None:
    if t.is_null("ls_epsilon"):
        t.get("ls_epsilon")
        epsilon = None
    else:
        epsilon = t.number("ls_epsilon")
    if distilled:
        t.drop("distillation takes no labels", "ls_epsilon")
    elif t.has("ls_epsilon"):
        inside = epsilon is not None and 0 <= epsilon <= 1
        t.set("loss.label_smoothing", epsilon if inside else 0.0, "ls_epsilon")
    used = t.flag("use_mix")
    mixes = translate_batch_operators(t, "TRAIN", "mix", mixup_alpha=0.2)
    if t.refused("TRAIN", "mix") or t.refused("use_mix"):
        pass
    elif used and not mixes:
        t.refuse(("use_mix",), "true, and TRAIN.mix names no operator.")
    elif used and len(mixes) > 1:
        t.refuse(
            ("TRAIN", "mix"),
            f"expected one operator, got {len(mixes)}: PaddleClas fails on a second one.",
        )
    elif used:
        t.set("data.batch_transforms", mixes, "TRAIN", "mix")
    elif mixes:
        t.lines.append("TRAIN.mix is left out: use_mix is not true")
    if t.flag("use_aa"):
        t.drop("the list of transforms says what is done", "use_aa")


def _translate_precision(t: Translation) -> None:
    if t.flag("use_ema"):
        t.move_number("train.ema_decay", "ema_decay")
        if not t.has("ema_decay"):
            t.refuse(("use_ema",), "true: ema_decay is needed too, and it is not there.")
    else:
        t.drop("use_ema is not true", "ema_decay")
    if t.flag("use_fp16"):
        t.set("train.precision", "fp16", "use_fp16")
    t.drop("the loss scale is found while training", "amp_scale_loss")
    t.drop("the loss scale is always found while training", "use_dynamic_loss_scaling")
    for option in _GRAPH_OPTIONS:
        t.drop("an option of the static graph", option)
    if t.flag("use_dali"):
        t.set("data.reader.name", "dali", "use_dali")


def _translate_device(t: Translation) -> None:
    if t.flag("use_xpu"):
        t.refuse(("use_xpu",), "true: only CPUs and GPUs are supported. Set it to False.")
    if t.has("use_gpu"):
        t.set("train.device", "gpu" if t.flag("use_gpu") else "cpu", "use_gpu")
    t.drop("--devices says how many", "is_distributed")


def _translate_schedule(t: Translation) -> None:
    function = t.get("LEARNING_RATE", "function")
    if not isinstance(function, str) or function not in _SCHEDULES:
        t.refuse(
            ("LEARNING_RATE", "function"),
            f"expected one of {', '.join(_SCHEDULES)}, got {describe(function)}.",
            covers=("LEARNING_RATE",),
        )
        return
    t.set("schedule.name", function, "LEARNING_RATE", "function")
    if not t.section("LEARNING_RATE", "params", required=True):
        return
    t.require("LEARNING_RATE", "params", "lr")
    for old, (new, schedules) in _SCHEDULE_PARAMS.items():
        source = ("LEARNING_RATE", "params", old)
        if function not in schedules:
            t.drop(f"{function} does not read it", *source)
        elif old == "decay_epochs" and function == "Piecewise":
            t.move(f"schedule.{new}", *source)
        else:
            t.move_number(f"schedule.{new}", *source)
    if function.endswith("Warmup") and not t.has("LEARNING_RATE", "params", "warmup_epoch"):
        t.set("schedule.warmup_epochs", 5, "LEARNING_RATE", "function")


def _translate_optimizer(t: Translation) -> None:
    if not set_optimizer(t, ("OPTIMIZER", "function"), ("OPTIMIZER", "params"), "OPTIMIZER"):
        return
    penalty = ("OPTIMIZER", "regularizer")
    if t.is_null(*penalty) or not t.section(*penalty, required=False):
        t.get(*penalty)
        t.set("optimizer.weight_decay", 0.0, "OPTIMIZER", "function")
    elif t.get(*penalty, "function") != "L2":
        t.refuse(
            (*penalty, "function"),
            f"expected L2, got {describe(t.get(*penalty, 'function'))}.",
            covers=penalty,
        )
    else:
        t.set("optimizer.weight_decay", 0.0, *penalty, quiet=True)
        t.move_number("optimizer.weight_decay", *penalty, "factor")


def _translate_data(t: Translation, trains: bool) -> None:
    if t.section("TRAIN", required=trains) and trains:
        t.require("TRAIN", "file_list")
    t.section("VALID", required=False)
    for old, new in (("TRAIN", "train"), ("VALID", "val")):
        t.move(f"data.{new}", old, "file_list")
    set_root(
        t,
        (("TRAIN", "data_dir"), ("TRAIN", "file_list")),
        (("VALID", "data_dir"), ("VALID", "file_list")),
    )
    t.move("data.batch_size", "TRAIN", "batch_size")
    t.move("data.eval_batch_size", "VALID", "batch_size")
    t.move("data.workers", "TRAIN", "num_workers")
    t.drop("the workers of training evaluate too", "VALID", "num_workers")
    set_seed(t, "TRAIN", "shuffle_seed")
    t.drop("evaluation keeps the list's order", "VALID", "shuffle_seed")
    for part in ("TRAIN", "VALID"):
        t.drop("space, tab and comma are told apart by looking", part, "delimiter")
    for part, key in (("TRAIN", "train_transforms"), ("VALID", "eval_transforms")):
        set_transforms(t, key, part, "transforms")
    set_learning_rates(t)
    if trains:
        say_split(t, "VALID")
    elif not t.has("TRAIN"):
        t.lines.append("mode is not train: without TRAIN nothing says what to train on")
