"""PaddleClas' 2.x schema: ``Global:``, ``Arch:``, ``Loss:``, ``Optimizer:``, ``DataLoader:``."""

from __future__ import annotations

import itertools
from typing import Any

from ppclas_core.errors import ConfigError

from ppclas_cli.paddleclas.common import (
    as_published,
    drop_data_facts,
    set_image_size,
    set_learning_rates,
    set_optimizer,
    set_pretrained,
    set_root,
    set_transforms,
)
from ppclas_cli.paddleclas.operators import translate_batch_operators
from ppclas_cli.paddleclas.translation import Translation, one_entry, read_number

KEYS = (
    "Global",
    "Arch",
    "Loss",
    "Optimizer",
    "DataLoader",
    "Infer",
    "Metric",
    "AMP",
    "EMA",
    "Slim",
    "profiler_options",
)

_DISTILLATION = "DistillationModel"
_DISTILLATION_LOSSES = {
    "DistillationDMLLoss": "ssld",
    "DistillationCELoss": "soft_ce",
    "DistillationKLDivLoss": "kl",
    "DistillationDKDLoss": "dkd",
}
"""Old loss between two named models → new one."""


def translate_2x(t: Translation) -> None:
    """Fill ``t`` from a tree of the 2.x schema."""
    for block, reason in (
        (
            "Slim",
            "pruning and quantised training are not part of a training config; see ppclas "
            "quantize.",
        ),
        ("IndexProcess", "retrieval is not what this project does."),
        ("SSL", "semi-supervised training is not what this project does."),
        ("UnLabelLoss", "semi-supervised training is not what this project does."),
    ):
        if t.has(block):
            t.refuse((block,), reason)
    _translate_global(t)
    distilled = t.get("Arch", "name") == _DISTILLATION
    if distilled:
        _translate_pair(t)
    else:
        _translate_arch(t)
        _translate_loss(t)
    _translate_optimizer(t)
    _translate_loader(t)
    _translate_precision(t)
    t.drop("prediction takes its preprocessing and labels from the bundle", "Infer")
    t.drop("the task's own are always measured; metrics: adds others", "Metric")
    t.drop("an option of the command line", "profiler_options")
    as_published(t)


def _translate_global(t: Translation) -> None:
    t.move("train.epochs", "Global", "epochs")
    t.move("train.eval_every", "Global", "eval_interval")
    t.move("train.log_every", "Global", "print_batch_step")
    t.move("train.seed", "Global", "seed")
    device = t.get("Global", "device")
    if device in ("cpu", "gpu"):
        t.set("train.device", device, "Global", "device")
    elif device is not None:
        t.refuse(("Global", "device"), f"expected cpu or gpu, got {device!r}.")
    set_image_size(t, "Global", "image_shape")
    steps = t.get("Global", "update_freq", default=1)
    if steps != 1:
        t.set("train.accumulate", steps, "Global", "update_freq")
    if t.get("Global", "eval_mode", default="classification") != "classification":
        t.refuse(
            ("Global", "eval_mode"),
            "expected classification: retrieval is not what this project does.",
        )
    if t.get("Global", "use_multilabel", default=False):
        t.set("data.task", "multilabel", "Global", "use_multilabel")
    if t.get("Global", "checkpoints"):
        t.refuse(
            ("Global", "checkpoints"), "a run is gone on with by --resume RUN, not by its config."
        )
    if t.get("Global", "train_mode"):
        t.refuse(("Global", "train_mode"), "other loops than plain training are not translated.")
    if t.get("Global", "use_dali", default=False):
        t.set("data.reader.name", "dali", "Global", "use_dali")
    for key, reason in (
        ("output_dir", "every run has a folder of its own, runs/<model>-<n> or --output"),
        ("save_interval", "there is a checkpoint after every epoch"),
        ("eval_during_train", "every run is validated"),
        ("start_eval_epoch", "the evaluations' distance is train.eval_every"),
        ("use_visualdl", "give --vdl-dir"),
        ("save_inference_dir", "ppclas export says where"),
        ("to_static", "the numbers are the same"),
        ("iter_per_epoch", "counted from the data"),
        ("class_num", "counted from the data"),
    ):
        t.drop(reason, "Global", key)


