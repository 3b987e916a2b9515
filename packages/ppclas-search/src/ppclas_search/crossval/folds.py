"""Train a run for each fold of a data set, and put the answers of all of them together."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import Bundle
from ppclas_core.config.load import dump_config, load_config
from ppclas_core.config.schema import Config
from ppclas_core.contracts.data import ImageSet
from ppclas_core.errors import CheckpointError, ConfigError
from ppclas_core.files import write_json, write_text
from ppclas_data.builtin import builtin_photos
from ppclas_data.sources.listing import write_parts
from ppclas_data.sources.opening import load_image_set
from ppclas_data.sources.parts import training_part
from ppclas_data.sources.split_column import training_rows
from ppclas_data.sources.splits import roots
from ppclas_engine.console import Console
from ppclas_engine.planning.plan import Plan
from ppclas_engine.results.score import evaluate_bundle, plan_scoring
from ppclas_engine.runs.run import RunFolder, create_run_folder
from ppclas_engine.scoring.evaluate import Evaluation, score
from ppclas_engine.scoring.monitor import in_percent
from ppclas_engine.session import plan_run, resume, train_plan

from ppclas_search.crossval.dealing import ALWAYS, deal
from ppclas_search.crossval.groups import groups_of
from ppclas_search.crossval.spread import Spread
from ppclas_search.crossval.tables import ANSWERS, write_answers, write_folds, write_page

SUMMARY = "folds_summary.json"
FOLDS = "folds.json"
"""Marks a folder of folds, and says what they are of."""
RECIPE = "recipe.yaml"
"""The config of every run, but for its photos and its folder."""
_LISTS = "lists"


@dataclass(frozen=True)
class CrossValidation:
    """What K runs on K folds have come to."""

    folder: Path
    """``fold-1`` to ``fold-K``, each an ordinary run, and the files about all of them."""
    runs: tuple[Path, ...]
    metrics: tuple[Mapping[str, float], ...]
    """Of each fold's best epoch on the fold's validation photos."""
    spread: Mapping[str, Spread]
    """Of each metric."""
    answers: Evaluation
    """Of each photo that validates, by the run that was not trained on it; ``indices`` are places
    in the data set."""


def cross_validate(
    config: Config,
    folds: int,
    console: Console,
    *,
    group: str | None = None,
    on_plan: Callable[[Plan], None] = lambda _: None,
    command: Sequence[str] | None = None,
) -> CrossValidation:
    """Deal the training photos of ``config`` out to folds and train on all but one, for each.

    Args:
        config: of every run; its ``train.output`` is the folder of all.
        folds: how many, 2 or more.
        console: for lines and bars.
        group: a column of the CSV or a regular expression; photos of a group are never on both
            sides.
        on_plan: is called with the first run's plan.
        command: the shell line that started it.

    Raises:
        ConfigError: the config names validation photos too.
        DataError: the photos cannot be dealt out so.
    """
    if config.data.val is not None:
        raise ConfigError(
            "expected no validation photos with folds, which take turns at that, got "
            f"{config.data.val}: leave --val out, and measure a fold's run on it by 'ppclas eval'"
        )
    notes: list[str] = []
    images = _photos(config, notes)
    groups = groups_of(images, group)
    classes = [record.class_ids for record in images.records]
    dealt = deal(classes, groups, folds, config.train.seed)
    output = config.train.output
    folder = create_run_folder(output, f"{config.model.name}-{folds}folds").path
    for note in notes:
        console.line(note)
    _tell_of_folds(dealt, len(set(groups)), folds, group, console)
    write_parts(folder / _LISTS, _parts(images, dealt, folds), images.class_names, notes)
    place = config.data.train
    data = config.data.replace(
        train=None if place is None else os.path.abspath(place),  # noqa: PTH100 - links stay
        task=images.task,
    )
    train = config.train.replace(output=None)
    write_text(folder / RECIPE, dump_config(config.replace(data=data, train=train)))
    named = [] if group is None else ["--group", group]
    again = ["ppclas", "train", "-c", str(folder / RECIPE), "--kfold", str(folds), *named]
    write_text(folder / "command.txt", shlex.join(command or again) + "\n")
    # Last: a folder that has it can be gone on with.
    write_json(folder / FOLDS, {"folds": folds, "group": group, "photos": len(images)})
    return _train(folder, console, on_plan)


def resume_folds(folder: Path, console: Console) -> CrossValidation:
    """Go on with what ``cross_validate`` left in ``folder`` when it was stopped.

    Runs that have finished stay as they are; one that was under way goes on from its checkpoint.

    Raises:
        CheckpointError: it is no such folder.
    """
    if not is_folds(folder):
        raise CheckpointError(
            f"{folder} holds no folds (it has no {FOLDS}). Start some with: ppclas train --kfold K"
        )
    return _train(folder, console, lambda _: None)


def is_folds(folder: Path) -> bool:
    """Whether ``cross_validate`` made the folder."""
    return (folder / FOLDS).is_file()


def _photos(config: Config, notes: list[str]) -> ImageSet:
    data = config.data
    place = data.train if data.train is not None else str(builtin_photos())
    part = training_part(place, notes)
    if part != place:
        notes.append("The other parts of the data set are left alone: folds are of this one.")
    images = load_image_set(part, root=roots(data)[0], labels=data.labels, task=data.task)
    return training_rows(images, notes)


def _tell_of_folds(
    dealt: Sequence[int], groups: int, folds: int, group: str | None, console: Console
) -> None:
    sizes = sorted(np.bincount([fold for fold in dealt if fold != ALWAYS], minlength=folds))
    count = str(sizes[0]) if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"
    within = "" if group is None else f"; {groups} groups by {group}, none of them on both sides"
    console.line(f"{folds} folds of {count} photos{within}")
    always = sum(fold == ALWAYS for fold in dealt)
    if always:
        console.line(
            f"{always} photo(s) of classes that only one {'group' if group else 'photo'} has are "
            "always trained on and never asked about"
        )


def _parts(images: ImageSet, dealt: Sequence[int], folds: int) -> dict[str, Any]:
    parts = {}
    for fold in range(folds):
        for side, is_val in (("train", False), ("val", True)):
            parts[f"fold-{fold + 1}_{side}"] = [
                record
                for record, own in zip(images.records, dealt, strict=True)
                if (own == fold) == is_val
            ]
    return parts


def _train(folder: Path, console: Console, on_plan: Callable[[Plan], None]) -> CrossValidation:
    folds: int = json.loads((folder / FOLDS).read_text(encoding="utf-8"))["folds"]
    recipe = load_config(str(folder / RECIPE)).config
    runs, found = [], []
    for number in range(1, folds + 1):
        run = RunFolder(folder / f"fold-{number}")
        console.line()
        console.line(f"fold {number} of {folds}: {run.path}")
        if run.finished.exists():
            console.line("  finished already")
        elif run.config.is_file():
            resume(run.path, console)
        else:
            lists = {
                side: str((folder / _LISTS / f"fold-{number}_{side}_list.txt").absolute())
                for side in ("train", "val")
            }
            labels = str((folder / _LISTS / "label_list.txt").absolute())
            planned = plan_run(
                recipe.replace(
                    data=recipe.data.replace(**lists, labels=labels, root=None),
                    train=recipe.train.replace(output=str(run.path)),
                )
            )
            if number == 1:
                on_plan(planned)
            train_plan(planned, console)
        runs.append(run.path)
        found.append(_answers(run.path, console))
    return _together(folder, runs, found, console)


def _answers(run: Path, console: Console) -> tuple[ImageSet, Evaluation]:
    """The fold's validation photos, and what the best epoch's weights say of them."""
    bundle = Bundle.load(run)
    scoring = plan_scoring(bundle, str(run), None)
    lists = str(Path(scoring.images.origin).parent)
    # The lists name photos by their way from the folder that they are in.
    records = tuple(
        replace(record, path=os.path.normpath(os.path.realpath(lists) + record.path[len(lists) :]))
        for record in scoring.images.records
    )
    return replace(scoring.images, records=records), evaluate_bundle(bundle, scoring, console)


def _together(
    folder: Path,
    runs: Sequence[Path],
    found: Sequence[tuple[ImageSet, Evaluation]],
    console: Console,
) -> CrossValidation:
    metrics = tuple(evaluation.metrics for _, evaluation in found)
    spread = {
        name: Spread.of([each[name] for each in metrics], is_share=in_percent(name))
        for name in metrics[0]
        if all(name in each for each in metrics)
    }
    places = np.cumsum([0, *(len(images) for images, _ in found)])
    fold_of: NDArray[np.int64] = np.concatenate(
        [np.full(each.num_images, number) for number, (_, each) in enumerate(found, 1)]
    )
    answers = score(
        np.concatenate([each.logits for _, each in found]),
        np.concatenate([each.labels for _, each in found]),
        np.concatenate(
            [each.indices + start for (_, each), start in zip(found, places[:-1], strict=True)]
        ),
        found[0][0].class_names,
    )
    first = found[0][0]
    images = ImageSet(
        tuple(record for each, _ in found for record in each.records),
        first.class_names,
        str(folder),
        task=first.task,
    )
    write_answers(folder / ANSWERS, answers, images, fold_of)
    write_folds(folder, runs, metrics, spread)
    write_page(folder, runs, metrics, spread, answers, images)
    write_json(
        folder / SUMMARY,
        {
            "runs": [str(run) for run in runs],
            "metrics": list(metrics),
            "spread": {name: asdict(each) for name, each in spread.items()},
            "out_of_fold": answers.summary(),
        },
    )
    return CrossValidation(folder, tuple(runs), metrics, spread, answers)
