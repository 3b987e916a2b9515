"""Runs gone on with: beside another process, with other workers, after their folder went."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("paddle")

PPCLAS = [sys.executable, "-m", "ppclas_cli"]
SMALL = [
    "--from-scratch", "--workers", "0", "--device", "cpu", "--batch-size", "16",
    "-o", "data.train_transforms=[{name: Resize, size: [32, 32]}]",
    "-o", "data.eval_transforms=[{name: Resize, size: [32, 32]}]",
]  # fmt: skip


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PPCLAS, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def running(tmp_path):
    """The folder of a run that has begun, its process, and the file of what it says."""
    folder, said = tmp_path / "run", tmp_path / "said"
    command = [*PPCLAS, "train", *SMALL, "--epochs", "200", "--output", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (
        said.open("wb") as stderr,
        subprocess.Popen(command, stderr=stderr, stdout=stderr, env=environment) as process,
    ):
        wait_for(folder / "checkpoints" / "last.safetensors", process)
        yield folder, process, said
        process.kill()


def test_one_process_at_a_time_and_a_hangup_saves(running):
    folder, process, said = running
    second = run("train", "--resume", str(folder))
    assert (second.returncode, "another process is training there" in second.stderr) == (1, True)
    process.send_signal(signal.SIGHUP)
    process.wait(timeout=60)
    assert "--resume" in said.read_text()
    # What does not change the weights may be another; all else is the run's own.
    other = run("train", "--resume", str(folder), "--workers", "1", "--epochs", "100")
    assert "train.epochs was 200, now 100" in other.stderr
    assert "workers" not in other.stderr
    done = run(
        "train", "--resume", str(folder), "--workers", "1", "-o", "train.max_minutes=0.001",
        "--change-recipe",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "workers was 0, now 1" in done.stderr


def test_a_folder_that_goes_is_an_error(running):
    folder, process, said = running
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    process.wait(timeout=120)
    assert process.returncode == 1
    assert str(folder) in said.read_text()
