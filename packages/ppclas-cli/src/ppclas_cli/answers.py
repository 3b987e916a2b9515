"""How answers for photos are printed and written."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click
from ppclas_core.wording import escaped
from ppclas_data.csv_cells import csv_cells

from ppclas_cli.output import error, json_text, note

if TYPE_CHECKING:
    from ppclas_engine.results.predict import Prediction

FORMATS = ("csv", "json", "jsonl")


def report(predictions: Sequence[Prediction], output: str | None, chosen: str | None) -> None:
    """Print the answers, or write them to ``output``; exit code 1 where a photo has none."""
    from ppclas_core.files import write_atomic

    if output is not None:

        def write(temporary: Path) -> None:
            # A name that is not UTF-8 becomes \udcXX, as JSON has it.
            with open(
                temporary, "w", encoding="utf-8", errors="backslashreplace", newline=""
            ) as file:
                write_answers(predictions, chosen or "csv", file)

        write_atomic(Path(output), write)
        note(f"{len(predictions)} answers in {output}")
    elif chosen is not None:
        write_answers(predictions, chosen, sys.stdout)
    else:
        for prediction in predictions:
            click.echo(escaped(human(prediction)))
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


def write_answers(predictions: Iterable[Prediction], as_format: str, file: TextIO) -> None:
    """Write the answers in one of ``FORMATS``."""
    rows = list(predictions)
    if as_format == "json":
        file.write(json_text([row.to_dict() for row in rows], indent=2) + "\n")
    elif as_format == "jsonl":
        for row in rows:
            file.write(json_text(row.to_dict()) + "\n")
    else:
        ranks = max((len(row.top) for row in rows), default=0)
        writer = csv.writer(file, lineterminator="\n")
        columns = [
            f"{what}_{rank}" for rank in range(1, ranks + 1) for what in ("label", "probability")
        ]
        several = any(row.labels is not None for row in rows)
        writer.writerow(["path", *(["labels"] if several else []), *columns, "error"])
        for row in rows:
            values = [value for pair in row.top for value in pair]
            said = ["|".join(name for name, _ in row.labels or ())] if several else []
            missing = [""] * (2 * ranks - len(values))
            writer.writerow(csv_cells([row.path, *said, *values, *missing, row.error]))


def human(prediction: Prediction) -> str:
    """The line for a person."""
    if prediction.error:
        return f"{prediction.path}: cannot be read"
    shown = prediction.top if prediction.labels is None else prediction.labels
    answers = ", ".join(f"{name} {probability:.1%}" for name, probability in shown)
    if not shown:
        name, probability = prediction.top[0]
        answers = f"no label (most probable: {name} {probability:.1%})"
    return f"{prediction.path}: {answers}"