def _translate_arch(t: Translation) -> None:
    name = t.get("Arch", "name")
    if t.has("Arch", "Backbone") or not isinstance(name, str):
        t.refuse(
            ("Arch",),
            "expected Arch.name, a model of ppclas models list; metric learning is not translated.",
        )
        return
    t.set("model.name", name, "Arch", "name")
    _translate_weights(t)
    drop_data_facts(t, [("Arch", "class_num")])
    t.drop("the activation belongs to the bundle", "Arch", "infer_add_softmax")
    t.drop(
        "published weights with the suffix _ssld have names of their own: --model NAME_ssld",
        "Arch",
        "use_ssld",
    )
    t.move("optimizer.lr_mult", "Arch", "lr_mult_list")
    if t.get("Arch", "use_sync_bn", default=False):
        t.set("train.sync_batch_norm", True, "Arch", "use_sync_bn")
    if t.get("Arch", "data_format", default="NCHW") != "NCHW":
        t.drop("the layout changes on the device; the numbers are the same", "Arch", "data_format")
    t.move("model.params.drop_path_rate", "Arch", "drop_path_rate")


def _translate_weights(t: Translation) -> None:
    path = t.get("Global", "pretrained_model")
    if path:
        set_pretrained(t, path, "Global", "pretrained_model")
        t.drop("Global.pretrained_model is given, which comes before it", "Arch", "pretrained")
    else:
        set_pretrained(t, t.get("Arch", "pretrained", default=False), "Arch", "pretrained")


def _translate_pair(t: Translation) -> None:
    """``Arch.models``: a list of named models, of which those that are frozen teach."""
    named: dict[str, dict[str, Any]] = {}
    for item in t.get("Arch", "models", default=[]):
        try:
            name, params = one_entry(item)
        except ConfigError as error:
            t.refuse(("Arch", "models"), str(error))
            return
        named[name] = params
    frozen = t.get("Arch", "freeze_params_list", default=[])
    weights = t.get("Arch", "pretrained_list", default=[None] * len(named)) or [None] * len(named)
    teachers = [name for name, stays in zip(named, frozen, strict=False) if stays]
    students = [name for name in named if name not in teachers]
    if len(students) != 1 or not teachers:
        t.refuse(
            ("Arch",), "expected one student and at least one frozen teacher (freeze_params_list)."
        )
        return
    (student,) = students
    drop_data_facts(t, [("Arch", "class_num")])
    t.drop("the bundle holds the student", "Arch", "infer_model_name")
    t.set("model.name", named[student].get("name"), "Arch", "models")
    own = dict(zip(named, weights, strict=False))
    set_pretrained(
        t, own.get(student) or named[student].get("pretrained") or False, "Arch", "models"
    )
    entries = []
    for name in teachers:
        entry: dict[str, Any] = {"source": named[name].get("name")}
        path = own.get(name) or named[name].get("pretrained")
        if isinstance(path, str):
            entry["weights"] = path
        entries.append(entry)
    losses, truth = _translate_pair_losses(t)
    objective = {"name": "Distill", "teachers": entries, "losses": losses, "ground_truth": truth}
    t.set("objective", objective, "Arch", "models", quiet=True)
    t.lines.append(
        "Arch.models → objective: Distill from "
        f"{', '.join(str(entry['source']) for entry in entries)}"
    )


def _translate_pair_losses(t: Translation) -> tuple[list[dict[str, Any]], float]:
    losses, truth = [], 0.0
    for index, item in enumerate(t.get("Loss", "Train", default=[])):
        where = ("Loss", "Train", index)
        try:
            name, params = one_entry(item)
            weight = float(read_number(params.get("weight", 1.0)))
        except ConfigError as error:
            t.refuse(where, str(error))
            continue
        if name == "DistillationGTCELoss":
            truth += weight
        elif name in _DISTILLATION_LOSSES:
            losses.append({"name": _DISTILLATION_LOSSES[name], "weight": weight})
        else:
            t.refuse(
                where,
                f"expected one of {', '.join((*_DISTILLATION_LOSSES, 'DistillationGTCELoss'))}, "
                f"got {name}.",
            )
    t.drop("evaluation measures the cross entropy of the student", "Loss", "Eval")
    return losses, truth


