"""What can go wrong while a run trains: nothing saved is lost, and the run goes on to the same
weights.
"""

from __future__ import annotations

import errno
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    TrainSection,
)
from ppclas_core.errors import DataError, PpclasError, TrainingError
from ppclas_core.hookspecs import hookimpl
from ppclas_core.testing import use_plugin
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.console import Console
from ppclas_engine.runs.checkpoint import load_checkpoint, previous_of
from ppclas_engine.session import resume, train
from ppclas_engine.testing import FakePlugin

SLOW = pytest.mark.slow

# Kills at random moments

BASE = """
model: {name: FakeNet, pretrained: false}
data: {image_size: 32, batch_size: 8, workers: 1}
schedule: {name: CosineWarmup, lr: 0.02}
train: {epochs: 3, checkpoint_minutes: 0.0001}
"""
MODES = {
    "accumulation": ["-o", "train.accumulate=2"],
    "average": ["--ema", "0.9", "-o", "train.ema_statistics=true"],
    "mixup": [
        *("-o", "data.batch_transforms=[{name: Mixup, alpha: 0.4}]", "-o", "optimizer.name=AdamW"),
        *("-o", "train.average_last=2"),
    ],
    "other workers": [],
    "two ranks": ["--devices", "cpu:2", "-o", "train.sync_batch_norm=true"],
}

# Imports take longer than a whole run here: one process imports, and forks one for each run.
_FORGE = """
import os, signal, sys, time, json, traceback
import paddle
import ppclas_engine.session, ppclas_cli.main, safetensors.numpy
import matplotlib.figure, matplotlib.backends.backend_agg
for line in sys.stdin:
    argv, output, kill_after = json.loads(line)
    deadline = time.monotonic() + (kill_after or 1e9)
    child = os.fork()
    if child == 0:
        os.setsid()
        log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1), os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["ppclas", *argv]
        try:
            code = ppclas_cli.main.main()
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException:
            traceback.print_exc()
            code = 70
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    done, killed = 0, False
    while not done:
        done, status = os.waitpid(child, os.WNOHANG)
        if not done and time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            killed = True
        time.sleep(0.01)
    ended = [killed and os.WIFSIGNALED(status), os.waitstatus_to_exitcode(status)]
    print(json.dumps(ended), flush=True)
"""


class Forge:
    """Runs ``ppclas``, and kills it after a while where that is asked for."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FORGE],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, *arguments: object, kill_after: float | None = None) -> bool:
        """Whether it was killed; what was not must end well."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(
            json.dumps([[str(a) for a in arguments], str(self._log), kill_after]) + "\n"
        )
        self._process.stdin.flush()
        killed: bool
        killed, code = json.loads(self._process.stdout.readline())
        # A run that ends by a signal of its own (a crash, or the system short of memory) has not
        # been killed by us.
        assert killed or code == 0, f"exit code {code}\n{self._log.read_text()}"
        return killed

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def forge(environment, tiny_net, tmp_path_factory) -> Iterator[Forge]:
    made = Forge(
        {**environment, "PYTHONPATH": str(tiny_net)}, tmp_path_factory.mktemp("forge") / "log.txt"
    )
    yield made
    made.close()


def campaign(forge, photos, folder, mode, kills, assert_same_run, part=1) -> None:
    """Kill a run ``kills`` times, resuming it each time; the end must be that of a run that was
    left alone.
    """
    recipe = folder / "recipe.yaml"
    recipe.write_text(BASE)
    command = ["train", photos, "-c", recipe, *MODES[mode]]
    started = time.monotonic()
    forge.run(*command, "--output", folder / "alone")
    seconds = time.monotonic() - started
    rng = random.Random(f"{mode} {part}")
    done, attempt = 0, 0
    while done < kills:
        run = folder / f"run {attempt}"
        attempt += 1
        finished, done_before, began = False, done, time.monotonic()
        while not finished and done < kills:
            workers = ["--workers", str(rng.randint(0, 2))] if mode == "other workers" else []
            killed = forge.run(
                *command,
                *workers,
                "--output",
                run,
                "--resume",
                kill_after=rng.uniform(0.05, 1.0) * seconds,
            )
            done += killed
            finished = not killed
        # The first run may have been slow: kills are to come before the end.
        if done == done_before:
            seconds = min(seconds, time.monotonic() - began)
        if not finished:
            forge.run(*command, "--output", run, "--resume")
        assert_same_run(run, folder / "alone")


@SLOW
def test_three_kills(forge, tiny_photos, tmp_path, assert_same_run):
    campaign(forge, tiny_photos, tmp_path, "mixup", 3, assert_same_run)


