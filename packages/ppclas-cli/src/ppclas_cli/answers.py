"""How answers for photos are printed and written."""

from __future__ import annotations

import csv
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
from ppclas_core.errors import PpclasError
from ppclas_core.wording import escaped
from ppclas_data.csv_cells import csv_cells
from ppclas_data.decoding.web import is_address

from ppclas_cli.output import error, json_text, note, print_table

if TYPE_CHECKING:
    from ppclas_engine.results.predict import Prediction

FORMATS = ("csv", "json", "jsonl")
UNSURE = "unsure"
"""What stands for an answer whose probability is too small."""
_COMPETES = 1 / 3
"""Share of the winner's probability from which another class is shown beside it."""
_SAID = 20
"""Photos that cannot be read of which the reason is printed."""
_COUNTED = 8
"""Classes that a summary names."""


def report(
    predictions: Iterable[Prediction], output: str | None, chosen: str | None, least: float = 0.0
) -> None:
    """Print the answers as they come, or write them to ``output``; exit code 1 where a photo has
    none.

    One whose probability is below ``least`` is not taken for an answer. On a terminal they are
    aligned, so they come together.

    Raises:
        PpclasError: ``output`` cannot be written; before the first answer is asked for, if so then.
    """
    noteworthy: list[Prediction] = []
    names: Counter[str] = Counter()
    count = 0

    def watched() -> Iterator[Prediction]:
        nonlocal count
        for prediction in predictions:
            count += 1
            if prediction.damage or prediction.error:
                noteworthy.append(prediction)
            if not prediction.error:
                names.update(said_of(prediction, least) or ["no label"])
            yield prediction

    if output is not None:
        _write_file(watched(), Path(output), chosen or "csv", least)
        note(f"{count} answers in {escaped(output)}")
    elif chosen is not None:
        write_answers(watched(), chosen, sys.stdout, least)
    elif sys.stdout.isatty():
        _print_aligned(list(watched()), least)
    else:
        for prediction in watched():
            click.echo(escaped(human(prediction, least)))
    bad = [prediction for prediction in noteworthy if prediction.error]
    if count > 1 and sys.stderr.isatty():
        note(escaped(_summary(count, names, len(bad))))
    for prediction in noteworthy:
        if prediction.damage:
            note(
                f"warning: {escaped(prediction.path)} is damaged, a part of the picture is lost "
                f"({escaped(prediction.damage)}); its answer may be wrong"
            )
    for prediction in bad[:_SAID]:
        error(f"{prediction.error}")
    if len(bad) > _SAID:
        note(
            f"... and {len(bad) - _SAID} more that cannot be read; -o answers.csv says why of each"
        )
    if bad:
        click.get_current_context().exit(1)


def _write_file(
    predictions: Iterable[Prediction], output: Path, as_format: str, least: float
) -> None:
    """Write to ``<output>.part``, which a kill leaves with its rows, and rename it at the end."""
    part = output.with_name(f"{output.name}.part")
    try:
        if output.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        # A name that is not UTF-8 becomes \udcXX, as JSON has it.
        with open(part, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            write_answers(predictions, as_format, file, least)
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


def said_of(prediction: Prediction, least: float) -> list[str]:
    """What a photo is said to show: its class, or all its labels; ``UNSURE`` below ``least``."""
    if prediction.labels is not None:
        return [name for name, probability in prediction.labels if probability >= least]
    name, probability = prediction.top[0]
    return [name if probability >= least else UNSURE]


def write_answers(
    predictions: Iterable[Prediction], as_format: str, file: TextIO, least: float = 0.0
) -> None:
    """Write the answers in one of ``FORMATS``, each as soon as it is there; with ``least``, whether
    it is ``UNSURE``.
    """
    if as_format == "json":
        between = "[\n"
        for row in predictions:
            file.write(between + textwrap.indent(json_text(_plain(row, least), indent=2), "  "))
            between = ",\n"
        file.write("[]\n" if between == "[\n" else "\n]\n")
    elif as_format == "jsonl":
        for row in predictions:
            file.write(json_text(_plain(row, least)) + "\n")
            file.flush()
    else:
        _write_csv(iter(predictions), file, least)


def _plain(prediction: Prediction, least: float) -> dict[str, Any]:
    marked = bool(least) and not prediction.error
    return {**prediction.to_dict(), **({UNSURE: _is_unsure(prediction, least)} if marked else {})}


def _is_unsure(prediction: Prediction, least: float) -> bool:
    return not prediction.error and said_of(prediction, least) == [UNSURE]


def _write_csv(predictions: Iterator[Prediction], file: TextIO, least: float) -> None:
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
    marked = [UNSURE] if least else []
    writer.writerow(["path", *(["labels"] if several else []), *columns, *marked, "error"])
    for row in chain(first, predictions):
        values = [value for pair in row.top for value in pair]
        said = ["|".join(name for name, _ in row.labels or ())] if several else []
        missing = [""] * (2 * ranks - len(values))
        mark = [str(_is_unsure(row, least)).lower()] if least else []
        writer.writerow(csv_cells([row.path, *said, *values, *missing, *mark, row.error]))
        file.flush()


def _print_aligned(predictions: Sequence[Prediction], least: float) -> None:
    """One row per photo: the answer, and what competes with it; paths from the folder of all."""
    folders = {str(Path(prediction.path).parent) for prediction in predictions}
    on_disk = not any(is_address(prediction.path) for prediction in predictions)
    alike = on_disk and len({Path(folder).is_absolute() for folder in folders}) == 1
    above = os.path.commonpath(folders) if alike else ""
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


def _summary(count: int, names: Counter[str], bad: int) -> str:
    """How many photos got which answer."""
    unsure = names.pop(UNSURE, 0)
    parts = [f"{times} {name}" for name, times in names.most_common(_COUNTED)]
    parts += [f"{len(names) - _COUNTED} more classes"] if len(names) > _COUNTED else []
    parts += [f"{unsure} {UNSURE}"] if unsure else []
    parts += [f"{bad} cannot be read"] if bad else []
    return f"{count} photos: {', '.join(parts)}"


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
