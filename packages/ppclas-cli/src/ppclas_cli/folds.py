"""``ppclas train --kfold``: what a person sees of a training on every fold."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppclas_cli import output
from ppclas_cli.augmenting import augmented
from ppclas_cli.lazy import need_extra
from ppclas_cli.training_screen import print_plan

if TYPE_CHECKING:
    from ppclas_core.config.schema import Config
    from ppclas_engine.console import Console
    from ppclas_search.crossval.folds import CrossValidation

_ALONE = {
    "test_data": "--test: measure a fold's run by 'ppclas eval'",
    "dry_run": "--dry-run: it shows what one run would do",
    "master": "--master: each run is of one machine",
    "resume": "--resume: 'ppclas train --resume DIR' alone goes on with the folds in DIR",
}
_SHOWN = ("top1", "top5", "map", "auroc", "macro_f1", "loss")


def check_folds(given: Mapping[str, Any], folds: int | None, group: str | None) -> None:
    """Refuse options that have no meaning beside ``--kfold``.

    Raises:
        click.UsageError: there are some.
        MissingDependencyError: the package that makes folds is not installed.
    """
    if folds is None:
        if group is not None:
            raise click.UsageError("--group goes with --kfold.")
        return
    for name, said in _ALONE.items():
        if given[name]:
            raise click.UsageError(f"--kfold does not go with {said}.")
    need_extra("--kfold", "ppclas_search", "search")


def train_folds(
    config: Config,
    folds: int,
    group: str | None,
    augment: str | None,
    console: Console,
    *,
    verbose: bool,
) -> None:
    """Train on every fold, and print what came of it."""
    from ppclas_engine.session import plan_run
    from ppclas_search.crossval.folds import cross_validate

    if augment is not None:
        data = augmented(plan_run(config), augment).config.data
        chosen = {
            key: getattr(data, key)
            for key in ("train_transforms", "batch_transforms", "image_size")
        }
        config = config.replace(data=config.data.replace(**chosen))
    found = cross_validate(
        config,
        folds,
        console,
        group=group,
        command=["ppclas", *sys.argv[1:]],
        on_plan=lambda plan: print_plan(plan, console, verbose=verbose, estimate=False),
    )
    print_folds(found, console)


def resume_folds(folder: Path, console: Console) -> bool:
    """Go on with the folds in ``folder``; False where it is something else."""
    if not (folder / "folds.json").is_file():
        return False
    need_extra("--resume of folds", "ppclas_search", "search")
    from ppclas_search.crossval import folds

    print_folds(folds.resume_folds(folder, console), console)
    return True


def print_folds(found: CrossValidation, console: Console) -> None:
    """A row for each fold, their mean with its interval, and where everything is."""
    from ppclas_engine.scoring.monitor import TITLES, format_metric
    from ppclas_search.crossval.tables import in_words

    def number(name: str, value: float) -> str:
        return format_metric(name, value).rpartition(" ")[2]

    shown = [name for name in _SHOWN if name in found.spread]
    if "top1" in shown:
        few = len(found.answers.per_class) <= output.FEW
        shown = [name for name in shown if name in ("top1", "loss") or (name == "top5" and not few)]
    rows = [
        [run.name, *(number(name, metrics[name]) for name in shown)]
        for run, metrics in zip(found.runs, found.metrics, strict=True)
    ]
    rows.append(["mean", *(number(name, found.spread[name].mean) for name in shown)])
    console.line()
    output.print_table(rows, ["fold", *(TITLES.get(name, name) for name in shown)])
    console.line()
    for name in shown:
        console.line(f"{TITLES.get(name, name)}: {in_words(name, found.spread[name])}")
    console.line("  (mean of the folds; their standard deviation; 95 % interval of the mean)")
    folder = shlex.quote(str(found.folder))
    console.line(
        f"Everything is in {folder}: fold-1/ … fold-{len(found.runs)}/, report.html, folds.csv, "
        "out_of_fold.csv"
    )
    console.line("Find photos whose label may be wrong:")
    console.line(f"  ppclas data audit -m {folder}")
