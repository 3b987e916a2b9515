"""``ppclas predict``: names and probabilities for photos."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from ppclas_core.wording import escaped

from ppclas_cli import photo_copies
from ppclas_cli.answers import FORMATS, format_of, report
from ppclas_cli.bundles import WHAT, open_source
from ppclas_cli.lazy import need_extra
from ppclas_cli.output import note

if TYPE_CHECKING:
    from ppclas_engine.results.predict import Prediction


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
    "--format", "as_format", type=click.Choice(FORMATS), help="Format on stdout or of --output."
)
@click.option(
    "--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Answers per photo."
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    default=32,
    show_default=True,
    help="Photos per step.",
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
@click.option(
    "--min-confidence",
    "least",
    type=click.FloatRange(0, 1),
    metavar="P",
    default=0.0,
    help="Say 'unsure' where the best answer's probability is below it, in 0..1.",
)
@click.option(
    "--save-images", metavar="DIR", help="Write each photo there with its answer drawn below it."
)
@click.option(
    "--sort-into", metavar="DIR", help="Copy each photo into a folder there named after its class."
)
@click.option(
    "--tta",
    metavar="flip|5crop|N",
    help="Average the answers for several views of each photo: so many times as slow.",
)
@click.option(
    "--devices",
    metavar="0,1|cpu:N",
    help="Share the photos among a process on each of these GPUs, or N on the CPU; answers come "
    "in order.",
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
    least: float,
    save_images: str | None,
    sort_into: str | None,
    tta: str | None,
    devices: str | None,
) -> None:
    """Name what is in the photos: PATHS are files, folders, .txt lists, globs or web addresses.

    Of a model for several labels per photo, every label whose probability reaches its threshold is
    printed.

    A photo that cannot be read gets a line that says why; the exit code is then 1, and all others
    are answered.

    \b
    Examples:
      ppclas predict cat.jpg
      ppclas predict https://example.com/cat.jpg
      ppclas predict cat.jpg -m ResNet50_vd
      ppclas predict cat.jpg -m runs/MobileNetV2-1
      ppclas predict photos/ -m exports/onnx -o answers.csv
      ppclas predict photos/ -m runs/MobileNetV2-1 --engine auto
      ppclas predict photos/ -m runs/MobileNetV2-1 --sort-into sorted/ --min-confidence 0.6
      ppclas predict photos/ -m runs/MobileNetV2-1 --devices 0,1
    """
    from ppclas_data.decoding.stray_lines import OF_DECODERS, few_stray_lines
    from ppclas_deploy.engine_choice import load_engine, readers
    from ppclas_engine.bundles import DEFAULT_MODEL
    from ppclas_engine.console import Console
    from ppclas_engine.results.predict import expand_paths, predict

    chosen = as_format or format_of(output)
    model, paths = _model_first(model, paths)
    notes: list[str] = []
    files = expand_paths(paths, notes)
    for said in notes:
        note(escaped(said))
    bundle = open_source(None, model or DEFAULT_MODEL, weights, labels).bundle
    if model is None:
        note(f"{DEFAULT_MODEL} answers, with ImageNet's 1,000 classes. Your own model: -m RUN")
    predictions: Iterable[Prediction]
    if devices is not None:
        if tta is not None:
            raise click.UsageError("--devices and --tta do not go together: give one of them.")
        from ppclas_cli.shards import predict_in_shards

        source = (None, model or DEFAULT_MODEL, weights, labels)
        predictions = predict_in_shards(
            devices, source, bundle, files, top_k, batch_size, engine, threads, Console()
        )
    else:
        loaded = None
        if engine is not None or threads is not None:
            bundle, loaded = load_engine(bundle, engine, threads=threads, console=Console())
        how: dict[str, Any] = {
            "top_k": top_k,
            "batch_size": batch_size,
            "threads": readers(threads),
            "engine": loaded,
        }
        if tta is not None:
            need_extra("--tta", "ppclas_search", "search")
            from ppclas_search.tta import predict_views

            predictions = predict_views(bundle, files, tta, **how)
        else:
            predictions = predict(bundle, files, **how)
    with few_stray_lines(most=1000, drop=OF_DECODERS):
        _hand_out(predictions, save_images, sort_into, output, chosen, least)


def _hand_out(
    predictions: Iterable[Prediction],
    save_images: str | None,
    sort_into: str | None,
    output: str | None,
    chosen: str | None,
    least: float,
) -> None:
    """Print or write the answers, and the photos with them."""
    if save_images is not None or sort_into is not None:
        predictions = answered = list(predictions)
        if save_images is not None:
            count = photo_copies.save_images(Path(save_images), answered, least)
            note(f"{count} photos with their answers in {escaped(save_images)}")
        if sort_into is not None:
            count = photo_copies.sort_into(Path(sort_into), answered, least)
            note(f"{count} copies in {escaped(sort_into)}, a folder for each class")
    report(predictions, output, chosen, least)


def _model_first(model: str | None, paths: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """Model and photos, where the first of the paths is a run, bundle or export: as the other
    commands have it.

    Raises:
        click.UsageError: it is, and no photos are named, or another model is.
    """
    from ppclas_core.bundle import Bundle
    from ppclas_core.errors import BundleError

    first, *photos = paths
    try:
        if not Path(first).is_dir():
            return model, paths
        Bundle.load(first)
    except BundleError:
        return model, paths
    named = shlex.quote(first)
    if model is not None:
        raise click.UsageError(f"{first} is a model, no photos, and -m names {model}: give one.")
    if not photos:
        raise click.UsageError(f"{first} is a model. Which photos? ppclas predict PHOTO -m {named}")
    note(f"{escaped(first)} is a model, so it answers: the same as -m {escaped(named)}")
    return first, tuple(photos)
