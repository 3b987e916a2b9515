"""``ppclas neighbours``: the known photos most like a photo."""

from __future__ import annotations

from pathlib import Path

import click

from ppclas_search.commands import printing


@click.command(name="neighbours")
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "-m",
    "--model",
    required=True,
    metavar="RUN|BUNDLE|NAME",
    help="A run or bundle, or a name of 'ppclas models list' with its published weights.",
)
@click.option(
    "--among",
    required=True,
    metavar="DATA|FILE",
    help="The known photos: a data set or folder, or a file of 'ppclas features' (same model).",
)
@click.option(
    "-k",
    "count",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    metavar="N",
    help="Neighbours of each photo.",
)
@click.option(
    "--index",
    type=click.Choice(["numpy", "faiss"]),
    default="numpy",
    show_default=True,
    help="What searches; both are exact.",
)
@click.option("--sheet", metavar="FILE.png", help="Draw the photos and their neighbours.")
@printing.JSON_OPTION
def command(
    paths: tuple[str, ...],
    model: str,
    among: str,
    count: int,
    index: str,
    sheet: str | None,
    as_json: bool,
) -> None:
    """Find the photos of --among that are most like those in PATHS, as the model sees them.

    Likeness is the cosine of the features. A photo is never its own neighbour.

    \b
    Examples:
      ppclas neighbours cat.jpg -m runs/MobileNetV2-1 --among photos/train
      ppclas neighbours new/ -m MobileNetV2 --among photos.npz -k 3 --sheet alike.png
    """
    from ppclas_engine.bundles import open_model
    from ppclas_engine.console import Console

    from ppclas_search.features import extract_features, load_features
    from ppclas_search.neighbours import draw_neighbours, find_neighbours
    from ppclas_search.photos import open_photos

    console, bundle = Console(), open_model(model)
    file = Path(among)
    known = (
        load_features(file)
        if file.suffix in (".npz", ".parquet") and file.is_file()
        else extract_features(bundle, open_photos([among]), console)
    )
    asked = extract_features(bundle, open_photos(paths), console)
    found = find_neighbours(asked, known, count, index=index)
    if sheet is not None:
        draw_neighbours(found, Path(sheet))
        console.line(f"The photos and their neighbours are drawn in {sheet}.")
    if as_json:
        printing.print_json([one.to_dict() for one in found])
        return
    printing.print_table(
        ["photo", "neighbour", "class", "cosine"],
        [
            [
                Path(one.name).name if row else one.name,
                other.name,
                other.label,
                f"{other.cosine:.3f}",
            ]
            for one in found
            for row, other in enumerate(one.nearest)
        ],
    )