def _translate_loss(t: Translation) -> None:
    items = t.get("Loss", "Train")
    t.drop("evaluation always measures the cross entropy", "Loss", "Eval")
    if items is None:
        return
    if not isinstance(items, list) or len(items) != 1:
        t.refuse(
            ("Loss", "Train"), "expected a list with one loss; sums of several are not translated."
        )
        return
    where = ("Loss", "Train", 0)
    try:
        name, given = one_entry(items[0])
        params = dict(given)
        weight = float(read_number(params.pop("weight", 1.0)))
        epsilon = float(read_number(params.pop("epsilon", 0.0) or 0.0))
    except ConfigError as error:
        t.refuse(where, str(error))
        return
    if weight != 1.0:
        t.refuse(
            where,
            f"{name}.weight: the weight of a loss that stands alone was ignored; leave it at 1.0.",
        )
    elif name in ("CELoss", "GoogLeNetLoss") and not params:
        t.set("loss.name", "CrossEntropy", *where)
        t.set("loss.label_smoothing", epsilon if 0 < epsilon < 1 else 0.0, *where)
    elif name == "MultiLabelLoss" and not epsilon and not params:
        t.set("loss.name", "BinaryCrossEntropy", *where)
    else:
        t.refuse(
            where, f"expected CELoss, GoogLeNetLoss or a plain MultiLabelLoss, got {items[0]!r}."
        )


def _translate_optimizer(t: Translation) -> None:
    if not t.has("Optimizer"):
        return
    if not set_optimizer(t, ("Optimizer", "name"), ("Optimizer",)):
        return
    t.move("optimizer.clip_norm", "Optimizer", "clip_norm")
    if t.get("Optimizer", "one_dim_param_no_weight_decay", default=False):
        t.set("optimizer.no_decay_norm_bias", True, "Optimizer", "one_dim_param_no_weight_decay")
    names = t.get("Optimizer", "no_weight_decay_name")
    if names and not t.get("Optimizer", "one_dim_param_no_weight_decay", default=False):
        t.refuse(
            ("Optimizer", "no_weight_decay_name"),
            "which parameters decay is set by optimizer.no_decay_norm_bias here, not by parts of "
            "names.",
        )
    _translate_decay(t)
    _translate_schedule(t)
    set_learning_rates(t)


def _translate_decay(t: Translation) -> None:
    penalty = ("Optimizer", "regularizer")
    if t.has(*penalty):
        if t.get(*penalty, "name") != "L2":
            t.refuse((*penalty, "name"), f"expected L2, got {t.get(*penalty, 'name')!r}.")
        t.move("optimizer.weight_decay", *penalty, "coeff")
    elif t.has("Optimizer", "weight_decay"):
        t.move("optimizer.weight_decay", "Optimizer", "weight_decay")
    else:
        t.set("optimizer.weight_decay", 0.0, "Optimizer", "name")


def _translate_schedule(t: Translation) -> None:
    lr = ("Optimizer", "lr")
    name = t.get(*lr, "name", default="ConstLR")
    warmup = t.number(*lr, "warmup_epoch", default=0) or 0
    if t.number(*lr, "warmup_start_lr", default=0):
        t.refuse((*lr, "warmup_start_lr"), "warmup starts from 0 here.")
    if t.get(*lr, "by_epoch", default=False):
        t.refuse(
            (*lr, "by_epoch"), "true: the rate changes with each step here. Leave the key out."
        )
    if name == "Cosine":
        t.set("schedule.name", "CosineWarmup", *lr, "name")
        t.set("schedule.warmup_epochs", warmup, *lr, "warmup_epoch")
        t.move("schedule.lr", *lr, "learning_rate")
        if t.number(*lr, "eta_min", default=0):
            t.refuse((*lr, "eta_min"), "the cosine ends at 0 here.")
        return
    if warmup:
        t.refuse(
            (*lr, "warmup_epoch"), f"{name} has no warmup here; of the 2.x schedules Cosine has."
        )
    if name in ("ConstLR", "Constant"):
        t.set("schedule.name", "Constant", *lr, "name")
        t.move("schedule.lr", *lr, "learning_rate")
    elif name == "Linear":
        t.set("schedule.name", "Linear", *lr, "name")
        t.move("schedule.lr", *lr, "learning_rate")
        t.move("schedule.end_lr", *lr, "end_lr")
        if t.number(*lr, "power", default=1) != 1:
            t.refuse((*lr, "power"), "expected 1.")
    elif name == "Piecewise":
        _translate_piecewise(t)
    else:
        t.refuse((*lr, "name"), f"expected ConstLR, Cosine, Linear or Piecewise, got {name!r}.")


