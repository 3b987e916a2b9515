"""``ppclas models``: the catalogue, and the files and costs of its models."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from ppclas_core.errors import PluginError, UnknownNameError
from ppclas_core.plugins import get_registries
from ppclas_core.registry import resolve

from ppclas_cli import output

if TYPE_CHECKING:
    from ppclas_core.registry import Entry, Registry
    from ppclas_engine.profile import ModelCost

_COLUMNS = {
    "name": ("name", "{}"),
    "top1": ("top-1", "{:.2%}"),
    "top5": ("top-5", "{:.2%}"),
    "params_m": ("params (M)", "{:.2f}"),
    "flops_g": ("FLOPs (G)", "{:.3f}"),
}
"""Key of the facts → title and format in the table."""

_INTERNAL = ("pretrained", "about")
"""Metadata for programs: where the functions are that find the weights and tell more."""


@click.group()
def models() -> None:
    """List models; fetch and convert weights; count what a model costs."""


@models.command("list")
@click.argument("pattern", default="*")
@click.option(
    "--sort",
    "key",
    metavar="KEY",
    help="A key of the facts, or its beginning: top1, params, flops, latency …",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON array of objects with all facts."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with all plain facts.")
def list_command(pattern: str, key: str | None, as_json: bool, as_csv: bool) -> None:
    """List the models whose name fits PATTERN: a part of it, or a glob. Upper and lower case are
    the same.

    Accuracies are those published for ImageNet-1k (JSON and CSV: in 0..1). --sort puts the best
    accuracy, or the smallest or fastest model, first; models of which that is not known come last.

    \b
    Examples:
      ppclas models list mobilenet
      ppclas models list '*50_vd*' --sort top1
      ppclas models list --sort latency_ms.t4_fp16_bs1
      ppclas models list --json
    """
    print_models(get_registries().models, pattern, key, as_json=as_json, as_csv=as_csv)


def print_models(
    registry: Registry,
    pattern: str = "*",
    key: str | None = None,
    *,
    as_json: bool = False,
    as_csv: bool = False,
) -> None:
    """Print the models of ``registry`` that fit ``pattern``, sorted by the fact ``key``.

    Raises:
        UnknownNameError: none fits, and a table was asked for.
        click.BadParameter: no model has such a fact.
    """
    rows = [facts(registry.entry(name)) for name in _matching(registry, pattern)]
    if not rows and not (as_json or as_csv):
        raise UnknownNameError(_nothing_matches(registry, pattern))
    if key is not None:
        key = _sort_key(rows, key)
        rows = _sorted(rows, key)
    if as_json:
        output.print_json(rows)
    elif as_csv:
        flat = [_flat(row) for row in rows]
        columns = dict.fromkeys(column for row in flat for column in row)
        output.print_csv(flat, list(columns) or ["name"])
    else:
        _print_table(rows, key)
        output.note(f"{len(rows)} of {len(registry)} models")


@models.command("info")
@click.argument("name")
@output.JSON_OPTION
def info_command(name: str, as_json: bool) -> None:
    """Print everything that is known of the model NAME.

    \b
    Example:
      ppclas models info ResNet50_vd
    """
    print_info(get_registries().models, name, as_json=as_json)


def print_info(registry: Registry, name: str, *, as_json: bool = False) -> None:
    """Print all facts of the model ``name`` of ``registry``.

    Raises:
        UnknownNameError: there is no such model.
    """
    entry = registry.entry(name)
    row = facts(entry)
    if "about" in entry.metadata:
        row |= resolve(entry.metadata["about"])(entry.name)
    if as_json:
        output.print_json(row)
    else:
        output.print_facts(row)


@models.command("download")
@click.argument("name")
@click.option(
    "-p",
    "--path",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Put it there, not in the cache.",
)
@click.option(
    "--mirror",
    metavar="URL",
    help="Fetch from there instead of the published host (or PPCLAS_MIRROR).",
)
@output.JSON_OPTION
def download_command(name: str, folder: Path | None, mirror: str | None, as_json: bool) -> None:
    """Fetch the published weights of the model NAME, unless they are here, and print where they
    are.

    What was cut off goes on where it stopped. The file gets its name only after its tensors' names
    and shapes were found to be the model's. The cache is $PPCLAS_HOME (~/.cache/ppclas). A mirror
    has the files at the published path: its address takes the place of the host.

    \b
    Examples:
      ppclas models download ResNet50_vd_ssld
      ppclas models download MobileNetV2 -p weights/
    """
    from ppclas_engine.bundles import pretrained_path

    path = pretrained_path(name, download=True, folder=folder, mirror=mirror)
    if as_json:
        output.print_json({"name": name, "path": str(path), "bytes": path.stat().st_size})
    else:
        click.echo(path)


@models.command("convert")
@click.argument("source", metavar="FILE|FOLDER", type=click.Path(path_type=Path))
@click.option(
    "--model", "name", metavar="NAME", required=True, help="The model that the weights are of."
)
@click.option(
    "--from",
    "origin",
    type=click.Choice(["paddle", "legacy", "torch"]),
    help="Without it: told from the content.",
)
@click.option(
    "-o",
    "--output",
    "target",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Default: NAME.safetensors.",
)
@click.option(
    "--to",
    "kind",
    type=click.Choice(["safetensors", "pdparams", "scattered"]),
    help="Without it: by PATH's suffix.",
)
@click.option(
    "--torch-model",
    metavar="NAME",
    help="The torch model that the weights are of, where torch has several with the same tensor "
    "names.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@output.JSON_OPTION
def convert_command(
    source: Path,
    name: str,
    origin: str | None,
    torch_model: str | None,
    target: Path | None,
    kind: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Turn weights of another kind into a file for the model NAME, and say what became of each
    tensor.

    legacy is the 2020 format: a folder or tar with one file per tensor under the old names. torch
    is a state dict or checkpoint of torchvision or timm (.pth or .safetensors), read without torch.
    Nothing in a file is executed. A warning names each reason why the answers may differ from the
    original's.

    \b
    Examples:
      ppclas models convert ResNet50_vd_pretrained.tar --model ResNet50_vd
      ppclas models convert resnet50-0676ba61.pth --from torch --model ResNet50 -o resnet50.pdparams
      ppclas models convert b0.pth --model EfficientNetB0 --torch-model tf_efficientnet_b0
      ppclas models convert mine.pdparams --model MobileNetV2 --to scattered -o old/
    """
    convert = _conversion()
    extension = "" if kind == "scattered" else f".{kind or 'safetensors'}"
    target = target or Path(f"{name}{extension}")
    if target.exists() and not overwrite:
        raise click.UsageError(
            f"{target} is there already: choose another -o, or give --overwrite."
        )
    if torch_model and origin not in (None, "torch"):
        raise click.UsageError(
            f"--torch-model says that the weights are torch's, --from that they are {origin}."
        )
    state, report = convert.read_weights(source, name, origin, torch_model)
    written = convert.write_weights(target, state, name, kind)
    for line in report.notes:
        output.note(f"note: {line}")
    for line in report.differences:
        output.note(f"warning: {line}")
    if as_json:
        output.print_json({"output": str(target), "format": written, **vars(report)})
    else:
        click.echo(f"{target}: {report}")


