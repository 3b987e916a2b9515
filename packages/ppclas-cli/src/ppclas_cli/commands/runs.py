"""``ppclas runs``: what was trained here, and how one run differs from another."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from ppclas_core.errors import CheckpointError

from ppclas_cli import output
from ppclas_cli.lazy import Group

if TYPE_CHECKING:
    from collections.abc import Sequence

_METRICS = {
    "top1": "top-1",
    "top5": "top-5",
    "map": "mAP",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "loss": "loss",
    "ece": "ECE",
}
"""Those that are shown, and how people write them."""
_OWN = ("train.output",)
"""Settings that differ between any two runs and say nothing."""


class _Run(NamedTuple):
    path: Path
    settings: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any] | None
    """None where the run has not finished."""

    @property
    def best(self) -> dict[str, Any]:
        """The best epoch's numbers: of the summary, else by the run's own metric so far."""
        if self.summary is not None:
            return dict(self.summary["best"])
        name = (self.settings.get("train") or {}).get("monitor") or "top1"
        sign = -1 if name in ("loss", "ece") else 1
        rows = [row for row in self.history if row.get(name) is not None]
        return max(rows, key=lambda row: sign * row[name], default={})

    @property
    def state(self) -> str:
        """Finished, or how far it came."""
        done = self.history[-1]["epoch"] if self.history else 0
        if self.summary is not None:
            return "finished"
        return f"stopped after epoch {done} of {self.settings['train']['epochs']}"

    @property
    def changed(self) -> float:
        """When its last epoch was written, seconds since 1970."""
        newest = self.path / ("metrics.jsonl" if self.history else "config.yaml")
        return newest.stat().st_mtime

    def facts(self) -> dict[str, Any]:
        """For programs."""
        settings = self.settings
        return {
            "run": str(self.path),
            "model": settings["model"]["name"],
            "data": settings["data"]["train"],
            "state": self.state,
            "epochs": self.history[-1]["epoch"] if self.history else 0,
            "best_epoch": self.best.get("epoch"),
            **{name: self.best[name] for name in _METRICS if self.best.get(name) is not None},
            "validation_photos": self.best.get("num_images"),
        }


@click.group(cls=Group)
def runs() -> None:
    """List, compare and describe training runs."""


@runs.command("list")
@click.argument("folder", default="runs", metavar="[DIR]")
@output.JSON_OPTION
def list_command(folder: str, as_json: bool) -> None:
    """List the runs below DIR (runs/ without it), the newest first.

    \b
    Example:
      ppclas runs list
    """
    base = Path(folder)
    found = []
    for config in base.glob("*/config.yaml"):
        try:
            found.append(_read(config.parent))
        except CheckpointError as error:
            output.note(f"left out: {error}")
    found.sort(key=lambda run: run.changed, reverse=True)
    if as_json:
        output.print_json([run.facts() for run in found])
        return
    if not found:
        raise CheckpointError(
            f"There is no run in {folder}. Start one with 'ppclas train', or name the folder that "
            "holds your runs: ppclas runs list DIR"
        )
    columns = [name for name in ("top1", "map") if any(name in run.best for run in found)]
    output.print_table(
        [
            [
                run.path.name,
                run.settings["model"]["name"],
                *(_shown(name, run.best.get(name)) for name in columns),
                run.best.get("epoch"),
                run.state.removesuffix(f" of {run.settings['train']['epochs']}"),
            ]
            for run in found
        ],
        ["run", "model", *(_METRICS[name] for name in columns), "best epoch", "state"],
    )


@runs.command("compare")
@click.argument("folders", nargs=-1, required=True, metavar="RUN RUN…")
@output.JSON_OPTION
def compare_command(folders: tuple[str, ...], as_json: bool) -> None:
    """Print what differs between runs: their settings, then their numbers.

    \b
    Example:
      ppclas runs compare runs/MobileNetV2-1 runs/MobileNetV2-2
    """
    if len(folders) < 2:
        raise click.UsageError("Expected two runs or more to compare.")
    found = [_read(Path(folder)) for folder in folders]
    settings = _differing([run.settings for run in found])
    numbers = {
        name: [run.best.get(name) for run in found]
        for name in ("epoch", *_METRICS)
        if any(run.best.get(name) is not None for run in found)
    }
    if as_json:
        output.print_json({"runs": folders, "settings": settings, "best": numbers})
        return
    rows: list[Sequence[Any]] = [[key, *map(_said, values)] for key, values in settings.items()]
    if not rows:
        output.note("the runs have the same settings")
    rows += [
        [_METRICS.get(name, "best epoch"), *(_shown(name, value) for value in values)]
        for name, values in numbers.items()
    ]
    output.print_table(rows, ["", *(Path(folder).name for folder in folders)])


@runs.command("show")
@click.argument("folder", metavar="RUN")
@output.JSON_OPTION
def show_command(folder: str, as_json: bool) -> None:
    """Print how the run was started, how it ended, and what to do with it.

    \b
    Example:
      ppclas runs show runs/MobileNetV2-1
    """
    run = _read(Path(folder))
    command = run.path / "command.txt"
    started = command.read_text(encoding="utf-8").strip() if command.is_file() else ""
    if as_json:
        output.print_json({**run.facts(), "command": started, "history": run.history})
        return
    facts = {
        _METRICS.get(name, name.replace("_", " ")): _shown(name, value)
        for name, value in run.facts().items()
    }
    output.print_facts({**facts, "started with": started})
    name = shlex.quote(folder)
    if run.summary is None:
        output.note(f"Go on with it: ppclas train --resume {name}")
    else:
        output.note(f"Score it on other photos: ppclas eval {name} --data DATA")


def _read(folder: Path) -> _Run:
    """The files of a run, without importing what trained it.

    Raises:
        CheckpointError: the folder holds no run.
    """
    import yaml
    from ppclas_engine.runs.run import RunFolder

    run = RunFolder(folder)
    if not run.config.is_file():
        raise CheckpointError(
            f"{folder} is not a run folder (it has no config.yaml). 'ppclas runs list' names those "
            "in runs/."
        )
    try:
        settings = yaml.safe_load(run.config.read_text(encoding="utf-8"))
        lines = run.history.read_text("utf-8").splitlines() if run.history.exists() else []
        summary = json.loads(run.finished.read_text("utf-8")) if run.finished.exists() else None
        history = [json.loads(line) for line in lines]
        _ = settings["model"]["name"], settings["data"]["train"], settings["train"]["epochs"]
        return _Run(folder, settings, history, summary)
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise CheckpointError(
            f"{folder}: expected the files of a run, and they are damaged ({error!r})."
        ) from error


def _differing(trees: Sequence[Any], key: str = "") -> dict[str, list[Any]]:
    """Dotted key → the value of each tree, where they are not all the same."""
    if any(trees) and all(
        tree is None or (isinstance(tree, list) and all(isinstance(item, dict) for item in tree))
        for tree in trees
    ):
        trees = [dict(enumerate(tree or ())) for tree in trees]  # transforms, one by one
    if any(trees) and all(tree is None or isinstance(tree, dict) for tree in trees):
        trees = [tree or {} for tree in trees]
        found: dict[str, list[Any]] = {}
        for name in dict.fromkeys(name for tree in trees for name in tree):
            found |= _differing(
                [tree.get(name) for tree in trees], f"{key}.{name}" if key else name
            )
        return found
    same = all(tree == trees[0] for tree in trees) or key in _OWN
    return {} if same else {key: list(trees)}


def _said(value: Any) -> str:
    """A setting as it is compared: a path from here, where it is below."""
    if isinstance(value, str):
        return value.removeprefix(f"{Path.cwd()}{os.sep}")
    return "-" if value is None else json.dumps(value)


def _shown(name: str, value: Any) -> Any:
    from ppclas_engine.scoring.monitor import in_percent

    if isinstance(value, float):
        return f"{value:.2%}" if in_percent(name) else f"{value:.4f}"
    return value
