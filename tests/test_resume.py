"""A run that is killed and resumed ends with the weights of one that never stopped, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Dropout, batch norm, random crops, erasing and Mixup: everything that draws or remembers.
RECIPE = """
model: {name: MobileNetV3_small_x0_35, pretrained: false}
data:
  image_size: 32
  batch_size: 8
  workers: 1
  train_transforms:
    - {name: RandomResizedCrop, size: 32}
    - {name: RandomFlip}
    - {name: RandomErasing, probability: 0.5}
  batch_transforms: [{name: Mixup, alpha: 0.4}]
optimizer: {name: AdamW}
schedule: {name: CosineWarmup, lr: 0.002}
train: {epochs: 4, checkpoint_minutes: 0.0001}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    file.write_text(RECIPE)
    return file


@pytest.fixture(scope="module")
def uninterrupted(ppclas, recipe, tiny_photos, tmp_path_factory) -> Path:
    """A finished run."""
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    ppclas("train", tiny_photos, "-c", recipe, "--output", run)
    return run


@pytest.mark.sweep
def test_ten_kills_at_random_moments(
    ppclas, environment, recipe, tiny_photos, uninterrupted, tmp_path, assert_same_run
):
    """Some before the first checkpoint of a process, the others some moments after its first,
    second, … one.
    """
    rng = random.Random(20_20)
    run = tmp_path / "run with spaces"
    last = run / "checkpoints" / "last.safetensors"
    command = [
        sys.executable,
        "-m",
        "ppclas_cli",
        "train",
        str(tiny_photos),
        "-c",
        str(recipe),
        "--output",
        str(run),
    ]
    kills = 0
    for attempt in range(10):
        more = ["--resume"] if attempt else []
        process = subprocess.Popen(
            [*command, *more],
            env=environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        writes, wanted, seen = 0, rng.randint(0, 3), identity(last)
        while process.poll() is None and writes < wanted:
            time.sleep(0.002)
            if identity(last) != seen:
                writes, seen = writes + 1, identity(last)
        time.sleep(rng.uniform(0.0, 0.2) if wanted else rng.uniform(0.0, 3.0))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        errors = process.communicate()[1]
        assert process.returncode in (0, -signal.SIGKILL), errors
        if process.returncode == 0:
            break
    ppclas("train", tiny_photos, "-c", recipe, "--output", run, "--resume")
    assert kills >= 5
    assert_same_run(run, uninterrupted)


def identity(file: Path) -> int | None:
    """Changes when the file is replaced."""
    return file.stat().st_mtime_ns if file.exists() else None


_DIE_IN_A_WRITE = """
import os, pathlib, signal, sys
real, left = pathlib.Path.replace, int(sys.argv.pop(1))
def replace(self, target):
    global left
    if "checkpoints" in str(target) or "bundle" in str(target):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return real(self, target)
pathlib.Path.replace = replace
from ppclas_cli.main import main
main()
"""


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(w, marks=pytest.mark.slow if w in (2, 15) else pytest.mark.sweep)
        for w in (1, 2, 5, 14, 15, 16)
    ],
)
def test_a_kill_inside_a_write(
    ppclas, environment, recipe, tiny_photos, uninterrupted, tmp_path, write, assert_same_run
):
    run = tmp_path / "run"
    died = subprocess.run(
        [
            sys.executable,
            "-c",
            _DIE_IN_A_WRITE,
            str(write),
            "train",
            tiny_photos,
            "-c",
            recipe,
            "--output",
            run,
        ],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    assert [*run.rglob(".*.tmp")]
    ppclas("train", "--resume", run)
    assert_same_run(run, uninterrupted)
    assert not [*run.rglob(".*.tmp"), *run.rglob(".*.old")]


@pytest.mark.slow
def test_a_damaged_last_checkpoint_falls_back_to_the_previous_one(
    ppclas, environment, recipe, tiny_photos, uninterrupted, tmp_path, assert_same_run
):
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "ppclas_cli", "train", tiny_photos, "-c", recipe, "--output", run],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    previous = run / "checkpoints" / "previous.safetensors"
    while not previous.exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    last = run / "checkpoints" / "last.safetensors"
    last.unlink()  # not written to in place: best may be the same file
    last.write_bytes(b"\0" * 1000)
    resumed = ppclas("train", "--resume", run)
    assert "warning: The checkpoint" in resumed.stderr
    assert "Going on from previous.safetensors" in resumed.stderr
    assert_same_run(run, uninterrupted)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.sweep),
    ],
)
def test_a_polite_stop_writes_a_checkpoint_and_says_how_to_go_on(
    ppclas, environment, recipe, tiny_photos, uninterrupted, tmp_path, number, assert_same_run
):
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "ppclas_cli", "train", tiny_photos, "-c", recipe, "--output", run],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not (run / "checkpoints" / "last.safetensors").exists() and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, number)
    errors = process.communicate()[1]
    assert process.returncode == 1, errors
    assert f"Go on with: ppclas train --resume {run}" in errors
    assert "Traceback" not in errors
    ppclas("train", "--resume", run)
    assert_same_run(run, uninterrupted)


@pytest.mark.parametrize(
    "workers", [pytest.param(0, marks=pytest.mark.sweep), pytest.param(2, marks=pytest.mark.slow)]
)
def test_the_number_of_workers_changes_nothing(
    ppclas, recipe, tiny_photos, uninterrupted, tmp_path, workers, assert_same_run
):
    run = tmp_path / "run"
    ppclas("train", tiny_photos, "-c", recipe, "--output", run, "--workers", workers)
    assert_same_run(run, uninterrupted)


@pytest.mark.slow
def test_resuming_with_another_recipe_is_refused(
    ppclas, environment, recipe, tiny_photos, tmp_path
):
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "ppclas_cli", "train", tiny_photos, "-c", recipe, "--output", run],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    while not (run / "checkpoints" / "last.safetensors").exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    refused = ppclas(
        "train", tiny_photos, "-c", recipe, "--output", run, "--resume", "--lr", "0.5", code=1
    )
    assert "schedule.lr was 0.002, now 0.5" in refused.stderr
    unfit = ppclas("train", "--output", run, tiny_photos, code=1)
    assert f"--resume {run}" in unfit.stderr
