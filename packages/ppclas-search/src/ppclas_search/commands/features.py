"""``ppclas features``: what the classifier of a model sees of photos."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="features")
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "-m",
    "--model",
    required=True,
    metavar="RUN|BUNDLE|NAME",
    help="A run or bundle, or a name of 'ppclas models list' with its published weights.",
)
@click.option(
    "-o", "--output", required=True, metavar="FILE", help="A .npz file, or .parquet (pyarrow)."
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    default=32,
    show_default=True,
    help="Photos in a step.",
)
def command(paths: tuple[str, ...], model: str, output: str, batch_size: int) -> None:
    """Write the pooled features of the photos in PATHS, a row for each.

    PATHS are one data set (its labels are kept), or files, folders, .txt lists or globs. The .npz
    holds names [N], labels [N], class_names [C] and values [N, D].

    \b
    Examples:
      ppclas features photos/ -m MobileNetV2 -o photos.npz
      ppclas features new/ -m runs/MobileNetV2-1 -o new.parquet
    """
    from ppclas_engine.bundles import open_model
    from ppclas_engine.console import Console

    from ppclas_search.features import check_suffix, extract_features, save_features
    from ppclas_search.photos import open_photos

    check_suffix(Path(output))
    console = Console()
    notes: list[str] = []
    images = open_photos(paths, notes)
    for said in (*notes, *images.notes):
        console.line(said)
    found = extract_features(open_model(model), images, console, batch_size=batch_size)
    save_features(found, Path(output))
    console.line(f"{len(found)} photos, {found.values.shape[1]} numbers each, in {output}")
