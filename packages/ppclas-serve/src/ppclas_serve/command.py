"""``ppclas serve``: models behind HTTP, with a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ppclas_serve.run import Model


@click.command(name="serve")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0: every network.")
@click.option(
    "--port",
    type=click.IntRange(min=0, max=65535),
    default=8000,
    show_default=True,
    help="0: any that is free.",
)
@click.option(
    "--grpc-port",
    type=click.IntRange(min=0, max=65535),
    metavar="N",
    help="Answer over gRPC, too (extra: grpc); 0: any that is free.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes on the port; one that dies is started again.",
)
@click.option(
    "--name",
    "names",
    multiple=True,
    help="Of the first MODEL, the second, …; else the folder's. Two of one name are versions.",
)
@click.option("--shadow", metavar="MODEL", help="Ask this one too, and report where it disagrees.")
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    metavar="auto|NAME",
    help="What runs the models; auto: the fastest here that answers right; of an export its own.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="CPU threads of an engine."
)
@click.option("--max-batch", type=click.IntRange(min=1), metavar="N", help="Photos a batch.  [16]")
@click.option(
    "--max-delay-ms",
    type=click.FloatRange(min=0),
    metavar="MS",
    help="How long a photo may wait for others that are being read.  [5]",
)
@click.option(
    "--max-body-mb", type=click.FloatRange(min=0.001), metavar="MB", help="Of a request.  [32]"
)
@click.option(
    "--max-pixels", type=click.IntRange(min=1), metavar="N", help="Of a photo.  [50000000]"
)
@click.option(
    "--max-images", type=click.IntRange(min=1), metavar="N", help="Photos in a request.  [64]"
)
@click.option(
    "--max-waiting", type=click.IntRange(min=1), metavar="N", help="Photos that may wait.  [256]"
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    metavar="S",
    help="Seconds in which a request must have come, and be answered.  [30]",
)
@click.option(
    "--token",
    envvar="PPCLAS_TOKEN",
    show_envvar=True,
    help="What clients must send as 'Authorization: Bearer'. The variable keeps it out of 'ps'.",
)
@click.option(
    "--cors", multiple=True, metavar="ORIGIN", help="Let pages of this origin ask; '*': all."
)
@click.option(
    "--reload-seconds",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="Between looks whether a model has changed on disk; 0: never.",
)
@click.option("--allow-edited", is_flag=True, help="Take a bundle.json that was edited by hand.")
@click.option("--weights", metavar="FILE", help="Of a MODEL that is a catalogue name.")
@click.option("--labels", metavar="FILE", help="Class names for --weights, one on each line.")
def command(
    models: tuple[str, ...],
    names: tuple[str, ...],
    shadow: str | None,
    weights: str | None,
    labels: str | None,
    **options: Any,
) -> int:
    """Answer over HTTP: MODEL is a run, bundle, export or catalogue name; several may be given.

    A model is ready when the built-in photos have gone through the server itself and came back with
    the right answers. A folder that changes is proven again before it takes over; SIGTERM answers
    what is under way and ends.

    \b
    Examples:
      ppclas serve runs/MobileNetV2-1
      ppclas serve exports/onnx --host 0.0.0.0 --port 80 --workers 4
      ppclas serve old/ new/ --name fruit --name fruit --shadow newest/
    """
    from ppclas_engine.console import Console

    from ppclas_serve.backend.problems import Limits
    from ppclas_serve.run import Settings, named, run

    given = {name: options.pop(name) for name in Limits.model_fields if name in options}
    limits = Limits(**{name: value for name, value in given.items() if value is not None})
    served = [
        _model(path, name, version, weights, labels)
        for path, (name, version) in zip(models, named(models, names), strict=True)
    ]
    shadowed = _model(shadow, "shadow", "1", weights, labels) if shadow is not None else None
    if options["token"] == "":
        raise click.UsageError("--token is empty.")
    settings = Settings(models=tuple(served), shadow=shadowed, limits=limits, **options)
    return run(settings, Console())


def _model(path: str, name: str, version: str, weights: str | None, labels: str | None) -> Model:
    from ppclas_core.plugins import get_registries
    from ppclas_data.sources.labels import read_class_names
    from ppclas_engine.bundles import pretrained_path

    from ppclas_serve.run import Model

    if Path(path).exists() or path not in get_registries().models:
        return Model(name=name, version=version, path=path)
    return Model(
        name=name,
        version=version,
        architecture=path,
        weights=weights or str(pretrained_path(path)),
        labels=None if labels is None else tuple(read_class_names(labels)),
    )
