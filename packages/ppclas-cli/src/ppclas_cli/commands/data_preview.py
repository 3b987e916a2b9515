"""``ppclas data preview``: a picture of what augmentations do to photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppclas_cli import output
from ppclas_cli.augmenting import augmented

if TYPE_CHECKING:
    from ppclas_data.inspection.preview import Preview


@click.command("preview")
@click.argument("data", required=False)
@click.option(
    "-c",
    "--config",
    "source",
    metavar="FILE|RECIPE",
    help="Show this config's transforms, step by step, instead.",
)
@click.option(
    "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Set any config value."
)
@click.option(
    "--augment",
    metavar="light|medium|strong|FILE",
    help="Show what 'ppclas train --augment' adds, step by step.",
)
@click.option(
    "-o",
    "--output",
    "target",
    metavar="FILE",
    default="preview.png",
    show_default=True,
    help="The picture, a PNG.",
)
@click.option(
    "--photos",
    "count",
    type=click.IntRange(min=1, max=24),
    default=6,
    show_default=True,
    help="Photos, one per column.",
)
@click.option(
    "--cell",
    type=click.IntRange(min=32, max=512),
    default=160,
    show_default=True,
    help="Side of a picture, in pixels.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Another seed, other draws.",
)
def command(
    data: str | None,
    source: str | None,
    overrides: tuple[str, ...],
    augment: str | None,
    target: str,
    count: int,
    cell: int,
    seed: int,
) -> None:
    """Draw what augmentations make of photos in DATA: one row per method, one column per photo.

    Without a config: every random transform that is installed, and every mix of batches, on photos
    of 224 pixels. With one (-c, --override or --augment): what a training sees after each of its
    transforms, and what evaluation sees. DATA is a folder, a list file or a CSV, as for training;
    without it, the config's photos or the built-in ones.

    \b
    Examples:
      ppclas data preview photos/ -o grid.png
      ppclas data preview photos/ -c my.yaml -o steps.png
      ppclas data preview photos/ --augment strong
      ppclas data preview --override data.resize_mode=letterbox
    """
    path = Path(target)
    if path.suffix.lower() != ".png":
        raise click.UsageError(
            f"-o {target}: the picture is a PNG; give a name that ends with .png."
        )
    if not path.resolve().parent.is_dir():
        raise click.UsageError(f"There is no folder {path.parent} to write {path.name} to.")
    from ppclas_data.inspection.contact_sheet import draw_sheet

    configured = source is not None or overrides or augment
    preview = (
        _configured(data, source, overrides, augment, count, seed)
        if configured
        else _everything(data, count, seed)
    )
    output.notes(preview.notes)
    try:
        draw_sheet(preview.rows, path, cell)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror or error}.") from error
    click.echo(str(path))


def _everything(data: str | None, count: int, seed: int) -> Preview:
    from ppclas_data.builtin import builtin_photos
    from ppclas_data.inspection.preview import choose_photos, preview_everything
    from ppclas_data.sources.opening import load_image_set
    from ppclas_data.sources.parts import training_part

    notes: list[str] = []
    location = training_part(str(builtin_photos()) if data is None else data, notes)
    photos = choose_photos(load_image_set(location), count, notes)
    output.notes(notes)
    return preview_everything(photos, side=224, seed=seed)


def _configured(
    data: str | None,
    source: str | None,
    overrides: tuple[str, ...],
    augment: str | None,
    count: int,
    seed: int,
) -> Preview:
    from ppclas_core.config.load import load_config
    from ppclas_data.inspection.preview import choose_photos, preview_config
    from ppclas_engine.planning.plan import make_plan

    loaded = load_config(source, overrides, {"DATA": ("data.train", data)})
    plan = make_plan(loaded.config, "cpu")
    if augment is not None:
        plan = augmented(plan, augment)
    assert plan.config.train.epochs is not None
    notes: list[str] = []
    photos = choose_photos(plan.train, count, notes)
    output.notes(notes)
    return preview_config(photos, plan.config.data, plan.config.train.epochs, seed)
