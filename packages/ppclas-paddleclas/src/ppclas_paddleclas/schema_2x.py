"""PaddleClas' 2.x schema: ``Global:``, ``Arch:``, ``Loss:``, ``Optimizer:``, ``DataLoader:``."""

from __future__ import annotations

import contextlib
from typing import Any

from ppclas_core.config.explain import describe
from ppclas_core.config.yaml_source import KeyPath
from ppclas_core.errors import ConfigError
from ppclas_core.wording import near_names

from ppclas_paddleclas.common import (
    as_published,
    drop_data_facts,
    say_split,
    set_image_size,
    set_pretrained,
    set_root,
    set_seed,
    set_top_k,
    set_transforms,
    ssld_name,
)
from ppclas_paddleclas.mixing import translate_batch_operators
from ppclas_paddleclas.models import find_variant, set_name, set_params
from ppclas_paddleclas.pair import translate_pair
from ppclas_paddleclas.params import OperatorParams
from ppclas_paddleclas.training_2x import translate_loss, translate_optimizer, translate_precision
from ppclas_paddleclas.translation import Translation, one_entry
from ppclas_paddleclas.values import is_whole, read_flag

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
_SAMPLERS = ("DistributedBatchSampler", "BatchSampler")
"""Those that show each photo once an epoch."""
_MULTI_SCALE = "MultiScaleSampler"
_REPEATING = ("RASampler", "RepeatedAugSampler")
"""Those that show each photo several times in a row of batches, changed by chance each time."""
_RETRIEVAL = "retrieval and metric learning are not what this project does."
_PREDICTION = (
    "this is a config for prediction with an exported model, not for training; see ppclas predict "
    "and ppclas export."
)
_EXPORT = (
    "this file has neither a Loss nor an Optimizer: it is for exporting a published model, not for "
    "training; see ppclas export."
)
_ELSEWHERE = {
    "Slim": "pruning and quantised training are not part of a training config; see ppclas "
    "quantize.",
    "IndexProcess": _RETRIEVAL,
    "SSL": "semi-supervised training is not what this project does.",
    "UnLabelLoss": "semi-supervised training is not what this project does.",
    "PreProcess": _PREDICTION,
    "RecPreProcess": _PREDICTION,
    "DetPreProcess": _PREDICTION,
}
"""Top-level keys of files for something else, and what to say of them."""
_MADE_LABELS = "CustomLabelDataset"
_MADE_BEFORE = (
    "labels that an operator makes while training (RandomRot90, BlurImage) are not what this "
    "project does. Turn or blur the photos once, into a folder for each class, and train on these."
)
_SIZED = ("RandomResizedCrop", "Resize", "CenterCrop")
"""What MultiScaleDataset gives the size of its batch."""
_TOP_K = ("TopkAcc", "DistillationTopkAcc", "GoogLeNetTopkAcc")
_MEASURED = ("MultiLabelMAP", "HammingDistance", "AccuracyScore", "ATTRMetric")
"""Metrics of several labels, whose like is always measured."""


def translate_2x(t: Translation) -> None:
    """Fill ``t`` from a tree of the 2.x schema."""
    elsewhere = _something_else(t)
    if elsewhere is not None:
        path, reason = elsewhere
        t.refuse(path, reason, covers=())
        return
    _translate_global(t)
    if t.section("Arch", required=True):
        if t.get("Arch", "name") == _DISTILLATION:
            t.get("Global", "pretrained_model")
            translate_pair(t)
        else:
            _translate_arch(t)
            translate_loss(t)
    else:
        t.get("Loss"), t.get("Global", "pretrained_model")
    translate_optimizer(t)
    _translate_loader(t)
    translate_precision(t)
    _translate_metrics(t)
    t.drop("prediction takes its preprocessing and labels from the bundle", "Infer")
    t.drop("an option of the command line", "profiler_options")
    as_published(t)


