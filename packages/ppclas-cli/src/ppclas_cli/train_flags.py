"""The everyday switches of ``ppclas train``, and what each of its flags sets in a config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppclas_cli.lazy import need_extra

if TYPE_CHECKING:
    _ParamType = click.ParamType[int | float | str]
else:
    _ParamType = click.ParamType  # generic only in newer releases of click


class NumberOr(_ParamType):
    """A number of a range, or one word."""

    def __init__(self, word: str, numbers: click.IntRange | click.FloatRange) -> None:
        self._word, self._numbers = word, numbers
        self.name = f"{numbers.name} or {word}"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | float | str:
        """The word as it is; everything else as a number."""
        if value == self._word:
            return self._word
        try:
            number: int | float = self._numbers.convert(value, param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message.rstrip('.')}, nor {self._word!r}.", param, ctx)
        return number


def everyday_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the switches of ``ppclas train`` that change the recipe."""
    options = (
        click.option(
            "--augment",
            metavar="light|medium|strong|FILE",
            help="Augmentations behind the crop and flip: a preset ('ppclas data preview --augment "
            "strong' draws it), or a YAML list of transforms.",
        ),
        click.option(
            "--mixup",
            is_flag=False,
            flag_value=0.2,
            type=click.FloatRange(0, min_open=True),
            metavar="[ALPHA]",
            help="Blend photos and labels of a batch; alone: 0.2.",
        ),
        click.option(
            "--progressive",
            is_flag=False,
            flag_value=0.5,
            type=click.FloatRange(0, 1, min_open=True, max_open=True),
            metavar="[SHARE]",
            help="Begin with images of this share of their size and let them grow over 80 % of the "
            "epochs; alone: 0.5 (extra [search]).",
        ),
        click.option(
            "--label-smoothing",
            type=click.FloatRange(0, 1, max_open=True),
            metavar="SHARE",
            help="Share of each label that is spread over all classes, as 0.1.",
        ),
        click.option(
            "--optimizer",
            metavar="NAME",
            help="SGD, Momentum, RMSProp, Adam, AdamW, Lamb, or a plugin's.",
        ),
        click.option(
            "--weight-decay",
            type=click.FloatRange(min=0),
            metavar="RATE",
            help="How strongly weights are pulled towards 0.",
        ),
        click.option(
            "--freeze",
            metavar="STAGES",
            help="What is not trained: backbone (the classifier alone learns), early (its first "
            "half), or stages with commas.",
        ),
        click.option(
            "--patience",
            type=click.IntRange(min=1),
            metavar="N",
            help="End after so many epochs without a better one.",
        ),
        click.option(
            "--test",
            "test_data",
            metavar="PATH",
            help="Photos that are measured once, after the last epoch: a folder, list or CSV.",
        ),
        click.option(
            "--name", "run_name", metavar="NAME", help="Call the run so: runs/NAME, or NAME-2 …"
        ),
        click.option(
            "--fix",
            type=click.IntRange(min=8),
            metavar="SIZE",
            help="With --from: fit the classifier of a run to larger images, as evaluation sees "
            "them (extra [search]).",
        ),
        click.option("--from", "fixed_run", metavar="RUN", help="The run that --fix starts from."),
        click.option(
            "--kfold",
            type=click.IntRange(min=2),
            metavar="K",
            help="Train K runs, each without one of K parts of the photos, and say how the numbers "
            "spread (extra [search]).",
        ),
        click.option(
            "--group",
            metavar="COLUMN|REGEX",
            help="With --kfold: photos that belong together, by a column of the CSV or by what "
            "matches in their paths. No group is on both sides.",
        ),
        click.option(
            "--verbose",
            is_flag=True,
            help="Say everything that was inferred from photos and model.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def flags_of(given: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Option → the dotted key of the config that it sets, and its value; None where not given."""
    data, train_list = given["data"], given["train_list"]
    if data is not None and train_list is not None:
        raise click.UsageError(
            f"DATA ({data}) and --train ({train_list}) both name the training photos: give one."
        )
    pretrained, from_scratch = given["pretrained"], given["from_scratch"]
    if pretrained is not None and from_scratch:
        raise click.UsageError("--pretrained and --from-scratch contradict each other: give one.")
    if given["output"] is not None and given["run_name"] is not None:
        raise click.UsageError("--output and --name both say where the run goes: give one.")
    return {
        "DATA": ("data.train", data),
        "--train": ("data.train", train_list),
        "--val": ("data.val", given["val"]),
        "--model": ("model.name", given["model"]),
        "--pretrained": ("model.pretrained", True if pretrained == "true" else pretrained),
        "--from-scratch": ("model.pretrained", False if from_scratch else None),
        "--epochs": ("train.epochs", given["epochs"]),
        "--batch-size": ("data.batch_size", _number(given["batch_size"])),
        "--lr": ("schedule.lr", _number(given["lr"])),
        "--image-size": ("data.image_size", given["image_size"]),
        "--resize-mode": ("data.resize_mode", given["resize_mode"]),
        "--device": ("train.device", given["device"]),
        "--devices": ("train.devices", given["devices"]),
        "--output": ("train.output", given["output"] or _named(given["run_name"])),
        "--seed": ("train.seed", given["seed"]),
        "--workers": ("data.workers", given["workers"]),
        "--reader": ("data.reader.name", given["reader"]),
        "--class-weights": ("loss.class_weights", given["class_weights"]),
        "--label-smoothing": ("loss.label_smoothing", given["label_smoothing"]),
        "--optimizer": ("optimizer.name", given["optimizer"]),
        "--weight-decay": ("optimizer.weight_decay", given["weight_decay"]),
        "--freeze": ("train.freeze", _parts(given["freeze"])),
        "--patience": ("train.patience", given["patience"]),
        **_batch_transforms(given["mixup"], given["progressive"]),
        "--tracker": ("trackers", _trackers(given["trackers"], given["vdl_dir"])),
        "--amp": ("train.precision", given["amp"]),
        "--ema": ("train.ema_decay", given["ema"]),
        "--accumulate": ("train.accumulate", given["accumulate"]),
        "--compile": ("train.compile", given["compile"]),
    }


def _number(said: int | float | str | None) -> int | float | None:
    """Nothing for a word: what it asks for is measured later."""
    return None if isinstance(said, str) else said


def _trackers(names: tuple[str, ...], vdl_dir: str | None) -> list[dict[str, Any]] | None:
    """What stands in the config for --tracker and --vdl-dir."""
    trackers: list[dict[str, Any]] = [
        {"name": name} for name in names if name != "VisualDL" or vdl_dir is None
    ]
    if vdl_dir is not None:
        trackers.append({"name": "VisualDL", "dir": str(Path(vdl_dir).absolute())})
    return trackers or None


def _named(name: str | None) -> str | None:
    """A folder of runs/ that is free: of that name, or with a number."""
    if name is None:
        return None
    if not name or Path(name).name != name or name in (".", ".."):
        raise click.UsageError(f"--name {name}: expected a plain name; for a path: --output DIR.")
    folder, number = Path("runs") / name, 2
    while folder.exists():
        folder, number = Path("runs") / f"{name}-{number}", number + 1
    return str(folder)


def _parts(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _batch_transforms(alpha: float | None, share: float | None) -> dict[str, tuple[str, Any]]:
    """What --mixup and --progressive set: one list, which is the first one's where both are
    given.
    """
    if share is not None:
        need_extra("--progressive", "ppclas_search", "search")
    mixup = [{"name": "Mixup", "alpha": alpha}] if alpha is not None else []
    growing = [{"name": "ProgressiveSize", "start": share}] if share is not None else []
    key = "data.batch_transforms"
    return {
        "--mixup": (key, [*mixup, *growing] if mixup else None),
        "--progressive": (key, growing if growing and not mixup else None),
    }


def machines(value: str) -> tuple[int, int]:
    """The least and the most machines of ``N`` or ``MIN:MAX``; what ``--nnodes`` is read with.

    Raises:
        click.BadParameter: anything else.
    """
    least, colon, most = value.partition(":")
    most = most if colon else least
    if not (least.isdecimal() and most.isdecimal() and 1 <= int(least) <= int(most)):
        raise click.BadParameter(f"expected a number of machines (2) or a range (1:4): {value!r}.")
    return int(least), int(most)