def _conversion() -> Any:
    try:
        from ppclas_models.conversion import convert
    except ModuleNotFoundError as error:
        if error.name not in ("ppclas_models", "ppclas_models.conversion"):
            raise
        raise PluginError(
            "converting weights needs the package ppclas-models, which is not installed. Try: pip "
            "install ppclas-models"
        ) from error
    return convert


@models.command("profile")
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


def facts(entry: Entry) -> dict[str, Any]:
    """A model's catalogue row: its name, package and summary, then its metadata."""
    summary = {"summary": entry.summary} if entry.summary else {}
    published = {key: value for key, value in entry.metadata.items() if key not in _INTERNAL}
    return {"name": entry.name, "package": entry.owner, **summary, **published}


def _matching(registry: Registry, pattern: str) -> list[str]:
    wanted = pattern.lower() if any(c in pattern for c in "*?[") else f"*{pattern.lower()}*"

    def fits(name: str) -> bool:
        spellings = (name, *registry.aliases(name))
        return any(fnmatch.fnmatchcase(spelling.lower(), wanted) for spelling in spellings)

    return [name for name in registry if fits(name)]


def _nothing_matches(registry: Registry, pattern: str) -> str:
    try:
        registry.entry(pattern)
    except UnknownNameError as error:
        return f"No model fits {pattern!r}.{str(error).removeprefix(f'Unknown model {pattern!r}.')}"
    raise AssertionError("a pattern that is a name fits that name")


def _print_table(rows: list[dict[str, Any]], key: str | None) -> None:
    flat = [_flat(row) for row in rows]
    columns = [column for column in _COLUMNS if any(row.get(column) is not None for row in flat)]
    if key is not None and key not in columns:
        columns.append(key)
    titles = {column: _COLUMNS.get(column, (column, "{}")) for column in columns}
    output.print_table(
        [
            [titles[c][1].format(row[c]) if row.get(c) is not None else None for c in columns]
            for row in flat
        ],
        [titles[c][0] for c in columns],
    )


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """The plain facts of a row; those of a map inside it as ``map.key``."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": fact for inner, fact in _flat(value).items()}
        elif not isinstance(value, list | tuple):
            flat[key] = value
    return flat


def _sort_key(rows: list[dict[str, Any]], key: str) -> str:
    """``key`` itself, or the fact that most models have of those whose name begins with it."""
    known = Counter(
        k for row in rows for k, value in _flat(row).items() if isinstance(value, str | int | float)
    )
    if key in known or not rows:
        return key
    begin = {k: count for k, count in known.items() if k.startswith(key)}
    if not begin:
        raise click.BadParameter(
            f"no model has {key!r}; there are: {', '.join(known)}.", param_hint="--sort"
        )
    chosen = max(begin, key=lambda k: begin[k])
    output.note(f"sorted by {chosen}")
    return chosen


def _sorted(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    best_first = "top1" in key or "top5" in key
    values = [_flat(row).get(key) for row in rows]
    known = [index for index, value in enumerate(values) if value is not None]
    unknown = [index for index, value in enumerate(values) if value is None]
    order = sorted(known, key=lambda index: values[index] or 0, reverse=best_first)
    return [rows[index] for index in (*order, *unknown)]
