"""``ppclas explain``: where in photos the evidence for the answer is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppclas_search.commands import printing


@click.command(name="explain")
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "-m",
    "--model",
    required=True,
    metavar="RUN|BUNDLE|EXPORT|NAME",
    help="What answers: a run, bundle or export, or a name of 'ppclas models list'.",
)
@click.option(
    "-o",
    "--output",
    default="explained",
    show_default=True,
    metavar="DIR",
    help="Folder for pictures, maps and sheet.png.",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice(["grad-cam", "layer-cam", "recipro-cam", "occlusion", "heatmap"]),
    help="May be repeated. Without it: grad-cam and layer-cam; for an export its own heatmap, "
    "or occlusion.",
)
@click.option(
    "--class", "label", metavar="NAME", help="Explain this class. Without it: the answer itself."
)
@click.option(
    "--layer",
    type=int,
    metavar="N",
    help="Feature map for grad-cam and layer-cam: 0 is the finest, -1 the last. Without it: what "
    "the classifier sees.",
)
@click.option("--engine", metavar="NAME", help="What runs an export. Without it: its own engine.")
@click.option(
    "--faithfulness",
    is_flag=True,
    help="Measure the maps: take out what they mark, put it back in, compare with random maps.",
)
@printing.JSON_OPTION
def command(
    paths: tuple[str, ...],
    model: str,
    output: str,
    methods: tuple[str, ...],
    label: str | None,
    layer: int | None,
    engine: str | None,
    faithfulness: bool,
    as_json: bool,
) -> None:
    """Show which parts of the photos in PATHS made the answer.

    PATHS are files, folders, .txt lists or globs. For each photo and method there is a picture and
    an array (.npy, [height, width], 0..1); sheet.png has all of them.

    \b
    Examples:
      ppclas explain cat.jpg -m runs/MobileNetV2-1
      ppclas explain photos/ -m runs/MobileNetV2-1 --class tulip --faithfulness
      ppclas explain cat.jpg -m exports/onnx
    """
    from ppclas_engine.bundles import open_model
    from ppclas_engine.console import Console
    from ppclas_engine.results.predict import expand_paths

    from ppclas_search.heat.explaining import as_dict, explain

    notes: list[str] = []
    files = expand_paths(paths, notes)
    console = Console()
    for said in notes:
        console.line(said)
    with console.bar("explaining", len(files)) as bar:

        def on_photos(count: int) -> None:
            for _ in range(count):
                bar.advance()

        results = explain(
            open_model(model),
            files,
            Path(output),
            methods=methods,
            label=label,
            layer=layer,
            faithfulness=faithfulness,
            engine=engine,
            on_photos=on_photos,
        )
    good = [result for result in results if not result.error]
    if as_json:
        printing.print_json([as_dict(result) for result in results])
    else:
        printing.print_table(
            ["photo", "class", "probability"],
            [[result.path, result.label, f"{result.probability:.1%}"] for result in good],
        )
        if faithfulness:
            click.echo()
            printing.print_table(
                ["map", "deletion (small is good)", "insertion (large is good)"],
                [
                    [method, *(f"{_mean(good, what, method):.3f}" for what in _CURVES)]
                    for method in good[0].deletion or {}
                ],
            )
    console.line(f"Pictures and maps are in {output}: sheet.png shows all of them.")
    bad = [result for result in results if result.error]
    for result in bad:
        console.line(f"error: {result.error}")
    if bad:
        click.get_current_context().exit(1)


_CURVES = ("deletion", "insertion")


def _mean(results: list[Any], what: str, method: str) -> float:
    return sum(getattr(result, what)[method] for result in results) / len(results)
