"""What folds leave beside their runs: ``folds.csv``, ``out_of_fold.csv``, ``report.html``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import versions
from ppclas_core.contracts.data import ImageSet
from ppclas_core.errors import DataError
from ppclas_data.csv_cells import csv_value
from ppclas_engine.results.tables import answers_of, read_tables, write_tables
from ppclas_engine.scoring.evaluate import Evaluation
from ppclas_engine.scoring.monitor import TITLES, format_metric

from ppclas_search.crossval.spread import Spread
from ppclas_search.writing import write_csv

ANSWERS = "out_of_fold.csv"
_FIXED = ("path", "fold", "labels", "predicted", "probability")


@dataclass(frozen=True)
class OutOfFold:
    """What ``out_of_fold.csv`` says of N photos of C classes."""

    paths: tuple[str, ...]
    labels: tuple[str, ...]
    """Class names; with several labels they are joined by ``|``."""
    class_names: tuple[str, ...]
    probabilities: NDArray[np.float64]
    """[N, C], of a model that was not trained on the photo."""


def write_answers(
    path: Path, answers: Evaluation, images: ImageSet, fold_of: NDArray[np.int64]
) -> None:
    """A row for each photo: its fold, labels, the answer, and the probability of every class."""
    rows = [
        {
            "path": answer.path,
            "fold": fold,
            "labels": "|".join(answer.labels),
            "predicted": "|".join(answer.predicted),
            "probability": f"{answer.probability:.6g}",
            **{
                f"p({name})": f"{value:.6g}"
                for name, value in zip(images.class_names, probabilities, strict=True)
            },
        }
        for answer, fold, probabilities in zip(
            answers_of(answers, images),
            fold_of.tolist(),
            answers.probabilities.tolist(),
            strict=True,
        )
    ]
    write_csv(path, rows, [*_FIXED, *(f"p({name})" for name in images.class_names)])


def read_answers(path: Path) -> OutOfFold:
    """Read what ``write_answers`` wrote.

    Raises:
        DataError: it is no such file; with the line.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            header, *rows = [[csv_value(cell) for cell in row] for row in csv.reader(file)]
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path}: expected out-of-fold answers, as CSV: {error}") from error
    names = tuple(title[2:-1] for title in header[len(_FIXED) :])
    if tuple(header[: len(_FIXED)]) != _FIXED or not names or not rows:
        raise DataError(
            f"{path}:1: expected out-of-fold answers with the columns {', '.join(_FIXED)} and p(…) "
            f"of each class, got {', '.join(header[:6])}. 'ppclas train --kfold K' writes {ANSWERS}"
        )
    values = []
    for line, row in enumerate(rows, 2):
        try:
            values.append([float(cell) for cell in row[len(_FIXED) :]])
            if len(values[-1]) != len(names):
                raise ValueError(f"{len(values[-1])} of them")
        except ValueError as error:
            raise DataError(
                f"{path}:{line}: expected {len(names)} probabilities, got {error}"
            ) from error
    return OutOfFold(
        tuple(row[0] for row in rows), tuple(row[2] for row in rows), names, np.array(values)
    )


def write_folds(
    folder: Path,
    runs: Sequence[Path],
    metrics: Sequence[Mapping[str, float]],
    spread: Mapping[str, Spread],
) -> None:
    """``folds.csv``: a row for each fold, then their mean, standard deviation and interval."""
    rows: list[Mapping[str, Any]] = [
        {"fold": run.name, **{name: each[name] for name in spread}}
        for run, each in zip(runs, metrics, strict=True)
    ]
    rows += [
        {"fold": title, **{name: getattr(each, field) for name, each in spread.items()}}
        for title, field in (
            ("mean", "mean"),
            ("standard deviation", "deviation"),
            ("95 % from", "low"),
            ("95 % to", "high"),
        )
    ]
    write_csv(folder / "folds.csv", rows, ["fold", *spread])


def write_page(
    folder: Path,
    runs: Sequence[Path],
    metrics: Sequence[Mapping[str, float]],
    spread: Mapping[str, Spread],
    answers: Evaluation,
    images: ImageSet,
) -> None:
    """``report.html`` of the answers of all folds, with the tables and pictures that it shows."""
    # Pictures need matplotlib, which takes its time to import.
    from ppclas_engine.results.report import Page, use_commands, write_report

    write_tables(folder, answers, images)
    tables = read_tables(folder)
    assert tables is not None
    command = (folder / "command.txt").read_text(encoding="utf-8").strip()
    page = Page(
        title=f"{len(runs)} folds: every photo is answered by the run that did not train on it",
        subtitle=command,
        metrics={name: each.mean for name, each in spread.items()},
        commands=use_commands(runs[0]),
        facts={
            "Mean of the folds (standard deviation; 95 % interval)": {
                TITLES.get(name, name): in_words(name, each) for name, each in spread.items()
            },
            "Folds": {
                run.name: ", ".join(format_metric(name, each[name]) for name in spread)
                for run, each in zip(runs, metrics, strict=True)
            },
            "Environment": versions(),
        },
    )
    write_report(folder, page, tables, images)


def in_words(name: str, each: Spread) -> str:
    """``93.14% (1.20%; 91.20% to 95.08%)``."""
    mean, deviation, low, high = (
        format_metric(name, value).rpartition(" ")[2]
        for value in (each.mean, each.deviation, each.low, each.high)
    )
    return f"{mean} ({deviation}; {low} to {high})"
