"""Several ranks on the CPU train as one process does; one that fails is named, and nothing
hangs.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    TrainSection,
)
from ppclas_core.errors import TrainingError
from ppclas_core.testing import use_plugin
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.console import Console
from ppclas_engine.runs.checkpoint import load_checkpoint
from ppclas_engine.session import resume, train
from ppclas_engine.testing import FakePlugin

# 39 training photos in batches of 10: the last batch has 9, which two ranks share as 5 and 4.
DATA = {"image_size": 32, "batch_size": 10, "workers": 1}


def config(photos: Path, output: Path, **changes: object) -> Config:
    return Config(
        model=ModelSection(name="FakeNet", pretrained=False),
        data=DataSection(train=str(photos), **DATA),
        schedule=ComponentConfig(name="Constant", lr=0.01),
        train=TrainSection(**{"epochs": 2, "device": "cpu", "output": str(output), **changes}),
    )


@pytest.fixture
def console() -> Console:
    return Console(quiet=True)


@pytest.fixture(scope="module", autouse=True)
def fake_net(tiny_net) -> Iterator[None]:
    """FakeNet here and in every rank."""
    with pytest.MonkeyPatch.context() as patch, use_plugin(FakePlugin()):
        patch.setenv("PYTHONPATH", str(tiny_net))
        yield


def last(run: Path):
    return load_checkpoint(run / "checkpoints" / "last.safetensors")


@pytest.fixture(scope="module")
def two_ranks(tiny_photos, tmp_path_factory) -> Path:
    """A finished run of two ranks with synchronised batch norms."""
    run = tmp_path_factory.mktemp("two ranks") / "run"
    train(config(tiny_photos, run, devices="cpu:2", sync_batch_norm=True), Console(quiet=True))
    return run


@pytest.mark.slow
def test_two_ranks_train_as_one_process_does(tiny_photos, two_ranks, tmp_path, console):
    one = train(config(tiny_photos, tmp_path / "one"), console)
    two = last(two_ranks).state["history"]
    for alone, together in zip(one.history, two, strict=True):
        assert together["step"] == alone["step"]
        assert together["train_loss"] == pytest.approx(alone["train_loss"], rel=1e-4)
        assert together["train_top1"] == alone["train_top1"]
        assert together["num_images"] == alone["num_images"]
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-3)
    mine, theirs = last(two_ranks).part("model"), last(tmp_path / "one").part("model")
    for key, value in theirs.items():
        np.testing.assert_allclose(mine[key], value, atol=2e-4, rtol=1e-3, err_msg=key)
    assert {"rank-0.txt", "rank-1.txt"} <= {file.name for file in (two_ranks / "logs").iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Distill", "Mutual"])
def test_two_ranks_distil_as_one_process_does(tiny_photos, two_ranks, tmp_path, console, name):
    """Of teachers, peers, photos without labels and layers that are trained beside the student each
    rank has its share.
    """
    make_tiny_dataset(tmp_path / "extra", classes=2, per_class=5, size=40)
    others = {
        "Distill": {"teachers": [{"source": str(two_ranks)}], "teacher_norm": "running"},
        "Mutual": {"peers": [{"name": "FakeNet", "pretrained": False, "params": {"width": 6}}]},
    }
    objective = ComponentConfig(
        name=name,
        losses=[{"name": "ssld"}, {"name": "fitnet", "weight": 0.1}],
        ground_truth=0.5,
        **others[name],
    )

    def distil(name: str, **changes: object) -> dict[str, np.ndarray]:
        given = config(tiny_photos, tmp_path / name, epochs=1, **changes)
        data = given.data.replace(train_extra=str(tmp_path / "extra"))
        train(given.replace(data=data, objective=objective), console)
        return last(tmp_path / name).arrays

    one, two = distil("one"), distil("two", devices="cpu:2", sync_batch_norm=True)
    assert one.keys() == two.keys()
    assert any(key.startswith("layers/fitnet") for key in one)
    for key, value in one.items():
        if key.startswith(("model/", "layers/")):
            np.testing.assert_allclose(two[key], value, atol=1e-5, rtol=1e-5, err_msg=key)


@pytest.mark.slow
def test_a_killed_rank_is_named_and_the_run_goes_on_exactly(
    tiny_photos, two_ranks, tmp_path, console
):
    run = tmp_path / "run"
    killed: list[int] = []

    def find_rank_1() -> int | None:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = (process / "environ").read_bytes()
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            ours = f"PPCLAS_FAILURE_FILE={run}/logs/.rank-1.json".encode() in environment
            if ours and b"ppclas_engine.rank" in command:
                return int(process.name)
        return None

    def kill_rank_1() -> None:
        # Looked for before there is a checkpoint: after it the run has a moment left, no more.
        while (number := find_rank_1()) is None:
            time.sleep(0.1)
        while not (run / "checkpoints" / "last.safetensors").exists():
            time.sleep(0.001)
        os.kill(number, signal.SIGKILL)
        killed.append(number)

    killer = threading.Thread(target=kill_rank_1, daemon=True)
    killer.start()
    often = {"devices": "cpu:2", "sync_batch_norm": True, "checkpoint_minutes": 0.0001}
    with pytest.raises(TrainingError, match="rank 1 was ended by the signal SIGKILL"):
        train(config(tiny_photos, run, **often), console)
    assert killed
    resume(run, console)
    mine, theirs = last(run), last(two_ranks)
    assert mine.arrays.keys() == theirs.arrays.keys()
    for key, value in theirs.arrays.items():
        np.testing.assert_array_equal(mine.arrays[key], value, err_msg=key)


@pytest.mark.sweep
def test_more_ranks_than_the_last_batch_has_images(tiny_photos, tmp_path, console):
    """39 photos in batches of 19 leave one: two of three ranks have nothing to do and keep step."""
    one = config(tiny_photos, tmp_path / "one")
    one = one.replace(data=one.data.replace(batch_size=19))
    three = one.replace(
        train=one.train.replace(
            devices="cpu:3", sync_batch_norm=True, output=str(tmp_path / "three")
        )
    )
    alone, together = train(one, console), train(three, console)
    for before, after in zip(alone.history, together.history, strict=True):
        assert after["train_loss"] == pytest.approx(before["train_loss"], rel=1e-3)


@pytest.mark.sweep
def test_two_machines_and_an_outside_launcher(ppclas, environment, tiny_photos, tiny_net, tmp_path):
    environment = {**environment, "PYTHONPATH": str(tiny_net)}
    run = tmp_path / "run"
    recipe = [
        "-o",
        "data.batch_size=10",
        "-o",
        "data.image_size=32",
        "--epochs",
        1,
        "-o",
        "data.workers=0",
    ]
    command = [tiny_photos, "--model", "FakeNet", *recipe, "--device", "cpu", "--output", run]
    machine_0 = [*command, "--devices", "cpu:1", "--nnodes", 2, "--master", "127.0.0.1:29517"]
    other = subprocess.Popen(
        [sys.executable, "-m", "ppclas_cli", "train", *map(str, machine_0), "--rank", "1"],
        env=environment,
    )
    ppclas("train", *machine_0, "--rank", 0, PYTHONPATH=str(tiny_net))
    assert other.wait(timeout=60) == 0
    assert (run / "summary.json").exists()
    assert (tmp_path / "run-machine1" / "logs" / "rank-1.txt").exists()

    again = tmp_path / "again"
    # The launcher looks for its own words in the whole line, so --workers is not for it to see.
    launcher = [
        "paddle.distributed.launch",
        "--nproc_per_node",
        "2",
        "--log_dir",
        str(tmp_path / "launch"),
    ]
    program = str(Path(sys.executable).with_name("ppclas"))
    launched = subprocess.run(
        [
            sys.executable,
            "-m",
            *launcher,
            program,
            "train",
            *map(str, command[:-1]),
            again,
            "--resume",
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert launched.returncode == 0, launched.stderr + launched.stdout
    assert (again / "summary.json").exists()


@pytest.mark.slow
def test_a_rank_whose_peers_do_not_come_gives_up_in_time(environment):
    lonely = "from ppclas_engine.ranks.distributed import join; join('cpu', 2.0)"
    alone = {
        "PADDLE_TRAINER_ID": "0",
        "PADDLE_TRAINERS_NUM": "2",
        "PADDLE_MASTER": "127.0.0.1:29518",
    }
    ended = subprocess.run(
        [sys.executable, "-c", lonely],
        env={**environment, **alone, "PADDLE_CURRENT_ENDPOINT": "127.0.0.1:29518"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert re.search(
        r"rank 0 of 2 did not meet the others at 127\.0\.0\.1:29518 within 2 s", ended.stderr
    )