@pytest.mark.sweep
@pytest.mark.parametrize("part", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_fifty_kills_over_five_modes(forge, tiny_photos, tmp_path, assert_same_run, mode, part):
    campaign(forge, tiny_photos, tmp_path, mode, 5, assert_same_run, part)


# Faults in this process


class StopAt(FakePlugin):
    """End the run after a step as a crash would."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    @hookimpl
    def on_step_end(self, context) -> None:
        if context.step == self._step:
            raise RuntimeError("the crash")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "set"
    make_tiny_dataset(folder, classes=3, per_class=10, size=36)
    return folder


def config(photos: Path, run: Path, **data: object) -> Config:
    return Config(
        model=ModelSection(name="FakeNet", pretrained=False),
        data=DataSection(
            train=str(photos), **{"image_size": 32, "batch_size": 8, "workers": 0, **data}
        ),
        schedule=ComponentConfig(name="Constant", lr=0.02),
        train=TrainSection(epochs=2, device="cpu", output=str(run), checkpoint_minutes=1e-6),
    )


@pytest.fixture(scope="module")
def alone(photos, tmp_path_factory) -> Path:
    """A run of 6 steps that nothing happened to."""
    run = tmp_path_factory.mktemp("alone") / "run"
    with use_plugin(FakePlugin()):
        train(config(photos, run), Console(quiet=True))
    return run


def damage_last(run: Path, how: str) -> None:
    last = run / "checkpoints" / "last.safetensors"
    content = bytearray(last.read_bytes())
    if how == "truncated":
        content = content[: len(content) // 2]
    elif how == "zeroed":
        content = bytearray(len(content))
    elif how == "garbled":
        for place in random.Random(1).sample(range(len(content)), 20):
            content[place] ^= 0x55
    else:
        content = bytearray()
    last.unlink()  # not written to in place: best may be the same file
    last.write_bytes(content)


@pytest.mark.parametrize(
    "how", ["garbled", *(pytest.param(h, marks=SLOW) for h in ("truncated", "zeroed", "empty"))]
)
def test_a_damaged_checkpoint_falls_back_to_the_previous_one(
    photos, alone, tmp_path, assert_same_run, capsys, how
):
    run = tmp_path / "run"
    with use_plugin(StopAt(5)), pytest.raises(RuntimeError, match="the crash"):
        train(config(photos, run), Console(quiet=True))
    damage_last(run, how)
    with use_plugin(FakePlugin()):
        resume(run, Console())
    said = capsys.readouterr().err
    assert "last.safetensors is damaged" in said
    assert "Going on from previous.safetensors" in said
    assert_same_run(run, alone)


class FullDisk:
    """Have the ``number``-th flush to disk, and all after it, find no space left."""

    def __init__(self, number: int) -> None:
        self._left, self._fsync = number, os.fsync
        self.reached = False

    def __call__(self, descriptor: int) -> None:
        self._left -= 1
        if self._left <= 0:
            self.reached = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._fsync(descriptor)


@pytest.mark.parametrize(
    "number",
    [
        9,
        *(
            pytest.param(n, marks=SLOW if n in (3, 20) else pytest.mark.sweep)
            for n in range(1, 45)
            if n != 9
        ),
    ],
)
def test_a_full_disk_destroys_no_checkpoint(
    photos, alone, tmp_path, assert_same_run, monkeypatch, number
):
    run, disk = tmp_path / "run", FullDisk(number)
    with use_plugin(FakePlugin()):
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", disk)
            try:
                train(config(photos, run), Console(quiet=True))
            except PpclasError as error:
                assert "No space left" in str(error)  # noqa: PT017 - there may be more flushes than the run makes
        if not disk.reached:
            pytest.skip(f"the run flushes fewer than {number} times")
        last = run / "checkpoints" / "last.safetensors"
        for file in (last, previous_of(last)):
            if file.exists():
                load_checkpoint(file)
        if (run / "summary.json").exists():
            pass
        elif last.exists():
            resume(run, Console(quiet=True))
        else:
            assert not run.exists() or not any(run.iterdir()), (
                "a run that never began leaves nothing behind"
            )
            train(config(photos, run), Console(quiet=True))
    assert_same_run(run, alone)


class MoveAway(FakePlugin):
    """Take the photos away after a step."""

    def __init__(self, photos: Path, step: int) -> None:
        super().__init__()
        self._photos, self._step = photos, step

    @hookimpl
    def on_step_end(self, context) -> None:
        if context.step == self._step:
            self._photos.rename(self._photos.with_name("elsewhere"))


@SLOW
def test_photos_that_vanish_end_the_run_with_one_cause(photos, tmp_path, assert_same_run):
    own = tmp_path / "own"
    shutil.copytree(photos, own)
    run, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    with use_plugin(FakePlugin()):
        train(config(own, undisturbed), Console(quiet=True))
    with (
        use_plugin(MoveAway(own, 2)),
        pytest.raises(DataError, match=r"unreadable images? in .*own.*No such file"),
    ):
        train(config(own, run), Console(quiet=True))
    with use_plugin(FakePlugin()):
        with pytest.raises(DataError, match="own"):
            resume(run, Console(quiet=True))
        own.with_name("elsewhere").rename(own)
        resume(run, Console(quiet=True))
    assert_same_run(run, undisturbed)


class KillWorker(FakePlugin):
    """Kill a loader worker after a step, as a machine without memory does."""

    @hookimpl
    def on_step_end(self, context) -> None:
        if context.step == 1:
            mine = subprocess.run(
                ["pgrep", "-P", str(os.getpid())], capture_output=True, text=True, check=True
            )
            for pid in mine.stdout.split():
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    if b"ppclas_data.loading.worker" in file.read():
                        os.kill(int(pid), signal.SIGKILL)


@SLOW
@pytest.mark.skipif(
    not Path("/proc").exists() or shutil.which("pgrep") is None, reason="needs /proc and pgrep"
)
def test_a_killed_worker_is_one_clear_cause(photos, alone, tmp_path, assert_same_run):
    run, shown = tmp_path / "run", io.StringIO()
    with (
        use_plugin(KillWorker()),
        pytest.raises(TrainingError, match=r"worker was ended by the signal SIGKILL.*memory"),
    ):
        train(config(photos, run, workers=1, batch_size=3), Console(stream=shown))
    assert shown.getvalue().rstrip().endswith(f"ppclas train --resume {run}")
    assert load_checkpoint(run / "checkpoints" / "last.safetensors").state["step_in_epoch"] >= 1
