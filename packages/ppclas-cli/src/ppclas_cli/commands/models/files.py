"""``ppclas models download`` and ``convert``: weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from ppclas_core.errors import PluginError

from ppclas_cli import output


@click.command("download")
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


@click.command("convert")
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
