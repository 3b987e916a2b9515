"""From a config to a finished run: device, plan, run folder, training; and back into a run that was stopped."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_core.checkpoint import Checkpoint, load_checkpoint, previous_of
from ppclas_core.config.load import dump_config, load_config
from ppclas_core.config.schema import Config
from ppclas_core.engine.console import Console
from ppclas_core.engine.plan import Device, Plan, make_plan
from ppclas_core.engine.run import RunFolder, create_run_folder
from ppclas_core.errors import CheckpointError, ConfigError, TrainingError
from ppclas_core.files import write_text
from ppclas_core.paddle_runtime import require_paddle

if TYPE_CHECKING:
    from ppclas_core.engine.train import RunResult


def select_device(wanted: str) -> Device:
    """Make ``wanted`` (auto, cpu or gpu) Paddle's device and return which it is.

    Raises:
        TrainingError: a GPU is wanted and Paddle cannot use one.
    """
    paddle = require_paddle("training")
    usable = paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if wanted == "gpu" and not usable:
        reason = (
            "it sees no GPU" if paddle.device.is_compiled_with_cuda() else "the installed build is for the CPU alone"
        )
        raise TrainingError(f"device gpu: Paddle cannot use one ({reason}). Run 'ppclas doctor', or use --device cpu.")
    device: Device = "gpu" if usable and wanted != "cpu" else "cpu"
    paddle.set_device(device)
    return device


def plan_run(config: Config) -> Plan:
    """What training with ``config`` would do here."""
    return make_plan(config, select_device(config.train.device))


def train(config: Config, console: Console | None = None, command: Sequence[str] | None = None) -> RunResult:
    """Train in a new run folder; ``command`` is what ``command.txt`` says.

    Raises:
        PpclasError: see its subclasses; nothing already saved is lost.
    """
    console = console or Console()
    plan = plan_run(config)
    return train_plan(plan, console, command)


def train_plan(plan: Plan, console: Console, command: Sequence[str] | None = None) -> RunResult:
    """Train a plan in a new run folder, which goes again when the run fails before its first checkpoint."""
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
        return _fit(plan, run, console, None)
    except BaseException:
        console.close_log()
        if not run.last.exists():
            run.discard(keep_folder=existed)
        raise


def resume(folder: Path, console: Console | None = None, config: Config | None = None) -> RunResult:
    """Go on with the run in ``folder`` from its newest undamaged checkpoint.

    ``config`` replaces the run's own; without it the run goes on exactly as it was.

    Raises:
        CheckpointError: the folder holds no run, or none of its checkpoints can be read.
    """
    console = console or Console()
    run = RunFolder(folder)
    if not run.config.is_file():
        raise CheckpointError(f"{folder} is not a run folder (it has no config.yaml). Start a run with: ppclas train")
    if run.finished.exists():
        raise CheckpointError(
            f"The run in {folder} has finished. Evaluate it with: ppclas eval {shlex.quote(str(folder))}"
        )
    plan = plan_run(config or load_config(str(run.config)).config)
    console.open_log(run.log)
    checkpoint = _newest_checkpoint(run, console)
    return _fit(plan, run, console, checkpoint)


_FREE_TO_CHANGE = ("data.workers", "train.output", "train.log_every", "train.checkpoint_minutes")
"""What does not change a run's weights, and so may differ when it is resumed."""


def check_same_recipe(folder: Path, config: Config) -> Config:
    """The resolved ``config``, if it is the one that the run in ``folder`` was started with.

    Raises:
        ConfigError: it is another one; the message lists what differs.
    """
    run = RunFolder(folder)
    if not run.config.is_file():
        raise CheckpointError(f"{folder} is not a run folder (it has no config.yaml). Start a run with: ppclas train")
    before = load_config(str(run.config)).config
    now = plan_run(config).config
    different = [
        f"{key} was {old!r}, now {new!r}"
        for key, old, new in _differences(before.model_dump(mode="json"), now.model_dump(mode="json"))
        if not key.startswith(_FREE_TO_CHANGE)
    ]
    if different:
        raise ConfigError(
            f"The run in {folder} was started with another recipe: {'; '.join(different)}. "
            f"Go on with it as it is (--resume {shlex.quote(str(folder))} alone), or start a new run."
        )
    return now


def _differences(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            yield from _differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif before != now:
        yield key, before, now


def _newest_checkpoint(run: RunFolder, console: Console) -> Checkpoint | None:
    candidates = [path for path in (run.last, previous_of(run.last)) if path.exists()]
    if not candidates:
        console.line(f"{run.path} was stopped before its first checkpoint: starting it from the beginning")
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
        console.line(f"resuming {run.path} after epoch {state['epoch']}, step {state['step_in_epoch']} of the next")
        return checkpoint
    raise CheckpointError(f"No checkpoint of {run.path} can be read: {' '.join(reasons)} Start a new run.")


def _fit(plan: Plan, run: RunFolder, console: Console, checkpoint: Checkpoint | None) -> RunResult:
    from ppclas_core.engine.train import Trainer

    try:
        with _system_errors_explained(run):
            return Trainer(plan, run, console, checkpoint).fit()
    except Exception as error:
        console.log(f"error: {error}")
        raise
    finally:
        console.close_log()


@contextmanager
def _system_errors_explained(run: RunFolder) -> Iterator[None]:
    """Turn what the system says of a full disk or a lost drive into one line that says what is left."""
    try:
        yield
    except OSError as error:
        what = f"{error.filename or run.path}: {error.strerror or error}"
        name = shlex.quote(str(run.path))
        raise TrainingError(
            f"The run stopped at {what}. Its checkpoints are whole: put that right and go on with --resume {name}"
            if run.last.exists()
            else f"The run stopped at {what}. Nothing was trained yet: put that right or choose another --output."
        ) from error