def _something_else(t: Translation) -> tuple[KeyPath, str] | None:
    """Where a file says that it is for something that is not done here, and what to say then."""
    if t.has("Arch", "name") and not any(t.has(key) for key in ("Loss", "Optimizer")):
        return ("Arch",), _EXPORT
    for block, reason in _ELSEWHERE.items():
        if t.has(block) and not t.is_null(block):
            return (block,), reason
    if t.has("Global", "inference_model_dir") and not t.has("Arch"):
        return ("Global", "inference_model_dir"), _PREDICTION
    if t.has("Global", "eval_mode") and t.get("Global", "eval_mode") != "classification":
        return ("Global", "eval_mode"), _RETRIEVAL
    for key in ("Backbone", "Neck", "Head"):
        if t.has("Arch", key):
            return ("Arch", key), _RETRIEVAL
    if t.has("Arch", "name") and t.get("Arch", "name") == "RecModel":
        return ("Arch", "name"), _RETRIEVAL
    for part in ("Train", "Eval"):
        data = ("DataLoader", part, "dataset", "name")
        if t.has(*data) and t.get(*data) == _MADE_LABELS:
            return data, _MADE_BEFORE
    for key in ("Query", "Gallery"):
        if t.has("DataLoader", "Eval", key):
            return ("DataLoader", "Eval", key), _RETRIEVAL
    if t.has("Global", "train_mode") and t.get("Global", "train_mode"):
        return ("Global", "train_mode"), "other loops than plain training are not translated."
    return None


def _translate_global(t: Translation) -> None:
    if not t.section("Global", required=True):
        return
    t.require("Global", "epochs")
    t.move("train.epochs", "Global", "epochs")
    t.move("train.log_every", "Global", "print_batch_step")
    set_seed(t, "Global", "seed")
    device = t.get("Global", "device")
    if isinstance(device, str) and device in ("cpu", "gpu"):
        t.set("train.device", device, "Global", "device")
    elif device is not None:
        t.refuse(("Global", "device"), f"expected cpu or gpu, got {describe(device)}.")
    set_image_size(t, "Global", "image_shape")
    t.get("Global", "eval_interval")
    if t.flag("Global", "eval_during_train", default=True):
        t.drop("every run is validated", "Global", "eval_during_train")
        t.move("train.eval_every", "Global", "eval_interval")
    elif is_whole(t.get("Global", "epochs")):
        t.set("train.eval_every", t.get("Global", "epochs"), "Global", "eval_during_train")
        t.lines.append("Global.eval_during_train: false: only the last epoch is validated")
    if t.get("Global", "update_freq", default=1) != 1:
        t.move("train.accumulate", "Global", "update_freq")
    if t.flag("Global", "use_multilabel"):
        t.set("data.task", "multilabel", "Global", "use_multilabel")
    if t.get("Global", "checkpoints"):
        t.refuse(
            ("Global", "checkpoints"), "a run is gone on with by --resume RUN, not by its config."
        )
    if t.flag("Global", "use_dali"):
        t.set("data.reader.name", "dali", "Global", "use_dali")
    for key, reason in (
        ("output_dir", "every run has a folder of its own, runs/<model>-<n> or --output"),
        ("save_interval", "there is a checkpoint after every epoch"),
        ("start_eval_epoch", "the evaluations' distance is train.eval_every"),
        ("use_visualdl", "give --vdl-dir"),
        ("save_inference_dir", "ppclas export says where"),
        ("to_static", "the numbers are the same"),
        ("iter_per_epoch", "counted from the data"),
        ("load_static_weights", "which kind a file is goes by its content"),
        ("class_num", "counted from the data"),
        ("image_channel", "a fourth channel is of zeros"),
    ):
        t.drop(reason, "Global", key)


