"""``ppclas models profile`` and ``fuse``: what a model costs, and less of it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from ppclas_core.plugins import get_registries

from ppclas_cli import output
from ppclas_cli.bundles import model_options, open_source

if TYPE_CHECKING:
    from ppclas_core.registry import Entry
    from ppclas_deploy.fusing import Fused, Size
    from ppclas_engine.profile import ModelCost


@click.command("profile")
@click.argument("name")
@click.option(
    "--image-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Pixels. Without it: the model's evaluation size.",
)
@click.option("--layers", is_flag=True, help="List each convolution and fully connected layer too.")
@output.JSON_OPTION
def profile_command(name: str, image_size: int | None, layers: bool, as_json: bool) -> None:
    """Count the parameters and operations of the model NAME, for one image, by running it.

    Operations are the multiply-adds of convolutions and fully connected layers, in eval mode;
    published FLOPs count two for each.

    \b
    Examples:
      ppclas models profile MobileNetV3_small_x1_0
      ppclas models profile ResNet50_vd --image-size 320 --layers
    """
    entry = get_registries().models.entry(name)
    from ppclas_core.models import create_model
    from ppclas_engine.profile import profile_model

    own_size = int(entry.metadata.get("image_size", 224))
    output.note(f"counting {entry.name} by an image of side {image_size or own_size}")
    cost = profile_model(create_model(entry.name), image_size or own_size)
    row = _cost_facts(entry, cost, published=cost.image_size == (own_size, own_size))
    if as_json:
        output.print_json({**row, "layers": [vars(layer) for layer in cost.layers]})
        return
    output.print_facts({key: value for key, value in row.items() if value is not None})
    if layers:
        click.echo()
        rows = [
            [each.name, each.kind, "x".join(map(str, each.output)), each.params, each.macs]
            for each in cost.layers
        ]
        output.print_table(rows, ["layer", "kind", "output", "params", "multiply-adds"])


def _cost_facts(entry: Entry, cost: ModelCost, published: bool) -> dict[str, Any]:
    """What was counted, beside what the tables say of the model at its own size."""
    counted = {
        "name": entry.name,
        "image_size": list(cost.image_size),
        "params": cost.params,
        "params_m": cost.params / 1e6,
        "state_values": cost.values,
        "macs": cost.macs,
        "flops_g": 2 * cost.macs / 1e9,
    }
    if not published:
        return counted
    facts = entry.metadata
    return {
        **counted,
        "published_params_m": facts.get("params_m"),
        "published_flops_g": facts.get("flops_g"),
        "notes": facts.get("notes") or None,
    }


@click.command("fuse")
@click.argument("bundle_path", metavar="[RUN|BUNDLE|NAME]", required=False)
@click.option(
    "-o",
    "--output",
    "folder",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder to write; it must not exist yet.",
)
@model_options
@output.JSON_OPTION
def fuse_command(
    bundle_path: str | None, folder: Path, model: str | None, weights: str | None, as_json: bool
) -> None:
    """Write a bundle whose network has one convolution where it was trained with several branches.

    RepVGG, MobileOne, FastViT and PP-LCNetV2 have branches. The answers stay the same, which is
    checked on photos; size and speed are measured here, in Paddle. Exports do this on their own;
    a fused network does not train as well, so keep the original.

    \b
    Examples:
      ppclas models fuse runs/RepVGG_A0-1 -o fused/
      ppclas models fuse MobileOne_s0 --weights mobileone_s0.safetensors -o fused/
    """
    from ppclas_deploy.fusing import fuse_bundle

    opened = open_source(bundle_path, model, weights)
    fused = fuse_bundle(opened.bundle, folder)
    if as_json:
        output.print_json(
            {
                "folder": str(fused.bundle.folder),
                "before": _size_facts(fused.before),
                "after": _size_facts(fused.after),
                "speedup": fused.speedup,
                "difference": fused.difference,
                "difference_float32": fused.difference_float32,
            }
        )
    else:
        _print_fused(fused)


def _size_facts(size: Size) -> dict[str, Any]:
    return {
        "params": size.parameters,
        "bytes": size.bytes,
        "latency_ms": size.latency.milliseconds(50),
    }


def _print_fused(fused: Fused) -> None:
    """Both networks, what they differ by, and what to do next."""
    rows = [
        [
            title,
            f"{size.parameters / 1e6:.2f}",
            f"{size.bytes / 2**20:.1f}",
            f"{size.latency.milliseconds(50):.2f}",
        ]
        for title, size in (("with branches", fused.before), ("fused", fused.after))
    ]
    output.print_table(rows, ["network", "params (M)", "weights (MiB)", "ms per image"])
    output.say(
        f"{fused.speedup:.2f} times as fast in Paddle on this machine. Logits differ by "
        f"{fused.difference:.1g} of their size in double precision, by "
        f"{fused.difference_float32:.1g} in single precision."
    )
    folder = shlex.quote(str(fused.bundle.folder))
    click.echo(f"Use it: ppclas predict PHOTO -m {folder}")
