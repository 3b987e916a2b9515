"""``ppclas search``: the best model and settings for a budget."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppclas_cli import output as printing
from ppclas_cli.lazy import need_extra

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle
    from ppclas_search.search.candidates import Cost, Measure
    from ppclas_search.search.settings import Found, Settings


@click.command(name="search")
@click.argument("data", required=False)
@click.option(
    "--val",
    metavar="PATH",
    help="Validation photos. Without it: found beside the training photos, or a split.",
)
@click.option(
    "-c", "--config", "source", metavar="FILE|RECIPE", help="Settings that the space changes."
)
@click.option(
    "-o",
    "--override",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set any config value.",
)
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="NAME|WILDCARD",
    help="Models to choose from, such as 'MobileNetV3*'; may be repeated.",
)
@click.option(
    "--space",
    "spaces",
    multiple=True,
    metavar="FILE|NAME",
    help="What may be chosen: recipe, seeds-grid, seeds-bayes, ssld, or a YAML file; may be "
    "repeated, the later over the earlier. Without it: recipe.",
)
@click.option(
    "--sampler",
    type=click.Choice(["grid", "tpe", "gp", "random"]),
    help="How points are chosen. Without it: the space's own way.",
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    metavar="N",
    help="At most so many. Without it: all of a grid, 20 of others, no limit under --minutes.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    metavar="M",
    help="For everything. Models are ranked by their frozen features first.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="J",
    help="Runs at a time.",
)
@click.option(
    "--storage",
    metavar="URL",
    help="Optuna's storage, for several machines: sqlite:///FILE, mysql://…, or FILE.journal. "
    "Without it: a file in the search's folder.",
)
@click.option("--metric", metavar="NAME", help="What is to be the best. Without it: top1, or map.")
@click.option(
    "--latency-ms",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MS",
    help="Leave out models that take longer for one photo, as measured here.",
)
@click.option(
    "--engine",
    metavar="NAME",
    help="What latency and size are measured with. Without it: onnxruntime if it is installed, "
    "else dygraph.",
)
@click.option(
    "--size-mb",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MB",
    help="Leave out models whose file is larger.",
)
@click.option(
    "--prune/--no-prune",
    default=None,
    help="Stop runs that are worse than half of the others. Without it: prune, except a grid.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of the choice of points.",
)
@click.option(
    "--output",
    "folder",
    default="search",
    show_default=True,
    metavar="DIR",
    help="Folder of the search; the same command goes on with one that was stopped.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be searched, and stop.")
@printing.JSON_OPTION
def command(
    data: str | None,
    val: str | None,
    source: str | None,
    overrides: tuple[str, ...],
    models: tuple[str, ...],
    spaces: tuple[str, ...],
    metric: str | None,
    latency_ms: float | None,
    size_mb: float | None,
    engine: str | None,
    folder: str,
    dry_run: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Find the best model and settings for the photos in DATA.

    Each trial is an ordinary run in DIR/trials. At the end there are a table, trials.csv,
    search.png, and best.yaml for 'ppclas train -c'.

    \b
    Examples:
      ppclas search photos/ --minutes 30
      ppclas search photos/ -m 'MobileNetV3*' --minutes 60 --latency-ms 10
      ppclas search photos/ --space seeds-grid --jobs 2
      ppclas search photos/ --space space.yaml --sampler tpe --trials 40
    """
    context = click.get_current_context()
    if data is None and source is None:
        click.echo(context.get_help())
        return
    need_extra("ppclas search", "ppclas_search", "search")
    need_extra("ppclas search", "optuna", "search")
    from ppclas_core.config.load import load_config
    from ppclas_engine.console import Console
    from ppclas_search.search.candidates import Limits
    from ppclas_search.search.run import search
    from ppclas_search.search.settings import Settings, check_space
    from ppclas_search.search.space import open_space

    flags = {
        "DATA": ("data.train", data),
        "--val": ("data.val", val),
        "--metric": ("train.monitor", metric),
    }
    loaded = load_config(source, overrides, flags)
    console = Console()
    for note in loaded.notes:
        console.line(note)
    space = open_space(spaces, models)
    sampler = given["sampler"] or space.sampler
    engine = engine or _default_engine()
    settings = Settings(
        folder=Path(folder),
        base=loaded.config,
        space=space,
        sampler=sampler,
        trials=given["trials"],
        minutes=given["minutes"],
        jobs=given["jobs"],
        storage=given["storage"],
        engine=engine,
        limits=Limits(latency_ms, size_mb),
        seed=given["seed"],
        prune=sampler != "grid" if given["prune"] is None else given["prune"],
    )
    if dry_run:
        check_space(settings.base, space)
        _print_space(settings)
        return
    try:
        found = search(settings, _measure_with(engine, console), console)
    except KeyboardInterrupt:
        console.line("stopped. The same command goes on from here")
        raise
    _print(found, as_json)