def _translate_arch(t: Translation) -> None:
    name = t.get("Arch", "name")
    if not isinstance(name, str) or not name:
        t.get("Global", "pretrained_model")
        t.refuse(
            ("Arch",),
            f"expected the name of a model of ppclas models list in Arch.name, got "
            f"{describe(name)}.",
        )
        return
    name = find_variant(t, name, "Arch")
    ssld, path = t.flag("Arch", "use_ssld"), t.get("Global", "pretrained_model")
    weights = t.get("Arch", "pretrained", default=False)
    if not path and isinstance(weights, str):
        with contextlib.suppress(ConfigError):  # else it is a path
            weights = read_flag(weights)
    if not path and ssld and weights is True:
        name = ssld_name(t, name, "Arch", "use_ssld")
        t.lines.append(f"Arch.use_ssld → the published weights {name}")
    else:
        t.drop("it is about published weights, which are not asked for", "Arch", "use_ssld")
    set_name(t, name, "Arch", "name")
    set_params(t, name, "Arch")
    if path:
        set_pretrained(t, path, "Global", "pretrained_model")
        t.drop("Global.pretrained_model is given, which comes before it", "Arch", "pretrained")
    else:
        set_pretrained(t, weights, "Arch", "pretrained")
    drop_data_facts(t, [("Arch", "class_num")])
    t.drop("the activation belongs to the bundle", "Arch", "infer_add_softmax")
    t.move("optimizer.lr_mult", "Arch", "lr_mult_list")
    if t.flag("Arch", "use_sync_bn"):
        t.set("train.sync_batch_norm", True, "Arch", "use_sync_bn")
    if t.get("Arch", "data_format", default="NCHW") != "NCHW":
        t.drop("the layout changes on the device; the numbers are the same", "Arch", "data_format")
    if t.get("Arch", "input_image_channel", default=3) in (3, 4):
        t.drop("a fourth channel is of zeros", "Arch", "input_image_channel")
    else:
        t.refuse(("Arch", "input_image_channel"), "expected 3, or 4 of which one is of zeros.")


def _translate_loader(t: Translation) -> None:
    if not t.section("DataLoader", required=True):
        return
    if t.section("DataLoader", "Train", required=True):
        t.require("DataLoader", "Train", "dataset", "cls_label_path")
    parts = {"Train": ("train", "train_transforms"), "Eval": ("val", "eval_transforms")}
    for part, (new, transforms) in parts.items():
        if part == "Eval" and t.is_null("DataLoader", part):
            t.get("DataLoader", part)
            continue
        _translate_dataset(t, part, new, transforms)
        _translate_sampler(t, part)
    path = ("DataLoader", "Train", "dataset", "batch_transform_ops")
    mixes = translate_batch_operators(t, *path, mixup_alpha=1.0)
    if len(mixes) > 1:
        t.refuse(path, "expected one operator.")
    elif mixes:
        scales = t.new.get("data", {}).get("batch_transforms", [])
        t.set("data.batch_transforms", [*scales, *mixes], *path)
    folders: list[KeyPath] = [("DataLoader", part, "dataset", "image_root") for part in parts]
    lists: list[KeyPath] = [("DataLoader", part, "dataset", "cls_label_path") for part in parts]
    set_root(t, (folders[0], lists[0]), (folders[1], lists[1]))
    t.move("data.workers", "DataLoader", "Train", "loader", "num_workers")
    t.drop("the workers of training evaluate too", "DataLoader", "Eval", "loader", "num_workers")
    say_split(t, "DataLoader.Eval")


def _translate_dataset(t: Translation, part: str, new: str, transforms: str) -> None:
    data = ("DataLoader", part, "dataset")
    t.move(f"data.{new}", *data, "cls_label_path")
    kind = t.get(*data, "name", default="ImageNetDataset")
    kinds = ("ImageNetDataset", "MultiLabelDataset", "CommonDataset", "MultiScaleDataset")
    if kind not in kinds:
        t.refuse(
            (*data, "name"),
            f"expected one of {', '.join(kinds)}, got {describe(kind)}.",
        )
    t.drop("space, tab and comma are told apart by looking", *data, "delimiter")
    t.drop("the loss says whether the shares of labels count", *data, "label_ratio")
    if t.flag(*data, "relabel"):
        t.refuse(
            (*data, "relabel"), "true: labels are ids from 0 here. Number them so in the list."
        )
    set_transforms(t, transforms, *data, "transform_ops")


