"""``ppclas distill``: train a student from a teacher, and prepare the photos that it learns
from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppclas_cli import output
from ppclas_cli.commands.train import command as train
from ppclas_cli.lazy import Group

if TYPE_CHECKING:
    from ppclas_distill.teacher import TeacherConfig
    from ppclas_engine.console import Console


@click.group(cls=Group)
def distill() -> None:
    """Train a small model to answer as a large one does (SSLD).

    The large one, the teacher, is any model that knows the classes: a run, a bundle, an export, an
    ONNX file or published weights. Photos without labels help too.
    """


def _train_command(**given: Any) -> None:
    assert train.callback is not None
    train.callback(**arguments_of_train(**given))


def arguments_of_train(
    teachers: tuple[str, ...],
    teacher_weights: tuple[str, ...],
    losses: tuple[str, ...],
    ground_truth: float | None,
    extra: str | None,
    teacher_norm: str | None,
    cache: str | None,
    overrides: tuple[str, ...],
    **given: Any,
) -> dict[str, Any]:
    """The arguments of 'ppclas train' that those of 'ppclas distill train' come to.

    Raises:
        click.UsageError: nobody is learnt from, or a flag has the wrong form.
    """
    said = _objective(teachers, teacher_weights, losses, ground_truth, extra, teacher_norm, cache)
    asked = (
        teachers
        or given["source"]
        or given["resume"]
        or any("objective" in text for text in overrides)
    )
    if not asked:
        raise click.UsageError(
            "Who is learnt from? Give --teacher, or a config with objective.teachers (-c)"
        )
    alone = given["resume"] is not None and not said  # goes on with the run's own objective
    first = () if alone else ("objective.name=Distill",)
    return {**given, "overrides": (*first, *said, *overrides)}


def _objective(
    teachers: tuple[str, ...],
    weights: tuple[str, ...],
    losses: tuple[str, ...],
    ground_truth: float | None,
    extra: str | None,
    teacher_norm: str | None,
    cache: str | None,
) -> tuple[str, ...]:
    """The flags as ``KEY=VALUE``; the user's own overrides come after them and win."""
    said: dict[str, Any] = {}
    if weights and len(weights) != len(teachers):
        raise click.UsageError(
            "--teacher-weights goes with --teacher, one for each in the same order: got "
            f"{len(weights)} for {len(teachers)}."
        )
    if teachers:
        sources = [{"source": teacher} for teacher in teachers]
        for source, file in zip(sources, weights, strict=False):
            source["weights"] = file
        said["objective.teachers"] = sources
    if losses:
        said["objective.losses"] = [_loss(text) for text in losses]
    said["objective.ground_truth"] = ground_truth
    said["data.train_extra"] = extra
    said["objective.teacher_norm"] = teacher_norm
    said["objective.cache"] = cache
    return tuple(f"{key}={json.dumps(value)}" for key, value in said.items() if value is not None)


def _loss(text: str) -> dict[str, Any]:
    name, _, weight = text.partition(":")
    try:
        return {"name": name, "weight": float(weight)} if weight else {"name": name}
    except ValueError:
        raise click.UsageError(
            f"--loss {text}: expected NAME or NAME:WEIGHT, for example kl:0.5."
        ) from None


_FLAGS: list[click.Parameter] = [
    click.Option(
        ["--teacher", "teachers"],
        multiple=True,
        metavar="RUN|BUNDLE|ONNX|NAME",
        help="Who is learnt from; several are averaged.",
    ),
    click.Option(
        ["--teacher-weights"],
        multiple=True,
        metavar="FILE",
        help="Weights of a --teacher NAME, in the same order.",
    ),
    click.Option(
        ["--loss", "losses"],
        multiple=True,
        metavar="NAME[:WEIGHT]",
        help="ssld (default), js, kl, soft_ce, dkd, dist, skd, wsl, fitnet, similarity; "
        "several are added up.",
    ),
    click.Option(
        ["--ground-truth"],
        type=click.FloatRange(min=0),
        metavar="WEIGHT",
        help="Learn from the labels too, with this weight. Default: 0.",
    ),
    click.Option(
        ["--extra"],
        metavar="PATH",
        help="Photos without labels: a folder, or a list with one path per line.",
    ),
    click.Option(
        ["--teacher-norm"],
        type=click.Choice(["batch", "running"]),
        help="What the teacher's batch norms go by. Default: the batch.",
    ),
    click.Option(
        ["--cache"], metavar="DIR", help="Keep the teacher's answers, for crops that come again."
    ),
]

distill.add_command(
    click.Command(
        "train",
        callback=_train_command,
        params=[train.params[0], *_FLAGS, *train.params[1:]],
        help="""Train a student on the photos in DATA to answer as its teacher does.

        Takes what 'ppclas train' takes, and teachers. The labels are learnt from where
        --ground-truth says so; photos without labels come in with --extra.

        \b
        Examples:
          ppclas distill train photos/ --model MobileNetV3_small_x1_0 --teacher runs/ResNet50_vd-1
          ppclas distill train photos/ --teacher runs/a-1 --teacher runs/b-1 --extra more/ --loss kl
          ppclas distill train --resume runs/MobileNetV3_small_x1_0-1
        """,
        short_help="Train a student from one teacher or several.",
    )
)


