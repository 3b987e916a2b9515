"""``ppclas eval``: score a run, a bundle, an export or published weights."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppclas_cli.bundles import WHAT, model_options, open_source
from ppclas_cli.lazy import need_extra
from ppclas_cli.output import FEW, print_table
from ppclas_cli.training_screen import about_fonts, add_heat_maps

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle
    from ppclas_core.contracts.data import ImageSet
    from ppclas_engine.scoring.evaluate import Evaluation


@click.command(name="eval")
@click.argument("bundle_path", metavar=f"[{WHAT}]", required=False)
@click.option(
    "--data",
    metavar="PATH",
    help="Photos to score on: a folder, a list file or a CSV. Without it: the run's validation "
    "photos.",
)
@model_options
@click.option("--root", metavar="DIR", help="Folder that the paths of a list file start from.")
@click.option("--labels", metavar="FILE", help="Class names, an id and a name (or a name) a line.")
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Images per step.")
@click.option(
    "--workers", type=click.IntRange(min=0), metavar="N", help="Processes that read photos."
)
@click.option("--per-class", is_flag=True, help="Print a row for every class, worst first.")
@click.option("--confusion", metavar="FILE.png", help="Draw the confusion matrix.")
@click.option(
    "--report",
    metavar="DIR",
    help="Write report.html there, with pictures, and a table of every photo's answer.",
)
@click.option(
    "--tta",
    metavar="flip|5crop|N",
    help="Average the answers for several views of each photo; prints gain and cost.",
)
@click.option(
    "--knn",
    type=click.IntRange(min=1),
    metavar="K",
    help="Score the features instead: the K nearest training photos vote.",
)
@click.option(
    "--probe",
    is_flag=True,
    help="Score the features instead: a logistic regression on the training photos.",
)
@click.option(
    "--devices",
    metavar="0,1|cpu:N",
    help="Share the photos among a process on each of these GPUs, or N on the CPU; the numbers are "
    "those of one process.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON on stdout.")
def command(
    bundle_path: str | None,
    data: str | None,
    model: str | None,
    weights: str | None,
    root: str | None,
    labels: str | None,
    batch_size: int | None,
    workers: int | None,
    per_class: bool,
    confusion: str | None,
    report: str | None,
    tta: str | None,
    knn: int | None,
    probe: bool,
    devices: str | None,
    as_json: bool,
) -> None:
    """Score a run, a bundle, an export, or published weights on labelled photos.

    Every readable photo counts exactly once; unreadable ones are named.

    \b
    Examples:
      ppclas eval runs/MobileNetV2-1
      ppclas eval runs/MobileNetV2-1 --data other_photos/ --per-class
      ppclas eval exports/onnx --data other_photos/ --report report/
      ppclas eval MobileNetV2 --data val_list.txt --json
      ppclas eval ResNet50 --weights my_resnet.pdparams --data val_list.txt
      ppclas eval runs/MobileNetV2-1 --tta flip
      ppclas eval runs/MobileNetV2-1 --data other_photos/ --devices 0,1
      ppclas eval MobileNetV2 --data photos/ --knn 10 --probe
    """
    from ppclas_core.errors import DataError
    from ppclas_engine.console import Console
    from ppclas_engine.results.score import evaluate_bundle, plan_scoring, report_scoring

    if devices is not None and (tta is not None or knn is not None or probe):
        raise click.UsageError("--devices does not go with --tta, --knn or --probe.")
    console = Console()
    opened = open_source(bundle_path, model, weights)
    bundle = opened.bundle
    if knn is not None or probe:
        need_extra("--knn and --probe", "ppclas_search", "search")
        from ppclas_search.frozen import evaluate_frozen

        found = evaluate_frozen(bundle, opened.path, data, console, knn=knn, probe=probe)
        if as_json:
            click.echo(json.dumps({how: one.summary() for how, one in found.items()}))
            return
        for how, one in found.items():
            title = {"knn": f"the {knn} nearest photos vote", "probe": "logistic regression"}[how]
            click.echo(f"{title}: top-1 {one.metrics['top1']:.2%} on {one.num_images} photos")
        return
    if confusion and bundle.manifest.task == "multilabel":
        raise DataError(
            "--confusion: a confusion matrix is of one label per photo, and this model gives "
            "several. See --per-class, or --report DIR."
        )
    scoring = plan_scoring(bundle, opened.path, data, root=root, labels=labels)
    if batch_size is not None:
        scoring = replace(scoring, batch_size=batch_size)
    images = scoring.images
    if tta is not None:
        need_extra("--tta", "ppclas_search", "search")
        from ppclas_search.tta import evaluate_views, gain_and_cost, views_of

        evaluation, plain = evaluate_views(bundle, scoring, console, tta, workers=workers)
        console.line(gain_and_cost(evaluation, plain, len(views_of(tta))))
    elif devices is not None:
        from ppclas_cli.shards import evaluate_in_shards

        source, photos = (bundle_path, model, weights), (data, root, labels)
        evaluation = evaluate_in_shards(devices, source, photos, bundle, scoring, console, workers)
    else:
        evaluation = evaluate_bundle(bundle, scoring, console, workers=workers)
    if confusion and evaluation.confusion is not None:
        from ppclas_engine.results.pictures import draw_confusion

        draw_confusion(evaluation.confusion, images.class_names, Path(confusion))
    if report is not None:
        line = shlex.join(["ppclas", *sys.argv[1:]])
        report_scoring(Path(report), bundle, evaluation, scoring, opened.title, line)
        add_heat_maps(Path(report), bundle)
        console.line(f"The report is in {Path(report) / 'report.html'}.")
    if confusion or report is not None:
        missing = about_fonts(bundle.labels)
        if missing:
            console.warn(missing)
    if as_json:
        click.echo(json.dumps(_as_json(evaluation, per_class)))
        return
    _print(evaluation, bundle, images, per_class)


def _as_json(evaluation: Evaluation, per_class: bool) -> dict[str, Any]:
    result = evaluation.summary()
    if per_class:
        result["per_class"] = evaluation.per_class
    return result


def _print(evaluation: Evaluation, bundle: Bundle, images: ImageSet, per_class: bool) -> None:
    from ppclas_engine.scoring.monitor import TITLES, format_metric

    click.echo(
        f"{bundle.manifest.architecture.name} on {images.origin}: {evaluation.num_images} photos"
    )
    shown = dict(evaluation.metrics)
    if len(bundle.labels) <= FEW:
        shown.pop("top5", None)
    width = max(len(TITLES.get(name, name)) for name in shown)
    for name, value in shown.items():
        title, _, number = format_metric(name, value).rpartition(" ")
        click.echo(f"  {title:<{width}}  {number}")
    if per_class:
        columns = list(evaluation.per_class[0])
        titles = {"images": "photos", "average_precision": "average precision", "auroc": "AUROC"}
        rows = sorted(evaluation.per_class, key=lambda row: row["f1"])
        click.echo()
        print_table(
            [[_rounded(row[column]) for column in columns] for row in rows],
            [titles.get(column, column) for column in columns],
        )


def _rounded(value: Any) -> Any:
    return f"{value:.2%}" if isinstance(value, float) else value