def _translate_sampler(t: Translation, part: str) -> None:
    sampler = ("DataLoader", part, "sampler")
    name = t.get(*sampler, "name", default=_SAMPLERS[0])
    if name == _MULTI_SCALE:
        _translate_scales(t, sampler, part)
    elif name in _REPEATING and part == "Train":
        repeats = t.get(*sampler, "num_repeats", default=3)
        t.set("data.sampling.repeats", repeats, *sampler, "name")
    elif name in _SAMPLERS:
        t.drop("each photo is shown once an epoch", *sampler, "name")
    else:
        t.refuse(
            (*sampler, "name"),
            f"expected {' or '.join(_SAMPLERS)}, got {describe(name)}: it shows photos in another "
            "way than once an epoch.",
            covers=sampler,
        )
    for key, reason in (
        ("drop_last", "training drops no photo for good, evaluation none at all"),
        ("shuffle", "training is shuffled, evaluation is not"),
    ):
        t.drop(reason, *sampler, key)
    t.drop("workers hand batches over by pipes", "DataLoader", part, "loader", "use_shared_memory")
    key = "first_bs" if name == _MULTI_SCALE else "batch_size"
    t.move("data.batch_size" if part == "Train" else "data.eval_batch_size", *sampler, key)
    if part == "Train" and is_whole(size := t.get(*sampler, key)):
        t.lines.append(
            f"batch_size {size} was meant for each device; here it counts over all: with n devices "
            f"give {size}·n"
        )


def _translate_scales(t: Translation, sampler: KeyPath, part: str) -> None:
    """Batches of several sizes in training; of the first one in evaluation."""
    scales, factor = t.get(*sampler, "scales"), t.get(*sampler, "divided_factor", default=32)
    for key in ("is_training", "seed"):
        t.drop("the seed of the run decides", *sampler, key)
    sides = (
        [side for scale in scales for side in (scale if isinstance(scale, list) else [scale])]
        if isinstance(scales, list)
        else []
    )
    if not is_whole(factor) or factor < 1 or not sides or not all(map(is_whole, sides)):
        t.refuse((*sampler, "scales"), "expected sides in pixels, and a divided_factor from 1.")
        return
    if min(sides) < factor:
        t.refuse((*sampler, "scales"), f"expected sides of divided_factor ({factor}) or more.")
        return
    if part != "Train":
        return
    # PaddleClas writes (width, height), and rounds down to what the model's strides divide.
    sizes = [
        [side // factor * factor for side in reversed(scale)]
        if isinstance(scale, list)
        else scale // factor * factor
        for scale in scales
    ]
    t.set("data.batch_transforms", [{"name": "MultiScale", "sizes": sizes}], *sampler, "scales")
    largest = max(sides) // factor * factor
    for transform in t.new.get("data", {}).get("train_transforms", []):
        if transform["name"] in _SIZED:
            transform["size"] = largest
    t.lines.append(
        f"MultiScaleSampler → MultiScale: crops of {largest} pixels, resized to one of the sizes "
        "for each batch, which keeps its number of images"
    )


def _translate_metrics(t: Translation) -> None:
    t.drop("the task's own are measured while training", "Metric", "Train")
    if t.is_null("Metric") or not t.section("Metric", required=False):
        t.get("Metric")
        return
    ks: set[int] = set()
    first, extra = "", []
    for index, item in enumerate(t.items("Metric", "Eval")):
        where = ("Metric", "Eval", index)
        try:
            name, params = one_entry(item)
            if name == "TprAtFpr":
                limit = OperatorParams(name, params).number("max_fpr", 1 / 1000)
                extra.append({"name": name} | ({"max_fpr": limit} if limit != 0.001 else {}))
                first = first or "tpr_at_fpr"
                continue
            found = _top_ks(name, params)
            ks |= set(found)
            first = first or (f"top{found[0]}" if found else "other")
        except ConfigError as error:
            t.refuse(where, str(error))
    if not t.refused("Metric"):
        set_top_k(t, ks, "Metric", "Eval")
        if extra:
            t.set("metrics", [*t.new.get("metrics", []), *extra], "Metric", "Eval")
        # PaddleClas keeps the epoch that is best by what the first metric says first.
        if first not in ("", "other", "top1"):
            t.set("train.monitor", first, "Metric", "Eval")


def _top_ks(name: str, params: dict[str, Any]) -> list[int]:
    """The k of a metric's top-k accuracies; none where it is another one."""
    if name in _MEASURED:
        return []
    if name not in _TOP_K:
        near = near_names(name, (*_TOP_K, *_MEASURED))
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"expected one of {', '.join((*_TOP_K, *_MEASURED))}, got {name}.{hint}")
    ks = params.get("topk", [1, 5])
    ks = ks if isinstance(ks, list) else [ks]
    if not all(is_whole(k) and k > 0 for k in ks):
        raise ConfigError(f"{name}.topk: expected whole numbers from 1, got {describe(ks)}.")
    return list(ks)
