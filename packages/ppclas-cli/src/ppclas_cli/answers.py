"""How answers for photos are printed and written."""

from __future__ import annotations

import csv
import os
import sys
import textwrap
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click
from ppclas_core.errors import PpclasError
from ppclas_core.wording import escaped
from ppclas_data.csv_cells import csv_cells

from ppclas_cli.output import error, json_text, note

if TYPE_CHECKING:
    from ppclas_engine.results.predict import Prediction

FORMATS = ("csv", "json", "jsonl")


def report(predictions: Iterable[Prediction], output: str | None, chosen: str | None) -> None:
    """Print the answers as they come, or write them to ``output``; exit code 1 where a photo has
    none.

    Raises:
        PpclasError: ``output`` cannot be written; before the first answer is asked for, if so then.
    """
    noteworthy: list[Prediction] = []
    count = 0

    def watched() -> Iterator[Prediction]:
        nonlocal count
        for prediction in predictions:
            count += 1
            if prediction.damage or prediction.error:
                noteworthy.append(prediction)
            yield prediction

    if output is not None:
        _write_file(watched(), Path(output), chosen or "csv")
        note(f"{count} answers in {escaped(output)}")
    elif chosen is not None:
        write_answers(watched(), chosen, sys.stdout)
    else:
        for prediction in watched():
            click.echo(escaped(human(prediction)))
    for prediction in noteworthy:
        if prediction.damage:
            note(
                f"warning: {escaped(prediction.path)} is damaged, a part of the picture is lost "
                f"({escaped(prediction.damage)}); its answer may be wrong"
            )
    bad = [prediction for prediction in noteworthy if prediction.error]
    for prediction in bad:
        error(f"{prediction.error}")
    if bad:
        click.get_current_context().exit(1)


def _write_file(predictions: Iterable[Prediction], output: Path, as_format: str) -> None:
    """Write to ``<output>.part``, which a kill leaves with its rows, and rename it at the end."""
    part = output.with_name(f"{output.name}.part")
    try:
        if output.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        # A name that is not UTF-8 becomes \udcXX, as JSON has it.
        with open(part, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            write_answers(predictions, as_format, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(output)
    except OSError as failure:
        kept = f" What was answered is in {part}." if part.is_file() else ""
        raise PpclasError(
            f"{output} cannot be written: {failure.strerror or failure}.{kept}"
        ) from failure


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
    """Write the answers in one of ``FORMATS``, each as soon as it is there."""
    if as_format == "json":
        between = "[\n"
        for row in predictions:
            file.write(between + textwrap.indent(json_text(row.to_dict(), indent=2), "  "))
            between = ",\n"
        file.write("[]\n" if between == "[\n" else "\n]\n")
    elif as_format == "jsonl":
        for row in predictions:
            file.write(json_text(row.to_dict()) + "\n")
            file.flush()
    else:
        _write_csv(iter(predictions), file)


def _write_csv(predictions: Iterator[Prediction], file: TextIO) -> None:
    first: list[Prediction] = []
    # The columns are those of the first answer: photos without one may come before it.
    while (row := next(predictions, None)) is not None:
        first.append(row)
        if row.top:
            break
    ranks = len(first[-1].top) if first else 0
    several = bool(first) and first[-1].labels is not None
    writer = csv.writer(file, lineterminator="\n")
    columns = [
        f"{what}_{rank}" for rank in range(1, ranks + 1) for what in ("label", "probability")
    ]
    writer.writerow(["path", *(["labels"] if several else []), *columns, "error"])
    for row in chain(first, predictions):
        values = [value for pair in row.top for value in pair]
        said = ["|".join(name for name, _ in row.labels or ())] if several else []
        missing = [""] * (2 * ranks - len(values))
        writer.writerow(csv_cells([row.path, *said, *values, *missing, row.error]))
        file.flush()


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