@distill.command("select", short_help="Choose photos of a pool, so many a class.")
@click.argument("pool")
@click.option(
    "--teacher", required=True, metavar="RUN|BUNDLE|ONNX|NAME", help="Whose answers decide."
)
@click.option("--teacher-weights", metavar="FILE", help="Weights of a --teacher NAME.")
@click.option(
    "--per-class",
    type=click.IntRange(min=1),
    required=True,
    metavar="K",
    help="Photos of a class at most.",
)
@click.option(
    "--least",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="P",
    help="Smallest probability of a photo's class.",
)
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    metavar="DIR",
    help="Where the lists go, and what a stop leaves.",
)
@click.option("--root", metavar="DIR", help="Folder that the paths of a list start from.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    metavar="N",
    help="Photos at a time.",
)
@click.option(
    "--devices",
    metavar="0,1|cpu:N",
    help="Share the pool among a process on each of these GPUs, or N on the CPU; the choice is "
    "the same.",
)
def select_command(
    pool: str,
    teacher: str,
    teacher_weights: str | None,
    per_class: int,
    least: float,
    folder: str,
    root: str | None,
    batch_size: int,
    devices: str | None,
) -> None:
    """Choose from POOL the photos that a teacher is surest of, K for each class.

    POOL is a folder, at any depth, or a list with one path per line; millions are fine. Run the
    same line again to go on with a stopped selection. DIR/selected.txt is a list for
    'ppclas distill train --extra'.

    \b
    Example:
      ppclas distill select pool/ --teacher runs/ResNet50_vd-1 --per-class 400 -o selected
      ppclas distill select pool/ --teacher runs/ResNet50_vd-1 --per-class 400 -o best --devices 0,1
    """
    from ppclas_distill.pipeline import photo_counter
    from ppclas_distill.scorer import open_scorer
    from ppclas_distill.select import select
    from ppclas_engine.console import Console

    from ppclas_cli.shards import scoring_in_shards

    console = Console()
    config = _teacher(teacher, teacher_weights)
    scorer = open_scorer(config)
    alone = nullcontext((1, scorer.answer))
    asking = alone if devices is None else scoring_in_shards(devices, config)
    with can_go_on(console), asking as (at_once, answer):
        result = select(
            pool,
            answer,
            scorer.class_names,
            Path(folder),
            per_class=per_class,
            least=least,
            batch_size=batch_size,
            at_once=at_once,
            root=root,
            teacher=scorer.fingerprint,
            note=console.line,
            on_batch=photo_counter(console),
        )
    few, most = min(result.per_class), max(result.per_class)
    console.line(
        f"{result.chosen} of {result.photos} photos chosen, "
        f"{few if few == most else f'{few} to {most}'} per class; "
        f"{result.unreadable} could not be read"
    )
    click.echo(Path(folder) / "selected.txt")


@distill.command("dedup", short_help="Find validation photos in a pool.")
@click.argument("pool")
@click.option(
    "--against", required=True, metavar="PATH", help="Validation photos: a folder or a list file."
)
@click.option(
    "-o", "--output", "folder", required=True, metavar="DIR", help="Where the report goes."
)
@click.option("--root", metavar="DIR", help="Folder that the paths of lists start from.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    metavar="N",
    help="Photos looked at at once.",
)
@output.JSON_OPTION
def dedup_command(
    pool: str, against: str, folder: str, root: str | None, threads: int, as_json: bool
) -> None:
    """Find the photos of POOL that show a validation photo: the same, mirrored, cropped,
    brightened, recompressed.

    Nothing is deleted. DIR/kept.txt lists the rest of the pool, DIR/removed.csv what was found,
    each with its validation photo, and DIR/removed.png shows the pairs side by side. Run the same
    line again to go on after a stop.

    \b
    Example:
      ppclas distill dedup selected/selected.txt --against photos/val -o clean
    """
    from ppclas_distill.dedup_report import dedup
    from ppclas_distill.pipeline import photo_counter
    from ppclas_engine.console import Console

    console = Console()
    with can_go_on(console):
        report = dedup(
            pool,
            against,
            Path(folder),
            root=root,
            threads=threads,
            note=console.line,
            on_photo=photo_counter(console),
        )
    for text in report.unreadable[:10]:
        console.warn(f"{text} (left out)")
    console.line(
        f"{len(report.matches)} of {report.photos} photos show one of the {report.against} "
        f"validation photos; {len(report.unreadable)} could not be read"
    )
    if as_json:
        output.print_json(report.to_dict())
    else:
        click.echo(Path(folder) / "kept.txt")


@distill.command("pipeline", short_help="Run select, distil, fine-tune, fix in order.")
@click.option(
    "-c",
    "--config",
    "source",
    required=True,
    metavar="FILE|NAME",
    help="A pipeline: its stages in order.",
)
@click.option(
    "--output",
    "folder",
    required=True,
    metavar="DIR",
    help="A folder; each stage has its own inside.",
)
@click.option(
    "-o",
    "--override",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a value of the pipeline.",
)
@click.option("--dry-run", is_flag=True, help="Print the stages and which are done, and stop.")
def pipeline_command(source: str, folder: str, overrides: tuple[str, ...], dry_run: bool) -> None:
    """Run the stages of a pipeline in order: select, distil, fine-tune, fix.

    Run the same line again to go on with a stopped pipeline: stages that are done are left alone,
    the one that was stopped goes on from its checkpoint.

    \b
    Example:
      ppclas distill pipeline -c pipeline.yaml --output runs/ssld
      ppclas distill pipeline -c ssld-mobilenetv3-large --output runs/ssld --dry-run
    """
    from ppclas_distill.pipeline import run_pipeline
    from ppclas_distill.stages import load_pipeline
    from ppclas_engine.console import Console

    run_pipeline(load_pipeline(source, overrides), Path(folder), Console(), dry_run=dry_run)


@contextmanager
def can_go_on(console: Console) -> Iterator[None]:
    """Tell who presses Ctrl-C that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        console.line("stopped. The same command again goes on from here")
        raise


def _teacher(source: str, weights: str | None) -> TeacherConfig:
    from ppclas_distill.teacher import TeacherConfig

    return TeacherConfig(source=source, weights=weights)
