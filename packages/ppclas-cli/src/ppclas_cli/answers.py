"""How answers for photos are printed and written."""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
from ppclas_core.wording import escaped
from ppclas_data.csv_cells import csv_cells

from ppclas_cli.output import error, json_text, note, print_table

if TYPE_CHECKING:
    from ppclas_engine.results.predict import Prediction

FORMATS = ("csv", "json", "jsonl")
UNSURE = "unsure"
"""What stands for an answer whose probability is too small."""
_COMPETES = 1 / 3
"""Share of the winner's probability from which another class is shown beside it."""
_COUNTED = 8
"""Classes that a summary names."""


def report(
    predictions: Sequence[Prediction], output: str | None, chosen: str | None, least: float = 0.0
) -> None:
    """Print the answers, or write them to ``output``; exit code 1 where a photo has none.

    One whose probability is below ``least`` is not taken for an answer.
    """
    from ppclas_core.files import write_atomic

    if output is not None:

        def write(temporary: Path) -> None:
            # A name that is not UTF-8 becomes \udcXX, as JSON has it.
            with open(
                temporary, "w", encoding="utf-8", errors="backslashreplace", newline=""
            ) as file:
                write_answers(predictions, chosen or "csv", file, least)

        write_atomic(Path(output), write)
        note(f"{len(predictions)} answers in {output}")
    elif chosen is not None:
        write_answers(predictions, chosen, sys.stdout, least)
    elif sys.stdout.isatty():
        _print_aligned(predictions, least)
    else:
        for prediction in predictions:
            click.echo(escaped(human(prediction, least)))
    if len(predictions) > 1 and sys.stderr.isatty():
        note(escaped(_summary(predictions, least)))
    for prediction in predictions:
        if prediction.damage:
            note(
                f"warning: {escaped(prediction.path)} is damaged, a part of the picture is lost "
                f"({escaped(prediction.damage)}); its answer may be wrong"
            )
    bad = [prediction for prediction in predictions if prediction.error]
    for prediction in bad:
        error(f"{prediction.error}")
    if bad:
        click.get_current_context().exit(1)


def format_of(output: str | None) -> str | None:
    """The format that a file's name asks for; None without a file.

    Raises:
        click.UsageError: the name ends in none of ``FORMATS``.
    """
    if output is None:
        return None
    suffix = Path(output).suffix.lstrip(".").lower()
    if suffix not in FORMATS:
        raise click.UsageError(
            f"--output {output}: expected a name that ends in .csv, .json or .jsonl, or --format."
        )
    return suffix


def said_of(prediction: Prediction, least: float) -> list[str]:
    """What a photo is said to show: its class, or all its labels; ``UNSURE`` below ``least``."""
    if prediction.labels is not None:
        return [name for name, probability in prediction.labels if probability >= least]
    name, probability = prediction.top[0]
    return [name if probability >= least else UNSURE]


def write_answers(
    predictions: Iterable[Prediction], as_format: str, file: TextIO, least: float = 0.0
) -> None:
    """Write the answers in one of ``FORMATS``; with ``least``, whether each is ``UNSURE``."""
    rows = list(predictions)
    unsure = [not row.error and said_of(row, least) == [UNSURE] for row in rows]
    plain = [
        {**row.to_dict(), **({UNSURE: flag} if least and not row.error else {})}
        for row, flag in zip(rows, unsure, strict=True)
    ]
    if as_format == "json":
        file.write(json_text(plain, indent=2) + "\n")
    elif as_format == "jsonl":
        for one in plain:
            file.write(json_text(one) + "\n")
    else:
        ranks = max((len(row.top) for row in rows), default=0)
        writer = csv.writer(file, lineterminator="\n")
        columns = [
            f"{what}_{rank}" for rank in range(1, ranks + 1) for what in ("label", "probability")
        ]
        several = any(row.labels is not None for row in rows)
        marked = [UNSURE] if least else []
        writer.writerow(["path", *(["labels"] if several else []), *columns, *marked, "error"])
        for row, flag in zip(rows, unsure, strict=True):
            values = [value for pair in row.top for value in pair]
            said = ["|".join(name for name, _ in row.labels or ())] if several else []
            missing = [""] * (2 * ranks - len(values))
            mark = [str(flag).lower()] if least else []
            writer.writerow(csv_cells([row.path, *said, *values, *missing, *mark, row.error]))


def _print_aligned(predictions: Sequence[Prediction], least: float) -> None:
    """A row a photo: the answer, and what competes with it; paths from the folder of all."""
    folders = {str(Path(prediction.path).parent) for prediction in predictions}
    above = (
        os.path.commonpath(folders) if len({Path(f).is_absolute() for f in folders}) == 1 else ""
    )
    if len(predictions) > 1 and above:
        click.echo(f"photos in {escaped(above)}:")
    rows: list[list[Any]] = []
    for prediction in predictions:
        path = os.path.relpath(prediction.path, above) if above else prediction.path
        rows.append([path if len(predictions) > 1 else prediction.path, *_cells(prediction, least)])
    used = [any(row[place] != " " for row in rows) for place in range(4)]
    titles = ["photo", "answer", "sure", "or"]
    print_table([list(compress(row, used)) for row in rows], list(compress(titles, used)))


def _cells(prediction: Prediction, least: float) -> list[Any]:
    """The answer, its probability, and the others that come near it."""
    if prediction.error:
        return ["cannot be read", " ", " "]
    if prediction.labels is not None:
        labels = [f"{name} {value:.1%}" for name, value in prediction.labels]
        return [labels or "no label", " ", " "]
    best = prediction.top[0][1]
    near = [pair for pair in prediction.top[1:] if pair[1] >= _COMPETES * best]
    unsure = best < least
    others = [*prediction.top[:1], *near] if unsure else near
    listed = [f"{name} {value:.1%}" for name, value in others]
    answer = UNSURE if unsure else prediction.top[0][0]
    return [answer, " " if unsure else f"{best:.1%}", listed or " "]


def _summary(predictions: Sequence[Prediction], least: float) -> str:
    """How many photos got which answer."""
    counts = Counter(
        name
        for prediction in predictions
        if not prediction.error
        for name in (said_of(prediction, least) or ["no label"])
    )
    unsure, bad = counts.pop(UNSURE, 0), sum(bool(prediction.error) for prediction in predictions)
    parts = [f"{count} {name}" for name, count in counts.most_common(_COUNTED)]
    parts += [f"{len(counts) - _COUNTED} more classes"] if len(counts) > _COUNTED else []
    parts += [f"{unsure} {UNSURE}"] if unsure else []
    parts += [f"{bad} cannot be read"] if bad else []
    return f"{len(predictions)} photos: {', '.join(parts)}"


def human(prediction: Prediction, least: float = 0.0) -> str:
    """The line for a person."""
    if prediction.error:
        return f"{prediction.path}: cannot be read"
    shown = prediction.top if prediction.labels is None else prediction.labels
    answers = ", ".join(f"{name} {probability:.1%}" for name, probability in shown)
    if not shown:
        name, probability = prediction.top[0]
        answers = f"no label (most probable: {name} {probability:.1%})"
    elif said_of(prediction, least) == [UNSURE]:
        answers = f"{UNSURE} ({answers})"
    return f"{prediction.path}: {answers}"
