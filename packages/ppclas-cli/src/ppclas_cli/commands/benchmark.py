"""``ppclas benchmark``: how fast, how large and how right models are in the engines of this
machine.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppclas_cli.bundles import WHAT, open_source
from ppclas_cli.output import JSON_OPTION, error, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppclas_deploy.benchmark import Row


def _numbers(text: str, option: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise click.UsageError(
            f"--{option} {text}: expected whole numbers of 1 or more with commas, as in 1,8,32."
        )
    return list(dict.fromkeys(found))


@click.command(name="benchmark")
@click.argument("paths", metavar="RUN|BUNDLE|EXPORT|NAME...", nargs=-1)
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar=WHAT,
    help="The same as an argument; may be given several times.",
)
@click.option(
    "--weights",
    metavar="FILE",
    help="A .pdparams or .safetensors file for one model by name. Without it: the published "
    "weights.",
)
@click.option(
    "--engine",
    "engines",
    metavar="NAME,...",
    help="Engines to compare. Without it: an export's own; dygraph and onnxruntime for a run or "
    "bundle.",
)
@click.option("--batch", default="1,8,32", show_default=True, metavar="N,...", help="Batch sizes.")
@click.option(
    "--threads", metavar="N,...", help="CPU threads of the engine. Without it: all of this process."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    help="For each batch size.",
)
@click.option(
    "--data",
    metavar="PATH",
    help="Labelled photos: adds top-1, and what it lost against the first row.",
)
@click.option(
    "--num-photos",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="How many of --data.",
)
@click.option("--csv", "csv_path", metavar="FILE.csv", help="Write every number to a CSV.")
@click.option("--plot", metavar="FILE.png", help="Draw throughput and latency over the batch size.")
@click.option(
    "--lite-format",
    metavar="FILE.txt",
    help="Write batch 1 as Paddle-Lite's benchmark.sh does, in ms.",
)
@JSON_OPTION
def command(
    paths: tuple[str, ...],
    models: tuple[str, ...],
    weights: str | None,
    engines: str | None,
    batch: str,
    threads: str | None,
    seconds: float,
    data: str | None,
    num_photos: int,
    csv_path: str | None,
    plot: str | None,
    lite_format: str | None,
    as_json: bool,
) -> None:
    """Measure models side by side on real photos that lie ready in memory.

    Each model and engine runs in a process of its own, so memory is its own and a crash is a row of
    the table. A run or bundle is exported into the cache where an engine needs it, with proof.

    \b
    Examples:
      ppclas benchmark runs/MobileNetV2-1 --engine dygraph,onnxruntime,openvino --threads 1,2
      ppclas benchmark MobileNetV2 --batch 1
      ppclas benchmark exports/onnx exports/int8 --data val_list.txt --plot speed.png
    """
    from ppclas_core.errors import DataError
    from ppclas_core.files import write_text
    from ppclas_deploy import benchmark as measuring
    from ppclas_deploy.quantize.photos import spread
    from ppclas_engine.console import Console
    from ppclas_engine.results.score import plan_scoring

    batches = _numbers(batch, "batch")
    if lite_format and 1 not in batches:
        raise click.UsageError("--lite-format shows batch 1: add 1 to --batch.")
    counts: list[int | None] = [*_numbers(threads, "threads")] if threads else [None]
    named = (*paths, *models)
    if not named:
        open_source(None, None)  # says what was expected
    if weights is not None and len(named) > 1:
        raise click.UsageError(f"--weights is for one model by name, and {len(named)} are given.")
    found = [open_source(path, None, weights) for path in named]
    bundles = [
        (opened.title if opened.path is None else _name(opened.path), opened.bundle)
        for opened in found
    ]
    scoring = []
    if data is not None:
        for name, bundle in bundles:
            plan = plan_scoring(bundle, None, data)
            if plan.images.task == "multilabel":
                raise DataError(
                    f"--data compares top-1, and a photo of {name} may have several labels. Leave "
                    "--data out, and compare accuracies with: ppclas eval"
                )
            kept = plan.images.subset(spread(len(plan.images), num_photos))
            scoring.append(replace(plan, images=kept))
    rows = measuring.benchmark(
        bundles,
        engines=engines.split(",") if engines else (),
        batches=batches,
        threads=counts,
        seconds=seconds,
        scoring=scoring,
        console=Console(),
    )
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        _print(rows, with_accuracy=bool(scoring))
    if csv_path:
        measuring.write_csv(rows, Path(csv_path))
    if plot:
        measuring.draw(rows, Path(plot))
    if lite_format:
        write_text(Path(lite_format), measuring.lite_format(rows))
    failed = list(
        dict.fromkeys(f"{row.model} in {row.engine}: {row.error}" for row in rows if row.error)
    )
    for line in failed:
        error(line)
    if failed:
        click.get_current_context().exit(1)


def _name(path: str) -> str:
    """The folder's name; for one that is called as all are, its parent's too."""
    folder = Path(path).resolve()
    return f"{folder.parent.name}/{folder.name}" if folder.name == "bundle" else folder.name


def _print(rows: Sequence[Row], *, with_accuracy: bool) -> None:
    header = [
        "model",
        "engine",
        "threads",
        "batch",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "images/s",
        "memory MB",
        "size MB",
    ]
    table = []
    for row in rows:
        if row.error:
            continue
        cells: list[Any] = [row.model, row.engine, row.threads or "all", row.batch]
        cells += [f"{value:.2f}" for value in (row.p50_ms, row.p90_ms, row.p99_ms)]
        cells += [f"{row.images_per_second:.1f}", f"{row.memory_mb:.0f}" if row.memory_mb else None]
        cells += [f"{row.size_mb:.2f}"]
        if with_accuracy:
            cells += [f"{row.top1:.2%}", f"{row.top1_delta:+.2%}"]
        table.append(cells)
    if table:
        print_table(table, header + (["top-1", "change"] if with_accuracy else []))