def _translate_piecewise(t: Translation) -> None:
    lr = ("Optimizer", "lr")
    t.set("schedule.name", "Piecewise", *lr, "name")
    if t.has(*lr, "learning_rate"):  # it overrides both lists: a tenth every 30 epochs
        t.move("schedule.lr", *lr, "learning_rate")
        t.drop("learning_rate is given, which overrides it", *lr, "decay_epochs")
        t.drop("learning_rate is given, which overrides it", *lr, "values")
        epochs = t.get("Global", "epochs", default=120)
        t.set("schedule.decay_epochs", list(range(30, epochs, 30)) or [30], *lr, "learning_rate")
        return
    values = [float(read_number(value)) for value in t.get(*lr, "values", default=[])]
    steps = t.get(*lr, "decay_epochs", default=[])
    factors = {round(after / before, 9) for before, after in itertools.pairwise(values)}
    if len(values) != len(steps) + 1 or len(factors) > 1:
        t.refuse(
            (*lr, "values"),
            "expected one value more than decay_epochs, each the same part of the one before it.",
        )
        return
    t.set("schedule.lr", values[0], *lr, "values")
    t.set("schedule.decay_epochs", list(steps), *lr, "decay_epochs")
    if factors:
        t.set("schedule.gamma", factors.pop(), *lr, "values")


def _translate_loader(t: Translation) -> None:
    parts = {"Train": ("train", "train_transforms"), "Eval": ("val", "eval_transforms")}
    for part, (new, transforms) in parts.items():
        data = ("DataLoader", part, "dataset")
        t.move(f"data.{new}", *data, "cls_label_path")
        kind = t.get(*data, "name", default="ImageNetDataset")
        if kind not in ("ImageNetDataset", "MultiLabelDataset", "CommonDataset"):
            t.refuse(
                (*data, "name"), f"expected ImageNetDataset or MultiLabelDataset, got {kind!r}."
            )
        t.drop("space, tab and comma are told apart by looking", *data, "delimiter")
        if t.get(*data, "relabel", default=False):
            t.refuse(
                (*data, "relabel"), "true: labels are ids from 0 here. Number them so in the list."
            )
        set_transforms(t, transforms, *data, "transform_ops")
        for key, reason in (
            ("name", "the loop samples"),
            ("drop_last", "training drops no photo for good, evaluation none at all"),
            ("shuffle", "training is shuffled, evaluation is not"),
        ):
            t.drop(reason, "DataLoader", part, "sampler", key)
        t.drop(
            "workers hand batches over by pipes", "DataLoader", part, "loader", "use_shared_memory"
        )
    mixes = translate_batch_operators(
        t, "DataLoader", "Train", "dataset", "batch_transform_ops", mixup_alpha=1.0
    )
    if len(mixes) > 1:
        t.refuse(
            ("DataLoader", "Train", "dataset", "batch_transform_ops"), "expected one operator."
        )
    elif mixes:
        t.set(
            "data.batch_transforms", mixes, "DataLoader", "Train", "dataset", "batch_transform_ops"
        )
    set_root(
        t,
        ("DataLoader", "Train", "dataset", "image_root"),
        ("DataLoader", "Eval", "dataset", "image_root"),
    )
    _translate_batch_sizes(t)
    t.move("data.workers", "DataLoader", "Train", "loader", "num_workers")
    t.drop("the workers of training evaluate too", "DataLoader", "Eval", "loader", "num_workers")


def _translate_batch_sizes(t: Translation) -> None:
    for part, new in (("Train", "batch_size"), ("Eval", "eval_batch_size")):
        source = ("DataLoader", part, "sampler", "batch_size")
        if t.has(*source):
            t.move(f"data.{new}", *source)
    if t.has("DataLoader", "Train", "sampler", "batch_size"):
        size = t.get("DataLoader", "Train", "sampler", "batch_size")
        t.lines.append(
            f"batch_size {size} was meant for each device; here it counts over all: with n devices "
            f"give {size}·n"
        )


def _translate_precision(t: Translation) -> None:
    if t.has("AMP"):
        if t.get("AMP", "use_amp", default=True):
            t.set("train.precision", "fp16", "AMP", "level" if t.has("AMP", "level") else "use_amp")
            t.move("train.amp_level", "AMP", "level")
        else:
            t.drop("mixed precision is off", "AMP", "level")
        for key in (
            "scale_loss",
            "use_dynamic_loss_scaling",
            "use_promote",
            "use_fp16_test",
            "use_bf16_test",
        ):
            t.drop("the loss scale is found while training, evaluation is in float32", "AMP", key)
    t.move("train.ema_decay", "EMA", "decay")
