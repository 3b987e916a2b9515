"""From a config to a finished run, and back into a run that was stopped."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ppclas_core.config.load import dump_config, load_config
from ppclas_core.config.schema import Config
from ppclas_core.errors import CheckpointError, ConfigError
from ppclas_core.files import write_text

from ppclas_engine.console import Console
from ppclas_engine.fitting import (
    follow,
    follow_elsewhere,
    make_launch,
    newest_checkpoint,
    start,
    system_errors_explained,
)
from ppclas_engine.loop.train import RunResult
from ppclas_engine.planning.device import device_of, select_device
from ppclas_engine.planning.plan import Plan, plan_run
from ppclas_engine.ranks.distributed import join, launched_ranks
from ppclas_engine.ranks.launch import Launch
from ppclas_engine.ranks.schedulers import adopt_scheduler
from ppclas_engine.runs.run import RunFolder, create_run_folder

__all__ = [
    "check_same_recipe",
    "follow",
    "follow_elsewhere",
    "join_launched",
    "make_launch",
    "plan_run",
    "resume",
    "run_config",
    "tell_changes",
    "train",
    "train_plan",
]
"""All that a command needs to train, whichever module it is in."""


def join_launched(config: Config) -> bool:
    """Where a launcher, Slurm or MPI has started this process as one of several ranks: meet the
    others.

    Rank 0 goes on as if it were alone. False for the others: they are to ``follow`` it.
    """
    if config.train.devices is None:
        adopt_scheduler()
    if launched_ranks() == 1:
        return True
    ranks = join(select_device(device_of(config)), config.train.join_seconds)
    return ranks.first


def train(
    config: Config, console: Console | None = None, command: Sequence[str] | None = None
) -> RunResult:
    """Train in a new run folder; ``command`` is what ``command.txt`` says.

    Raises:
        PpclasError: see its subclasses; nothing already saved is lost.
    """
    console = console or Console()
    plan = plan_run(config)
    return train_plan(plan, console, command)


def train_plan(
    plan: Plan, console: Console, command: Sequence[str] | None = None, launch: Launch | None = None
) -> RunResult:
    """Train a plan in a new run folder, which goes again when the run fails before its first
    checkpoint.

    ``launch`` says where; without it ``train.devices`` of this machine.
    """
    output = plan.config.train.output
    existed = output is not None and Path(output).exists()
    run = create_run_folder(output, plan.config.model.name)
    try:
        with system_errors_explained(run):
            # config.yaml last: a folder that has one can be resumed.
            run.write_command(command)
            write_text(run.config, dump_config(plan.config))
            console.open_log(run.log)
            for note in plan.notes:
                console.log(note)
        with run.locked():
            return start(plan, run, console, None, launch)
    except BaseException:  # Ctrl-C too leaves no folder of a run that has not begun
        console.close_log()
        if not run.last.exists():
            run.discard(keep_folder=existed)
        raise


def resume(
    folder: Path,
    console: Console | None = None,
    config: Config | None = None,
    launch: Launch | None = None,
) -> RunResult:
    """Go on with the run in ``folder`` from its newest undamaged checkpoint.

    ``config`` replaces the run's own; without it the run goes on exactly as it was. ``launch`` is
    as for ``train_plan``.

    Raises:
        CheckpointError: the folder holds no run, or none of its checkpoints can be read.
    """
    console = console or Console()
    run, own = RunFolder(folder), run_config(folder)
    if run.finished.exists():
        raise CheckpointError(
            f"The run in {folder} has finished. Evaluate it with: ppclas eval "
            f"{shlex.quote(str(folder))}"
        )
    plan = plan_run(config or own)
    if config is not None:
        write_text(run.config, dump_config(plan.config))
    console.open_log(run.log)
    with run.locked():
        return start(plan, run, console, newest_checkpoint(run, console), launch)


_FREE_TO_CHANGE = (
    "data.reader",
    "data.workers",
    "train.device",
    "train.devices",
    "train.join_seconds",
    "train.output",
    "train.shard",
    "train.log_every",
    "train.checkpoint_minutes",
    "train.bad_steps",
)
"""What does not change a run's weights (beyond rounding), and so may differ when it is resumed."""


def run_config(folder: Path) -> Config:
    """The config that the run in ``folder`` was started with.

    Raises:
        CheckpointError: the folder holds no run.
    """
    run = RunFolder(folder)
    if not run.config.is_file():
        raise CheckpointError(
            f"{folder} is not a run folder (it has no config.yaml). Start a run with: ppclas train"
        )
    return load_config(str(run.config)).config


def check_same_recipe(folder: Path, config: Config) -> Config:
    """The resolved ``config``, if it is the one that the run in ``folder`` was started with.

    Raises:
        ConfigError: it is another one; the message lists what differs.
    """
    before, now = run_config(folder), plan_run(config).config
    different = [
        f"{key} was {old!r}, now {new!r}"
        for key, old, new in _changes(before, now)
        if not key.startswith(_FREE_TO_CHANGE)
    ]
    if different:
        raise ConfigError(
            f"The run in {folder} was started with another recipe: {'; '.join(different)}. Go on "
            f"with it as it is (--resume {shlex.quote(str(folder))} alone), ask for the change "
            "with --change-recipe, or start a new run."
        )
    return now


def tell_changes(folder: Path, config: Config, console: Console) -> Config:
    """The resolved ``config``, with a line for each value that is not the run's own."""
    before, now = run_config(folder), plan_run(config).config
    for key, old, new in _changes(before, now):
        console.line(f"changed: {key} was {old!r}, now {new!r}")
    return now


def _changes(before: Config, now: Config) -> Iterator[tuple[str, Any, Any]]:
    return _differences(before.model_dump(mode="json"), now.model_dump(mode="json"))


def _differences(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            yield from _differences(
                before.get(name), now.get(name), f"{key}.{name}" if key else name
            )
    elif before != now:
        yield key, before, now
