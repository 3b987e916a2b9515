"""``ppclas export``: write a trained model for another engine, and prove that it gives the same
answers.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppclas_cli.bundles import WHAT, model_options, open_source
from ppclas_cli.output import JSON_OPTION, note, print_json, say

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle
    from ppclas_deploy.export import Receipt

    _ParamType = click.ParamType[str]
else:
    _ParamType = click.ParamType  # generic only in newer releases of click


class _Target(_ParamType):
    """A registered export target; the registry is asked only when it has to be."""

    name = "target"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        from ppclas_core.plugins import get_registries

        return "|".join(get_registries().exporters)

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"It is one of {self.get_metavar(param, ctx).replace('|', ', ')}"


@click.command(name="export")
@click.argument("bundle_path", metavar=f"[{WHAT}]", required=False)
@click.option("--target", type=_Target(), required=True, help="What the model is for.")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    help="The folder to write. Without it: export-TARGET in the run, or beside the bundle.",
)
@model_options
@click.option(
    "--labels",
    metavar="FILE",
    help="Class names of a model by name, an id and a name (or a name) a line.",
)
@click.option(
    "--photos",
    metavar="PATH",
    help="Prove it on these. Without it: the run's validation photos, or the built-in ones.",
)
@click.option(
    "--num-photos",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="How many of them.",
)
@click.option("--batch", type=click.IntRange(min=1), help="Fix the batch size. Without it: any.")
@click.option(
    "--image-size", metavar="SIDE|HxW", help="Take images of this size. Without it: the bundle's."
)
@click.option(
    "--with-preprocess",
    is_flag=True,
    default=None,
    help="Normalisation and activation inside: uint8 photos [N, H, W, 3] in, probabilities out.",
)
@click.option(
    "--heatmap",
    is_flag=True,
    default=None,
    help="onnx, openvino: a second output that says where the evidence for the answer is.",
)
@click.option("--fp16", is_flag=True, default=None, help="Half precision, where the target has it.")
@click.option(
    "--opset", type=click.IntRange(min=1), help="onnx: version of the operator set. Without it: 17."
)
@click.option(
    "--ir", metavar="pir|old", help="paddle: .json (pir) or .pdmodel (old). Without it: pir."
)
@click.option(
    "--place",
    metavar="arm|armv8-fp16|opencl|x86",
    help="lite: where the .nb will run. Without it: arm.",
)
@click.option(
    "--lite-python",
    metavar="PATH",
    help="lite: a Python that can load Paddle-Lite. Without it: one found.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds for each step. Without it: 600.",
)
@click.option(
    "--option", "more", multiple=True, metavar="KEY=VALUE", help="Another option of the target."
)
@click.option("--overwrite", is_flag=True, help="Replace an export that is there.")
@JSON_OPTION
def command(
    bundle_path: str | None,
    target: str,
    output: str | None,
    model: str | None,
    weights: str | None,
    labels: str | None,
    photos: str | None,
    num_photos: int,
    more: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write the model of a run or bundle for another engine.

    The folder appears only after the export has given the trained model's answers on real photos;
    it then works wherever a bundle does (eval, predict). When the answers differ, or the converter
    fails, the exit code is 1 and nothing but the log is left.

    \b
    Examples:
      ppclas export runs/MobileNetV2-1 --target onnx
      ppclas export runs/MobileNetV2-1 --target paddle --ir old -o phone/
      ppclas export MobileNetV2 --target onnx
    """
    from ppclas_data.sources.labels import are_ids
    from ppclas_deploy.export import default_output, export_bundle, make_exporter

    if options["image_size"] is not None:
        options["image_size"] = _size_of(options["image_size"])
    given = {name: value for name, value in options.items() if value is not None} | _parse(more)
    make_exporter(target, given)  # a wrong target or option shows before anything is read
    opened = open_source(bundle_path, model, weights, labels)
    bundle = opened.bundle
    if opened.name is not None and are_ids(bundle.labels):
        note(
            "These weights come without class names: classes are called 0 to "
            f"{len(bundle.labels) - 1} (see --labels)."
        )
    folder = Path(output) if output is not None else default_output(bundle, target, opened.name)
    receipt = export_bundle(
        bundle,
        target,
        folder,
        options=given,
        photos=photos,
        num_photos=num_photos,
        overwrite=overwrite,
        say=note,
    )
    for line in receipt.photos.notes:
        note(f"note: {line}")
    if as_json:
        print_json(_as_json(receipt))
    else:
        _print(bundle, receipt)


def _parse(more: tuple[str, ...]) -> dict[str, Any]:
    from ppclas_core.config.overrides import parse_value

    options = {}
    for assignment in more:
        key, equals, value = assignment.partition("=")
        if not key or not equals:
            raise click.UsageError(f"--option {assignment}: expected KEY=VALUE.")
        options[key] = parse_value(value)
    return options


def _size_of(text: str) -> int | tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise click.UsageError(
            f"--image-size {text}: expected a side (160) or HEIGHTxWIDTH (192x256), in pixels."
        )
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def _as_json(receipt: Receipt) -> dict[str, Any]:
    parity = asdict(receipt.parity)
    del parity["images"]  # parity.json has them
    return {
        "folder": str(receipt.folder),
        "target": receipt.target,
        "files": dict(receipt.files),
        "photos": {"origin": receipt.photos.origin, "count": len(receipt.photos.paths)},
        "parity": parity,
        "engine": dict(receipt.engine_versions),
        "verified": receipt.verified,
        "seconds": round(receipt.seconds, 2),
    }


def _print(bundle: Bundle, receipt: Receipt) -> None:
    say(
        f"{bundle.manifest.architecture.name} for {receipt.target} in {receipt.folder} "
        f"({receipt.seconds:.1f} s)"
    )
    width = max(len(name) for name in receipt.files)
    for name, size in receipt.files.items():
        click.echo(f"  {name:{width}}  {_bytes(size):>10}")
    engine = " ".join(receipt.engine_versions.values())
    say(
        f"Same answers as the trained model on {len(receipt.photos.paths)} photos "
        f"({receipt.photos.origin}):"
    )
    say(f"  {receipt.parity.summary()}; ran in {next(iter(receipt.engine_versions))} {engine}")
    if receipt.verified:
        say(f"  Verified was {receipt.verified}.")
    click.echo(f"Use it: ppclas predict PHOTO -m {shlex.quote(str(receipt.folder))}")


def _bytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 1024:.1f} KiB"
