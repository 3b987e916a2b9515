"""``ppclas quantize``: an INT8 export that keeps its accuracy, with the proof."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppclas_cli.bundles import WHAT, model_options, open_source
from ppclas_cli.output import JSON_OPTION, note, print_json, print_table, say

if TYPE_CHECKING:
    from ppclas_deploy.quantize.receipt import Receipt

_SHOWN = 8
"""Layers of the sensitivity table on the screen; the CSV has all."""


@click.command(name="quantize")
@click.argument("bundle_path", metavar=f"[{WHAT}]", required=False)
@click.option(
    "--method",
    type=click.Choice(["ptq", "qat"]),
    default="ptq",
    show_default=True,
    help="ptq: calibrated ranges; qat: then trained with its rounding (needs Paddle; takes "
    "minutes).",
)
@click.option(
    "--calibrate",
    metavar="PATH",
    help="Photos to calibrate on: a folder, list, CSV or glob; labels are not needed. Without it: "
    "the run's training photos.",
)
@click.option(
    "--data",
    metavar="PATH",
    help="Labelled photos to judge by. Without it: the run's validation photos, or agreement with "
    "the float network.",
)
@click.option(
    "--guard",
    type=click.FloatRange(min=0, max=1),
    default=0.01,
    show_default=True,
    help="Largest accepted loss of accuracy, a share. Layers stay float until it holds.",
)
@click.option(
    "-o", "--output", metavar="DIR", help="The folder to write. Without it: export-int8 in the run."
)
@click.option(
    "--num-photos",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Photos to calibrate on.",
)
@click.option(
    "--judged",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="How many to judge by.",
)
@click.option(
    "--ranges",
    type=click.Choice(["minmax", "percentile", "entropy"]),
    default="minmax",
    show_default=True,
    help="How the range of a layer's output is found.",
)
@click.option(
    "--weight-bits",
    type=click.Choice(["7", "8"]),
    help="7 for x86 CPUs without VNNI, where 8 can overflow. Without it: as this CPU needs it.",
)
@click.option("--steps", type=click.IntRange(min=1), help="qat: updates. Without it: 100.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), help="qat: photos per update. Without it: 16."
)
@click.option(
    "--lr",
    type=click.FloatRange(min=0, min_open=True),
    help="qat: in steps of a weight. Without it: 0.002.",
)
@model_options
@click.option(
    "--labels",
    metavar="FILE",
    help="Class names of a model by name, an id and a name (or a name) a line.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="CPU threads of the measurements. Without it: all.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=3600,
    show_default=True,
    help="Seconds that it may take, without the export to ONNX.",
)
@click.option("--overwrite", is_flag=True, help="Replace an export that is there.")
@JSON_OPTION
def command(
    bundle_path: str | None,
    method: str,
    calibrate: str | None,
    data: str | None,
    guard: float,
    output: str | None,
    num_photos: int,
    judged: int,
    ranges: str,
    weight_bits: str | None,
    steps: int | None,
    batch_size: int | None,
    lr: float | None,
    model: str | None,
    weights: str | None,
    labels: str | None,
    threads: int | None,
    timeout: float,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write an INT8 version of a run, bundle or ONNX export: a quarter of the size, and faster on
    most CPUs.

    It is written only if it loses no more accuracy than --guard allows on photos that it was not
    calibrated on. Layers that hurt stay float until that holds. sensitivity.csv tells what each
    layer costs, quantization.json what was measured. An ONNX export needs no Paddle here.

    \b
    Examples:
      ppclas quantize runs/MobileNetV2-1
      ppclas quantize exports/onnx --calibrate train/ --data val/ --guard 0.005
    """
    from ppclas_data.sources.labels import are_ids
    from ppclas_deploy.quantize.receipt import report
    from ppclas_deploy.quantize.run import default_output, quantize_bundle
    from ppclas_deploy.quantize.training import Training
    from ppclas_engine.console import Console

    given = {"steps": steps, "batch_size": batch_size, "lr": lr}
    training: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if training and method != "qat":
        raise click.UsageError(
            f"--{next(iter(training)).replace('_', '-')} belongs to --method qat."
        )
    opened = open_source(bundle_path, model, weights, labels)
    bundle = opened.bundle
    if opened.name is not None and are_ids(bundle.labels):
        note(
            "These weights come without class names: classes are called 0 to "
            f"{len(bundle.labels) - 1} (see --labels)."
        )
    receipt = quantize_bundle(
        bundle,
        Path(output) if output is not None else default_output(bundle, opened.name),
        method=method,  # type: ignore[arg-type]  # click checks the choices
        calibrate=calibrate,
        data=data,
        guard=guard,
        num_photos=num_photos,
        judged=judged,
        ranges=ranges,  # type: ignore[arg-type]
        reduce_range=None if weight_bits is None else weight_bits == "7",
        training=Training(**training),
        threads=threads,
        timeout=timeout,
        overwrite=overwrite,
        console=Console(),
    )
    if as_json:
        print_json({"folder": str(receipt.folder), **report(receipt)})
    else:
        _print(receipt)


def _print(receipt: Receipt) -> None:
    verdict, (before, after) = receipt.verdict, receipt.sizes
    say(f"INT8 in {receipt.folder} ({receipt.seconds:.0f} s), {receipt.weight_bits}-bit weights")
    say(
        f"  {receipt.measure:<12} {receipt.float_accuracy:.2%} → {verdict.accuracy:.2%} on "
        f"{receipt.judged_by.count} photos; same answer as the float network on "
        f"{verdict.agreement:.1%}, {verdict.lost} answers lost, {verdict.won} won"
    )
    say(
        f"  {'size':<12} {before / 1e6:.2f} → {after / 1e6:.2f} MB ({after / before:.2f} of the "
        "float model)"
    )
    for batch, (slow, fast) in receipt.latencies.items():
        ratio = receipt.speedup(batch)
        said = (
            f"{ratio:.2f} times faster"
            if ratio >= 1
            else f"SLOWER: {ratio:.2f} of the float network's speed"
        )
        say(f"  {f'batch {batch}':<12} {slow:.1f} → {fast:.1f} ms, {said} on this CPU")
    kept = f"{len(receipt.stay_float)} of {len(receipt.sensitivities)} layers stay float"
    say(
        f"  {'layers':<12} "
        f"{kept}{': ' + ', '.join(receipt.stay_float) if receipt.stay_float else ''}"
    )
    say("Most sensitive layers (each quantised alone; all are in sensitivity.csv):")
    rows = [
        [
            row.node.name,
            row.node.op,
            "x".join(map(str, row.node.shape)),
            f"{row.error:.4f}",
            f"{row.agreement:.0%}",
            "float" if row.node.name in receipt.stay_float else "int8",
        ]
        for row in receipt.sensitivities[:_SHOWN]
    ]
    print_table(rows, ["layer", "op", "weights", "logit change", "same answer", "stays"])
    click.echo(f"Use it: ppclas predict PHOTO -m {shlex.quote(str(receipt.folder))}")