def _default_engine() -> str:
    from importlib.util import find_spec

    there = all(find_spec(name) is not None for name in ("onnxruntime", "paddle2onnx"))
    return "onnxruntime" if there else "dygraph"


def _measure_with(engine: str, console: Any) -> Measure:
    """What a bundle costs in ``engine``: one photo at a time, at the median."""
    from ppclas_core.plugins import get_registries
    from ppclas_deploy.benchmark import model_bytes
    from ppclas_deploy.engine_choice import runnable
    from ppclas_deploy.measuring import measure_engine
    from ppclas_deploy.photos import choose_photos
    from ppclas_engine.console import Console
    from ppclas_search.search.candidates import Cost

    get_registries().engines.entry(engine)  # says so where there is none

    def measure(bundle: Bundle) -> Cost:
        ready = runnable(bundle, engine, Console(quiet=True))
        photos = choose_photos(bundle, None, 4).paths
        try:
            taken = measure_engine(ready, engine, photos, batches=(1,), seconds=1.0)
            return Cost(taken.latencies[1].milliseconds(50), model_bytes(ready) / 1e6)
        finally:
            if ready.folder != bundle.folder:  # of a model that is not trained: nobody wants it
                shutil.rmtree(ready.folder, ignore_errors=True)

    return measure


def _print_space(settings: Settings) -> None:
    from ppclas_search.search.space import short_value

    space = settings.space
    for key, values in space.described().items():
        shown = (
            [short_value(value) for value in values]
            if isinstance(values, list)
            else [f"{values['low']:g} to {values['high']:g}{' (log)' if values['log'] else ''}"]
        )
        printing.say(f"{key}: {', '.join(shown)}")
    size = space.size
    points = "no end of points" if size is None else f"{size} points"
    many = settings.most_trials
    wanted = f"{many} trials" if many is not None else "all of them"
    if settings.minutes is not None:
        wanted = f"{settings.minutes:g} minutes" + (f", at most {many} trials" if many else "")
    printing.say(f"{points}; {settings.sampler}, {wanted}, measured with {settings.engine}")


def _print(found: Found, as_json: bool) -> None:
    """The table, then the best run and what to do with it; files with all of it."""
    from ppclas_engine.console import duration
    from ppclas_engine.scoring.monitor import format_metric
    from ppclas_search.search import report

    report.write_all(found)
    if as_json:
        printing.print_json(report.as_dict(found))
    else:
        header, rows = report.table(found)
        if rows:
            printing.print_table(rows, header)
        hidden = len(found.trials) - len(rows)
        if hidden:
            printing.note(f"{hidden} more are in {found.settings.folder / 'trials.csv'}")
    folder, best = found.settings.folder, found.best
    for line in report.not_tried(found):
        printing.note(f"not tried: {line}")
    printing.note(f"The search took {duration(found.seconds)} and ended: {found.ended}.")
    if best is None:
        printing.error("no run came to an end, so there is no best one")
        click.get_current_context().exit(1)
    run = report.run_of(found, best).path
    note = "" if best.state == "complete" else f" ({best.facts.get('reason', 'stopped')})"
    value = format_metric(found.metric, abs(best.height or 0.0))
    if not run.is_dir():
        printing.note(f"The best: trial {best.number}, {value}{note}, of {best.place}")
        return
    printing.note(f"The best: trial {best.number}, {value}{note}, in {run}")
    printing.note(f"All trials: {folder / 'trials.csv'}, {folder / 'search.png'}")
    printing.note("Classify photos with the best, or train with its settings:")
    printing.note(f"  ppclas predict new/ -m {shlex.quote(str(run))}")
    printing.note(f"  ppclas train -c {shlex.quote(str(folder / 'best.yaml'))}")
