"""``ppclas predict``: names and probabilities for photos."""

from __future__ import annotations

from typing import Any

import click
from ppclas_core.wording import escaped

from ppclas_cli.answers import FORMATS, format_of, report
from ppclas_cli.bundles import WHAT, open_source
from ppclas_cli.lazy import need_extra
from ppclas_cli.output import note


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
@click.option(
    "--tta",
    metavar="flip|5crop|N",
    help="Average the answers for several views of each photo: so many times as slow.",
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
    tta: str | None,
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
    from ppclas_deploy.engine_choice import load_engine, readers
    from ppclas_engine.bundles import DEFAULT_MODEL
    from ppclas_engine.console import Console
    from ppclas_engine.results.predict import expand_paths, predict

    chosen = as_format or format_of(output)
    notes: list[str] = []
    files = expand_paths(paths, notes)
    for said in notes:
        note(escaped(said))
    bundle = open_source(None, model or DEFAULT_MODEL, weights, labels).bundle
    if model is None:
        note(f"{DEFAULT_MODEL} answers, with ImageNet's 1,000 classes. Your own model: -m RUN")
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
        predictions = list(predict(bundle, files, **how))
    report(predictions, output, chosen)
