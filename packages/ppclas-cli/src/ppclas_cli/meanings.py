"""What people mean by options and commands of other programs: what they are called here."""

from __future__ import annotations

from collections.abc import Container

import click

_MEANT = (
    # words of other programs, the option here (of any command that has it), a config key, or a
    # sentence
    ("wandb logger tensorboard visualdl mlflow comet log-to logging", "--tracker"),
    ("gpu gpus cuda num-gpus gpu-ids device-ids", "--devices"),
    ("cpu no-cuda accelerator use-gpu", "--device"),
    ("learning-rate base-lr max-lr lr0 init-lr", "--lr"),
    ("num-epochs max-epochs n-epochs epoch iterations", "--epochs"),
    ("batch bs batchsize train-batch-size batch_size", "--batch-size"),
    ("img-size imgsz image_size input-size resolution size img", "--image-size"),
    ("arch backbone architecture net network model-name", "--model"),
    ("checkpoint ckpt load init-from finetune weights weights-path", "--pretrained"),
    ("no-pretrained scratch random-init", "--from-scratch"),
    (
        "aug augmentation augmentations autoaugment randaugment aa auto-augment data-aug reprob "
        "hsv-h hsv-s hsv-v fliplr flipud hflip vflip degrees color-jitter random-erase erasing",
        "--augment",
    ),
    ("cutmix mix mixup-alpha mixup-prob", "--mixup"),
    ("smoothing ls-eps", "--label-smoothing"),
    ("wd decay l2 weight_decay", "--weight-decay"),
    ("opt optim adam adamw sgd", "--optimizer"),
    ("early-stop early-stopping early-stopping-patience", "--patience"),
    ("freeze-backbone frozen linear-probe head-only freeze-layers", "--freeze"),
    ("exp-name experiment run-name project", "--name"),
    ("out out-dir output-dir save-dir dest log-dir checkpoint-dir checkpoint-path", "--output"),
    ("test-data test-dir holdout held-out", "--test"),
    ("num-workers n-workers jobs j", "--workers"),
    ("fp16 bf16 half mixed-precision precision", "--amp"),
    ("continue restart", "--resume"),
    ("random-seed manual-seed", "--seed"),
    ("model-ema moving-average", "--ema"),
    ("grad-accum accumulation accumulate-grad-batches gradient-accumulation-steps", "--accumulate"),
    ("val-data valid validation eval-data", "--val"),
    ("threshold conf confidence min-conf min-score", "--min-confidence"),
    ("topk k", "--top-k"),
    ("save save-img save-image annotate visualize", "--save-images"),
    ("sort copy-to move-to", "--sort-into"),
    ("source input images dataset data-path data-dir", "--data"),
    ("data root dataset data-path data-dir images", "--train"),
    ("sched scheduler lr-scheduler schedule cos-lr cosine lrf min-lr", "schedule.name"),
    ("momentum", "optimizer.momentum"),
    ("save-period save-freq checkpoint-every", "train.checkpoint_minutes"),
    ("crop-pct", "data.resize_short"),
    ("multi-scale", "data.batch_transforms"),
    ("num-classes nc nb-classes classes", "The classes are those of the photos."),
    ("exist-ok overwrite", "Every run has a folder of its own; --name chooses what it is called."),
    ("warmup warmup-epochs", "schedule.warmup_epochs"),
    ("clip grad-clip clip-grad max-norm gradient-clip-val", "optimizer.clip_norm"),
    ("val-split validation-split split val-fraction test-size", "data.val_fraction"),
    ("drop-path dropout dropout-rate drop", "model.params"),
    ("loss criterion focal", "loss.name"),
    ("layer-decay llrd", "optimizer.layer_decay"),
    ("oversample balance class-balance weighted-sampler", "data.sampling.balance"),
    ("normalize mean std", "data.normalize"),
    ("metric monitor best-by", "train.monitor"),
)

_COMMANDS = {
    # group → what its commands are called here, and the words of other programs for each
    "ppclas": (
        ("ppclas train", "fit finetune fine-tune learn"),
        ("ppclas eval", "val valid validate test evaluate score"),
        ("ppclas predict", "infer inference classify detect run"),
        ("ppclas search", "tune tuner sweep hpo automl optimize"),
        ("ppclas export", "convert deploy compile onnx"),
        ("ppclas quantize", "int8 ptq compress"),
        ("ppclas serve", "server deploy api"),
        ("ppclas models list", "list zoo model"),
        ("ppclas models download", "download fetch"),
        ("ppclas doctor", "env info checks diagnose"),
        ("ppclas runs list", "history logs ls"),
        ("ppclas train --resume", "resume"),
        ("ppclas --help", "help"),
        ("ppclas --version", "version"),
    ),
    "ppclas models": (("info", "show describe get"), ("list", "ls all search find")),
    "ppclas runs": (("show", "info describe get"), ("list", "ls all")),
    "ppclas recipes": (("show", "info describe get"), ("list", "ls all")),
    "ppclas data": (("check", "info show analyze validate"), ("fetch", "download get")),
    "ppclas config": (("show", "print dump get"), ("validate", "check lint")),
}


def meant_command(name: str, group: str) -> list[str]:
    """What the unknown command ``name`` of ``group`` is called here, as it is typed."""
    rows = _COMMANDS.get(group, ())
    return [here for here, words in rows if name.lower().replace("_", "-") in words.split()]


def meant(error: click.NoSuchOption) -> str:
    """A sentence on what the unknown option is called here; empty where nothing is known."""
    if error.ctx is None:
        return ""
    known = {name: option for option in error.ctx.command.params for name in option.opts}
    here = called_here(error.option_name, known)
    if here.endswith("."):
        return here
    if here in known:
        return f"That is {here} here: {getattr(known[here], 'help', None) or ''}"
    if "--override" in known and here and not here.startswith("--"):
        return f"That is set with -o {here}=…; 'ppclas config show' prints all keys."
    return ""


def called_here(name: str, known: Container[str] = ()) -> str:
    """The option here (of those ``known``, if one is), the config key, or the sentence for what
    other programs call ``name``; else empty."""
    word = name.lstrip("-").lower().replace("_", "-")
    found = [
        here
        for words, here in _MEANT
        if word in words.replace("_", "-").split() or word == here.lstrip("-")
    ]
    fitting = (here for here in found if here in known or not here.startswith("--"))
    return next(fitting, found[0] if found else "")
