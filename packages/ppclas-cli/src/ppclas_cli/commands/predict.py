"""``ppclas predict``: names and probabilities for photos."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click
from ppclas_core.wording import escaped

from ppclas_cli.bundles import WHAT, open_source
from ppclas_cli.output import error, json_text, note

if TYPE_CHECKING:
    from ppclas_engine.results.predict import Prediction

_FORMATS = ("csv", "json", "jsonl")


@click.command(name="predict")
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "-m",
    "--model",
    metavar=WHAT,
    help="What answers: a run, bundle or export, or a name of 'ppclas models list' with its "
    "published weights. Without it: MobileNetV2, which knows ImageNet's 1,000 classes.",
)
@click.option(
    "--weights",
    metavar="FILE",
    help="A .pdparams or .safetensors file for a model by name. Without it: the published weights.",
)
@click.option(
    "--labels",
    metavar="FILE",
    help="Class names of a model by name, an id and a name (or a name) a line.",
)
@click.option(
    "-o", "--output", metavar="FILE", help="Write the answers to a .csv, .json or .jsonl file."
)
@click.option(
    "--format", "as_format", type=click.Choice(_FORMATS), help="Format on stdout or of --output."
)
@click.option(
    "--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Answers a photo."
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    default=32,
    show_default=True,
    help="Photos a step.",
)
@click.option(
    "--engine",
    metavar="auto|NAME",
    help="What runs the model; auto: the fastest here that answers right. Without it: an export's "
    "own engine, Paddle for a run or bundle.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="CPU threads of the engine. Without it: all.",
)
def command(
    paths: tuple[str, ...],
    model: str | None,
    weights: str | None,
    labels: str | None,
    output: str | None,
    as_format: str | None,
    top_k: int,
    batch_size: int,
    engine: str | None,
    threads: int | None,
) -> None:
    """Name what is in the photos: PATHS are files, folders, .txt lists or globs.

    Of a model for several labels a photo, every label whose probability reaches its threshold is
    printed.

    A photo that cannot be read gets a line that says why; the exit code is then 1, and all others
    are answered.

    \b
    Examples:
      ppclas predict cat.jpg
      ppclas predict cat.jpg -m ResNet50_vd
      ppclas predict cat.jpg -m runs/MobileNetV2-1
      ppclas predict photos/ -m exports/onnx -o answers.csv
      ppclas predict photos/ -m runs/MobileNetV2-1 --engine auto
    """
    from ppclas_core.files import write_atomic
    from ppclas_deploy.engine_choice import load_engine, readers
    from ppclas_engine.bundles import DEFAULT_MODEL
    from ppclas_engine.console import Console
    from ppclas_engine.results.predict import expand_paths, predict

    chosen = as_format or _format_of(output)
    files = expand_paths(paths)
    bundle = open_source(None, model or DEFAULT_MODEL, weights, labels).bundle
    if model is None:
        note(f"{DEFAULT_MODEL} answers, with ImageNet's 1,000 classes. Your own model: -m RUN")
    loaded = None
    if engine is not None or threads is not None:
        bundle, loaded = load_engine(bundle, engine, threads=threads, console=Console())
    predictions = list(
        predict(
            bundle,
            files,
            top_k=top_k,
            batch_size=batch_size,
            threads=readers(threads),
            engine=loaded,
        )
    )
    if output is not None:

        def write(temporary: Path) -> None:
            # A name that is not UTF-8 becomes \udcXX, as JSON has it.
            with open(
                temporary, "w", encoding="utf-8", errors="backslashreplace", newline=""
            ) as file:
                _write(predictions, chosen or "csv", file)

        write_atomic(Path(output), write)
        note(f"{len(predictions)} answers in {output}")
    elif chosen is not None:
        _write(predictions, chosen, sys.stdout)
    else:
        for prediction in predictions:
            click.echo(escaped(_human(prediction)))
    bad = [prediction for prediction in predictions if prediction.error]
    for prediction in bad:
        error(f"{prediction.error}")
    if bad:
        click.get_current_context().exit(1)


def _format_of(output: str | None) -> str | None:
    if output is None:
        return None
    suffix = Path(output).suffix.lstrip(".").lower()
    if suffix not in _FORMATS:
        raise click.UsageError(
            f"--output {output}: expected a name that ends in .csv, .json or .jsonl, or --format."
        )
    return suffix


def _write(predictions: Iterable[Prediction], as_format: str, file: TextIO) -> None:
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
            writer.writerow(
                [row.path, *said, *values, *[""] * (2 * ranks - len(values)), row.error]
            )


def _human(prediction: Prediction) -> str:
    if prediction.error:
        return f"{prediction.path}: cannot be read"
    shown = prediction.top if prediction.labels is None else prediction.labels
    answers = ", ".join(f"{name} {probability:.1%}" for name, probability in shown)
    if not shown:
        name, probability = prediction.top[0]
        answers = f"no label (most probable: {name} {probability:.1%})"
    return f"{prediction.path}: {answers}"
