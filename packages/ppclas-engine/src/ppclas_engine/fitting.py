"""Fit a plan: in this process, or in the ranks that it starts; what each rank does."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppclas_core.config.load import load_config
from ppclas_core.config.schema import Config
from ppclas_core.errors import CheckpointError, ConfigError, DataError, PpclasError, TrainingError

from ppclas_engine.console import Console
from ppclas_engine.loop.train import RunResult, Trainer
from ppclas_engine.planning.device import device_of, select_device
from ppclas_engine.planning.plan import Plan, plan_run
from ppclas_engine.ranks.distributed import current, join
from ppclas_engine.ranks.failure import RankLostError
from ppclas_engine.ranks.launch import Devices, Launch, start_and_watch
from ppclas_engine.runs.checkpoint import Checkpoint, load_checkpoint, previous_of
from ppclas_engine.runs.run import RunFolder


def make_launch(
    config: Config,
    *,
    machines: int = 1,
    machine: int = 0,
    master: str | None = None,
    restarts: int = 0,
    gather: Callable[[Launch], Launch] | None = None,
) -> Launch:
    """What ``train.devices`` asks for on this machine, number ``machine`` of ``machines``.

    Raises:
        ConfigError: the address of machine 0, the run folder or the devices are not said where they
            must be.
    """
    if machines > 1 and config.train.devices is None:
        raise ConfigError(
            "Several machines need to know what each trains on: --devices 0,1,2,3 or cpu:2."
        )
    if machines > 1 and config.train.output is None:
        raise ConfigError("Several machines need one name for the run: --output DIR.")
    devices = Devices.parse(config.train.devices or "cpu:1")
    return Launch(devices, machines, machine, master, restarts, gather)


def start(
    plan: Plan,
    run: RunFolder,
    console: Console,
    checkpoint: Checkpoint | None,
    launch: Launch | None,
) -> RunResult:
    """Train in this process, or in the ranks that it starts; a failure says how to go on."""
    launch = launch or make_launch(plan.config)
    try:
        if not launch.needed or not current().alone:
            return _fit(plan, run, console, checkpoint)
        return _fit_in_ranks(plan, run, console, launch, resumed=checkpoint is not None)
    except PpclasError as error:
        if run.last.exists() and "--resume" not in str(error):
            name = shlex.quote(str(run.path))
            console.line(
                "The checkpoints are whole. Once the cause is put right, go on with: ppclas train "
                f"--resume {name}"
            )
        raise


def _fit_in_ranks(
    plan: Plan, run: RunFolder, console: Console, launch: Launch, *, resumed: bool
) -> RunResult:
    console.close_log()  # rank 0 goes on with it
    job = _job(plan.config, run, resumed=resumed)
    try:
        with system_errors_explained(run):
            _watch(launch, job, run.logs, console, run)
    except Exception as error:  # raised again: the log says of every failure what it was
        console.open_log(run.log)
        console.log(f"error: {error}")
        console.close_log()
        raise
    summary = json.loads(run.finished.read_text(encoding="utf-8"))
    history = [json.loads(line) for line in run.history.read_text(encoding="utf-8").splitlines()]
    return RunResult(run, summary["best"], history, None)


def _watch(
    launch: Launch, job: dict[str, Any], logs: Path, console: Console, run: RunFolder | None
) -> None:
    """Start the ranks, and again after one was ended from outside, from the last checkpoint.

    A device whose rank is ended twice before there is a new checkpoint is left out.
    """
    last: tuple[int | None, float] | None = None
    for left in range(launch.restarts, -1, -1):
        try:
            start_and_watch(launch.gather(launch) if launch.gather else launch, job, logs)
            return
        except RankLostError as error:
            if not left:
                raise
            written = run.last.stat().st_mtime if run is not None and run.last.exists() else 0.0
            lines = [f"{error} Starting the ranks again from the last checkpoint."]
            if error.rank is not None and (error.rank, written) == last and launch.machines == 1:
                device = launch.devices.names[error.rank]
                launch = launch.without(error.rank)
                lines.append(
                    f"device {device} is left out: its rank was ended twice without progress. The "
                    f"run goes on with {launch.ranks}, and is no longer the same bit for bit."
                )
            last = (error.rank, written)
            if run is not None:
                console.open_log(run.log)
            for line in lines:
                console.warn(line)
            console.close_log()
            job = {**job, "resumed": True}


def follow_elsewhere(config: Config, launch: Launch, console: Console | None = None) -> None:
    """The ranks of a machine that is not machine 0: they get plan and weights from rank 0."""
    assert config.train.output is not None
    logs = Path(f"{config.train.output}-machine{launch.machine}") / "logs"
    _watch(launch, _job(config, None, resumed=False), logs, console or Console(), None)


def _job(config: Config, run: RunFolder | None, *, resumed: bool) -> dict[str, Any]:
    return {
        "run": str(run.path.absolute()) if run is not None else None,
        "device": device_of(config),
        "join_seconds": config.train.join_seconds,
        "resumed": resumed,
    }


def run_rank(
    run_path: Path | None, console: Console, *, device: str, join_seconds: float, resumed: bool
) -> None:
    """The work of one rank: rank 0 of the run in ``run_path``, or one that follows it."""
    ranks = join(select_device(device), join_seconds)
    if not ranks.first:
        follow(console)
        return
    assert run_path is not None
    run = RunFolder(run_path)
    plan = plan_run(load_config(str(run.config)).config)
    console.open_log(run.log)
    _fit(plan, run, console, newest_checkpoint(run, console) if resumed else None)


@dataclass(frozen=True)
class _Share:
    """What rank 0 tells the others before the first step."""

    run: Path
    config: Config
    checkpoint: Checkpoint | None


def follow(console: Console) -> None:
    """Train as rank 0 does, with the config and the checkpoint that it has."""
    nothing: _Share | None = None
    shared = current().share(nothing)
    assert shared is not None
    plan = plan_run(shared.config)
    _check_same_photos(plan)
    Trainer(plan, RunFolder(shared.run), console, shared.checkpoint).fit()


def _fit(plan: Plan, run: RunFolder, console: Console, checkpoint: Checkpoint | None) -> RunResult:
    try:
        with system_errors_explained(run):
            current().share(_Share(run.path, plan.config, checkpoint))
            _check_same_photos(plan)
            return Trainer(plan, run, console, checkpoint).fit()
    except Exception as error:  # raised again: the log says of every failure what it was
        console.log(f"error: {error}")
        raise
    finally:
        console.close_log()


def _check_same_photos(plan: Plan) -> None:
    """Every rank reads its part from its own disk: they must hold the same.

    Raises:
        DataError: they do not.
    """
    found = [
        (
            len(images),
            images.class_names,
            hashlib.sha256(
                repr([record.class_ids for record in images.records]).encode()
            ).hexdigest(),
        )
        for images in (plan.train, plan.val)
    ]
    for rank, theirs in enumerate(current().gather(found)):
        if theirs != found:
            raise DataError(
                f"Rank {rank} sees {theirs[0][0]} training and {theirs[1][0]} validation photos of "
                f"{len(theirs[0][1])} classes, this one {found[0][0]} and {found[1][0]} of "
                f"{len(found[0][1])}, or their labels differ. Every machine needs the same photos "
                "under the same path."
            )


def newest_checkpoint(run: RunFolder, console: Console) -> Checkpoint | None:
    """The newest checkpoint of ``run`` that is not damaged; None where it was stopped before its
    first.

    Raises:
        CheckpointError: there are some, and none of them can be read.
    """
    candidates = [path for path in (run.last, previous_of(run.last)) if path.exists()]
    if not candidates:
        console.line(
            f"{run.path} was stopped before its first checkpoint: starting it from the beginning"
        )
        return None
    reasons = []
    for path in candidates:
        try:
            checkpoint = load_checkpoint(path)
        except CheckpointError as error:
            reasons.append(str(error))
            continue
        for reason in reasons:
            console.warn(f"{reason} Going on from {path.name}.")
        state = checkpoint.state
        console.line(
            f"resuming {run.path} after epoch {state['epoch']}, step {state['step_in_epoch']} of "
            "the next"
        )
        return checkpoint
    raise CheckpointError(
        f"No checkpoint of {run.path} can be read: {' '.join(reasons)} Start a new run."
    )


@contextmanager
def system_errors_explained(run: RunFolder) -> Iterator[None]:
    """Turn the system's error on a full disk or a lost drive into a line that says what is left."""
    try:
        yield
    except OSError as error:
        what = f"{error.filename or run.path}: {error.strerror or error}"
        name = shlex.quote(str(run.path))
        raise TrainingError(
            f"The run stopped at {what}. Its checkpoints are whole: put that right and go on with "
            f"--resume {name}"
            if run.last.exists()
            else f"The run stopped at {what}. Nothing was trained yet: put that right or choose "
            "another --output."
        ) from error
