"""``ppclas train``: train or fine-tune a classifier."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppclas_cli import training_screen
from ppclas_cli.augmenting import augmented
from ppclas_cli.folds import check_folds, resume_folds, train_folds
from ppclas_cli.train_flags import NumberOr, everyday_options, flags_of, machines
from ppclas_cli.tuned import Tuning, print_gain

if TYPE_CHECKING:
    from ppclas_core.config.schema import Config
    from ppclas_engine.console import Console
    from ppclas_engine.loop.train import RunResult
    from ppclas_engine.planning.plan import Plan

_AUTO = "auto"


@click.command(name="train")
@click.argument("data", required=False)
@click.option(
    "--train",
    "train_list",
    metavar="PATH",
    help="Training photos: a folder, a list file or a CSV (as DATA).",
)
@click.option(
    "--val",
    metavar="PATH",
    help="Validation photos. Without it: found beside the training photos, or a split.",
)
@click.option(
    "-c",
    "--config",
    "source",
    metavar="FILE|RECIPE",
    help="A YAML file, or a name of 'ppclas recipes list'.",
)
@click.option(
    "-o",
    "--override",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set any config value.",
)
@click.option("-m", "--model", metavar="NAME", help="A name of 'ppclas models list'.")
@click.option(
    "--pretrained",
    is_flag=False,
    flag_value="true",
    metavar="[FILE]",
    help="Start from these weights. Without it, or alone: from the published ones.",
)
@click.option(
    "--from-scratch",
    is_flag=True,
    default=None,
    help="Start from random weights, which takes many photos and much time.",
)
@click.option(
    "--epochs", type=click.IntRange(min=1), metavar="N", help="Passes over the training photos."
)
@click.option(
    "--batch-size",
    type=NumberOr("auto", click.IntRange(min=1)),
    metavar="N|auto",
    help="Images per step; auto: as many as fit into memory and still bring speed, measured.",
)
@click.option(
    "--lr",
    type=NumberOr("find", click.FloatRange(min=0, min_open=True)),
    metavar="RATE|find",
    help="Peak learning rate; find: by a range test of 80 steps.",
)
@click.option(
    "--image-size",
    type=click.IntRange(min=8),
    metavar="N",
    help="Side of what the model sees, in pixels.",
)
@click.option(
    "--resize-mode",
    type=click.Choice(["center", "squash", "letterbox", "none"]),
    help="How photos get that size: center crop, squashed, with bars, or a part of them as it is.",
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "gpu"]), help="auto: the GPU where there is one."
)
@click.option(
    "--devices",
    metavar="LIST",
    help="Several at once: GPU numbers (0,1,2,3), or processes on the CPU (cpu:2).",
)
@click.option(
    "--nnodes",
    default="1",
    callback=lambda _, __, value: machines(value),
    metavar="N|MIN:MAX",
    help="Machines that train together; as a range, so many as are there.",
)
@click.option("--master", metavar="HOST:PORT", help="Of machine 0, for several machines.")
@click.option(
    "--rank",
    "machine",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="This machine's number.",
)
@click.option(
    "--max-restarts",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="With several devices: start again from the last checkpoint when one's process was ended "
    "from outside, up to N times.",
)
@click.option(
    "--class-weights",
    type=click.Choice(["balanced"]),
    help="balanced: rare classes count as much as frequent ones.",
)
@click.option(
    "--tracker",
    "trackers",
    multiple=True,
    metavar="NAME",
    help="Send the metrics to TensorBoard or VisualDL as well ('ppclas plugins' lists all); may "
    "be repeated.",
)
@click.option(
    "--vdl-dir",
    metavar="DIR",
    help="VisualDL logs, a subfolder for each run: --tracker VisualDL with this folder.",
)
@click.option(
    "--output", metavar="DIR", help="The run folder itself. Without it: runs/<model>-<n>."
)
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", help="The same seed gives the same weights."
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    metavar="N",
    help="Processes that read photos; 0: none beside this one.",
)
@click.option(
    "--reader", metavar="NAME", help="Who reads the photos: workers, or dali where there is a GPU."
)
@click.option(
    "--resume",
    is_flag=False,
    flag_value=_AUTO,
    metavar="[RUN]",
    help="Go on with a stopped run; alone: --output's, or the newest one.",
)
@click.option(
    "--change-recipe",
    is_flag=True,
    help="With --resume: go on with what else is said here in place of the run's own.",
)
@click.option(
    "--amp",
    is_flag=False,
    flag_value="bf16",
    type=click.Choice(["bf16", "fp16"]),
    help="Mixed precision; alone: bf16.",
)
@click.option(
    "--ema",
    is_flag=False,
    flag_value=0.9999,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="[DECAY]",
    help="Evaluate a moving average of the weights too, and keep the better; alone: 0.9999.",
)
@click.option(
    "--accumulate", type=click.IntRange(min=1), metavar="N", help="Batches that make one step."
)
@click.option(
    "--compile", is_flag=True, default=None, help="Trace the model into a graph for training."
)
@everyday_options
@click.option("--dry-run", is_flag=True, help="Print what would be trained, and stop.")
def command(
    source: str | None,
    overrides: tuple[str, ...],
    resume: str | None,
    change_recipe: bool,
    dry_run: bool,
    nnodes: tuple[int, int],
    max_restarts: int,
    master: str | None,
    machine: int,
    augment: str | None,
    test_data: str | None,
    fix: int | None,
    fixed_run: str | None,
    kfold: int | None,
    group: str | None,
    verbose: bool,
    **given: Any,
) -> None:
    """Train or fine-tune an image classifier on the photos in DATA.

    DATA is a folder with a folder of photos per class, a list file (path, label per line) or a
    CSV. What is not said is inferred and printed. With no arguments: a demo on built-in photos.

    \b
    Examples:
      ppclas train
      ppclas train flowers/ --model ResNet50
      ppclas train --train train.txt --val val.txt --epochs 20 -o optimizer.weight_decay=1e-5
      ppclas train photos/ --augment medium --test held_out/ --name tulips
      ppclas train photos/ --batch-size auto --lr find
      ppclas train --fix 320 --from runs/MobileNetV2-1
      ppclas train photos/ --kfold 5 --group 'patient_([0-9]+)'
      ppclas train --resume runs/MobileNetV2-1
      ppclas train photos/ --devices 0,1,2,3 --batch-size 256
    """
    from ppclas_core.config.load import load_config
    from ppclas_core.config.schema import Config
    from ppclas_engine.console import Console
    from ppclas_engine.ranks.meeting import meeting
    from ppclas_engine.session import (
        follow,
        follow_elsewhere,
        join_launched,
        make_launch,
        plan_run,
        run_config,
        train_plan,
    )

    flags = flags_of(given)
    options = click.get_current_context().params
    check_folds(options, kfold, group)
    tuning = Tuning.of(options)
    if change_recipe and resume is None:
        raise click.UsageError("--change-recipe goes with --resume.")
    if augment is not None and resume is not None:
        raise click.UsageError(
            "--augment is for a new run; one to --resume has its own transforms."
        )
    if test_data is not None and not Path(test_data).exists():
        raise click.UsageError(f"--test {test_data}: there is no such folder, list or CSV.")
    said = bool(
        source
        or overrides
        or any(value is not None for option, (_, value) in flags.items() if option != "--output")
    )
    with tuning.source(source) as file:
        loaded = load_config(file, overrides, flags) if said or resume is None else None
    console = Console()
    places: dict[str, Any] = {"machines": nnodes[1], "machine": machine, "master": master}
    places["restarts"] = max_restarts
    seconds = (loaded.config if loaded is not None else Config()).train.join_seconds
    places["gather"] = click.get_current_context().with_resource(
        meeting(machine, nnodes, master, seconds, console.line)
    )
    if not join_launched(loaded.config if loaded is not None else Config()):
        follow(console)
        return
    if machine > 0:
        if loaded is None:
            raise click.UsageError(
                "Machines other than the first need the whole command too, beside --resume."
            )
        launch = make_launch(loaded.config, **places)
        follow_elsewhere(loaded.config, launch)
        return
    run = _run_to_resume(resume, given["output"], console) if resume is not None else None
    if run is not None and resume_folds(run, console):
        return
    if run is not None:
        if said and (change_recipe or source is None):
            run_config(run)  # says so where it is no run
            loaded = load_config(source or str(run / "config.yaml"), overrides, flags)
        config = loaded.config if loaded is not None else None
        result = _resume(run, config, console, places, change_recipe=change_recipe)
        training_screen.print_result(result, test_data)
        return
    assert loaded is not None
    _check_there_is_something_to_train_on(source, loaded.config)
    for note in loaded.notes:
        console.line(note)
    if kfold is not None:
        train_folds(loaded.config, kfold, group, augment, console, verbose=verbose)
        return
    # Without a network the plan says so, as the run would.
    offline = os.environ.get("PPCLAS_OFFLINE", "0") not in ("", "0")
    settled = tuning.config(loaded.config, console)
    plan = plan_run(settled, download=offline or not dry_run)
    if augment is not None:
        plan = augmented(plan, augment)
    plan = tuning.plan(plan, console)
    training_screen.print_plan(plan, console, verbose=verbose, estimate=dry_run)
    if dry_run:
        _try_weights(plan, console)
    else:
        before = tuning.before(console)
        with tuning.curve_kept():
            launch = make_launch(plan.config, **places)
            result = train_plan(plan, console, ["ppclas", *sys.argv[1:]], launch)
        print_gain(before, result.best, console)
        training_screen.print_result(result, test_data)


def _try_weights(plan: Plan, console: Console) -> None:
    """Load the weights as the run would, say what became of their tensors, and try the freezing.

    Raises:
        PpclasError: there are none, they do not fit the model, or it has no such stage to freeze.
    """
    from ppclas_components.optimizing import expand_stages
    from ppclas_core.models import create_model
    from ppclas_engine.loop.channels import load_fitting

    if plan.weights is None or not plan.weights.is_absolute():  # or they are yet to come
        return
    section = plan.config.model
    model = create_model(section.name, len(plan.train.class_names), **section.params)
    console.line(f"{plan.weights.name}: {load_fitting(model, plan.weights)[1]}")
    model.freeze(expand_stages(model, plan.config.train.freeze))


def _run_to_resume(resume: str, output: str | None, console: Console) -> Path | None:
    """The run folder to go on with; None where ``--output`` names one that is yet to be made."""
    from ppclas_engine.runs.run import find_unfinished

    if resume != _AUTO:
        return Path(resume)
    if output is None:
        return find_unfinished().path
    if (Path(output) / "config.yaml").is_file():
        return Path(output)
    console.line(f"there is no run in {output} yet: starting it")
    return None


def _resume(
    folder: Path,
    config: Config | None,
    console: Console,
    places: dict[str, Any],
    *,
    change_recipe: bool,
) -> RunResult | None:
    """Go on with a run. None where it has finished already.

    What was said beside ``--resume`` must agree with it, unless ``change_recipe``.
    """
    from ppclas_engine.runs.run import RunFolder
    from ppclas_engine.session import (
        check_same_recipe,
        make_launch,
        resume,
        run_config,
        tell_changes,
    )

    if RunFolder(folder).finished.exists():
        console.line(
            f"The run in {folder} has finished already. Evaluate it with: ppclas eval "
            f"{shlex.quote(str(folder))}"
        )
        return None
    if config is not None:
        config = (
            tell_changes(folder, config, console)
            if change_recipe
            else check_same_recipe(folder, config)
        )
    return resume(folder, console, config, make_launch(config or run_config(folder), **places))


def _check_there_is_something_to_train_on(source: str | None, config: Config) -> None:
    """Refuse a file for evaluation, in whose place the built-in photos would be trained on."""
    from ppclas_core.errors import ConfigError

    data, model = config.data, config.model
    if source is None or data.train is not None or data.val is None:
        return
    weights = model.pretrained if isinstance(model.pretrained, str) else "FILE"
    words = ["ppclas", "eval", "--model", model.name, "--weights", weights, "--data", data.val]
    raise ConfigError(
        f"{source}: it names validation photos alone, so there is nothing to train on. To measure "
        f"a model on them: {shlex.join(words)}"
    )
