"""From a config to a finished run: device, plan, run folder, training; and back into a run that was
stopped.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppclas_core.config.load import dump_config, load_config
from ppclas_core.config.schema import Config
from ppclas_core.errors import CheckpointError, ConfigError, DataError, PpclasError, TrainingError
from ppclas_core.files import write_text
from ppclas_core.paddle_runtime import require_paddle

from ppclas_engine.console import Console
from ppclas_engine.loop.train import RunResult, Trainer
from ppclas_engine.planning.plan import Device, Plan, make_plan
from ppclas_engine.ranks.distributed import current, join, launched_ranks
from ppclas_engine.ranks.launch import Devices, Launch, start_and_watch
from ppclas_engine.runs.checkpoint import Checkpoint, load_checkpoint, previous_of
from ppclas_engine.runs.run import RunFolder, create_run_folder


def select_device(wanted: str) -> Device:
    """Make ``wanted`` (auto, cpu or gpu) Paddle's device and return which it is.

    Raises:
        TrainingError: a GPU is wanted and Paddle cannot use one.
    """
    paddle = require_paddle("training")
    usable = paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if wanted == "gpu" and not usable:
        reason = (
            "it sees no GPU"
            if paddle.device.is_compiled_with_cuda()
            else "the installed build is for the CPU alone"
        )
        raise TrainingError(
            f"device gpu: Paddle cannot use one ({reason}). Run 'ppclas doctor', or use --device "
            "cpu."
        )
    device: Device = "gpu" if usable and wanted != "cpu" else "cpu"
    paddle.set_device(device)
    return device


def plan_run(config: Config) -> Plan:
    """What training with ``config`` would do here."""
    return make_plan(config, select_device(_device_of(config)))


def _device_of(config: Config) -> str:
    if config.train.devices is None:
        return config.train.device
    kind = Devices.parse(config.train.devices).kind
    if config.train.device not in ("auto", kind):
        raise ConfigError(
            f"train.devices {config.train.devices!r} and train.device {config.train.device!r} "
            "disagree: give one."
        )
    return kind


def make_launch(
    config: Config, *, machines: int = 1, machine: int = 0, master: str | None = None
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
    return Launch(Devices.parse(config.train.devices or "cpu:1"), machines, machine, master)


def join_launched(config: Config) -> bool:
    """Where a launcher has started this process as one of several ranks: meet the others.

    Rank 0 goes on as if it were alone. False for the others: they are to ``follow`` it.
    """
    if launched_ranks() == 1:
        return True
    ranks = join(select_device(_device_of(config)), config.train.join_seconds)
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
        with _system_errors_explained(run):
            # config.yaml last: a folder that has one can be resumed.
            run.write_command(command)
            write_text(run.config, dump_config(plan.config))
            console.open_log(run.log)
            for note in plan.notes:
                console.log(note)
        return _start(plan, run, console, None, launch)
    except BaseException:
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
    return _start(plan, run, console, _newest_checkpoint(run, console), launch)


_FREE_TO_CHANGE = (
    "data.reader",
    "data.workers",
    "train.device",
    "train.devices",
    "train.join_seconds",
    "train.output",
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


def _newest_checkpoint(run: RunFolder, console: Console) -> Checkpoint | None:
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


def _start(
    plan: Plan,
    run: RunFolder,
    console: Console,
    checkpoint: Checkpoint | None,
    launch: Launch | None,
) -> RunResult:
    """Train in this process, or in the ranks that it starts. Of a failure, say how to go on after
    it.
    """
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
        with _system_errors_explained(run):
            start_and_watch(launch, job, run.logs)
    except Exception as error:
        console.open_log(run.log)
        console.log(f"error: {error}")
        console.close_log()
        raise
    summary = json.loads(run.finished.read_text(encoding="utf-8"))
    history = [json.loads(line) for line in run.history.read_text(encoding="utf-8").splitlines()]
    return RunResult(run, summary["best"], history, None)


def follow_elsewhere(config: Config, launch: Launch) -> None:
    """The ranks of a machine that is not machine 0: they get plan and weights from rank 0."""
    assert config.train.output is not None
    logs = Path(f"{config.train.output}-machine{launch.machine}") / "logs"
    start_and_watch(launch, _job(config, None, resumed=False), logs)


def _job(config: Config, run: RunFolder | None, *, resumed: bool) -> dict[str, Any]:
    return {
        "run": str(run.path.absolute()) if run is not None else None,
        "device": _device_of(config),
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
    _fit(plan, run, console, _newest_checkpoint(run, console) if resumed else None)


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
        with _system_errors_explained(run):
            current().share(_Share(run.path, plan.config, checkpoint))
            _check_same_photos(plan)
            return Trainer(plan, run, console, checkpoint).fit()
    except Exception as error:
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


@contextmanager
def _system_errors_explained(run: RunFolder) -> Iterator[None]:
    """Turn what the system says of a full disk or a lost drive into one line that says what is
    left.
    """
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
