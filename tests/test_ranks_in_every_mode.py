"""One process, two ranks and four train the same model: same loss curve, same weights, whatever
else the run does; and ranks that are killed are started again.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    OptimizerSection,
    TrainSection,
)
from ppclas_core.errors import TrainingError
from ppclas_engine.console import Console
from ppclas_engine.runs.checkpoint import Checkpoint, load_checkpoint
from ppclas_engine.session import make_launch, plan_run, resume, train, train_plan

_PLUGIN = """
from ppclas_core.contracts.variants import register_variants
from ppclas_core.hookspecs import hookimpl


@hookimpl
def register_models(registry):
    register_variants(registry, "ppclas_core.testing.tiny_net:models", "FakeNet")
    register_variants(registry, "net_with_auxiliary:models", "AuxNet")
"""

_NET = """
from paddle import nn
from ppclas_core.contracts.variants import Variants
from ppclas_core.testing.tiny_net import TinyNet, TinyNetConfig

models = Variants()


class AuxNetConfig(TinyNetConfig):
    "A TinyNet with a second classifier, and a layer that nothing uses."


@models.register(AuxNet=AuxNetConfig())
class AuxNet(TinyNet):
    def __init__(self, config):
        super().__init__(config)
        self.second = nn.Linear(2 * config.width, config.num_classes)
        self.idle = nn.Linear(3, 3)

    def forward(self, images):
        if not self.training:
            return super().forward(images)
        early = self.blocks[1](self.blocks[0](images))
        logits = self.forward_head(self.blocks[2](early))
        return logits, self.second(self.pool(early))

    def stages(self):
        stages = super().stages()
        return {**stages, "head": ("fc", "second", "idle")}
"""

MODES = {
    "plain": {},
    "accumulation": {"accumulate": 3},
    "moving average": {"ema_decay": 0.9},
    "frozen parts": {"freeze": ["stage1"]},
    "compiled": {"compile": True, "sync_batch_norm": False, "freeze_norm_statistics": True},
    "auxiliary heads": {"model": "AuxNet"},
}

ALL_MODES = {
    **MODES,
    "clipped": {"clip_norm": 0.05},
    "clipped groups": {"clip_norm": 0.05, "optimizer": "AdamW"},
}


@pytest.fixture(scope="module", autouse=True)
def nets(tmp_path_factory) -> Iterator[None]:
    """FakeNet and AuxNet, here and in every rank."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "plugin_of_nets.py").write_text(_PLUGIN)
    (folder / "net_with_auxiliary.py").write_text(_NET)
    installed = folder / "plugin_of_nets-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: nets\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[ppclas]\nnets = plugin_of_nets\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        patch.syspath_prepend(str(folder))
        from ppclas_core import plugins

        plugins.get_plugin_manager.cache_clear()
        yield
    plugins.get_plugin_manager.cache_clear()


def config(photos: Path, output: Path, ranks: int, **changes: Any) -> Config:
    """39 photos in steps of 12: the last has 3, so one of four ranks has nothing to do in it."""
    name = changes.pop("model", "FakeNet")
    given = {"epochs": 1, "device": "cpu", "output": str(output), "sync_batch_norm": True}
    if ranks > 1:
        given["devices"] = f"cpu:{ranks}"
    batch = 12 // int(changes.get("accumulate", 1))
    optimizer = OptimizerSection(
        name=str(changes.pop("optimizer", "Momentum")),
        clip_norm=changes.pop("clip_norm", None),
        no_decay_norm_bias=True,
    )
    return Config(
        optimizer=optimizer,
        model=ModelSection(name=str(name), pretrained=False),
        data=DataSection(train=str(photos), image_size=32, batch_size=batch, workers=1),
        schedule=ComponentConfig(name="Constant", lr=0.01),
        train=TrainSection(**{**given, **changes}),
    )


def last(run: Path):
    return load_checkpoint(run / "checkpoints" / "last.safetensors")


@pytest.fixture(scope="module")
def alone(tiny_photos, tmp_path_factory) -> Callable[[str], tuple[Any, Checkpoint]]:
    """History and last checkpoint of one process in a mode."""

    @cache
    def find(mode: str) -> tuple[Any, Checkpoint]:
        run = tmp_path_factory.mktemp("alone") / "run"
        result = train(config(tiny_photos, run, 1, **ALL_MODES[mode]), Console(quiet=True))
        return result.history, last(run)

    return find


@pytest.mark.sweep
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_train_as_one_process_does(mode, ranks, tiny_photos, tmp_path, alone):
    many = train(config(tiny_photos, tmp_path, ranks, **MODES[mode]), Console(quiet=True))
    assert_same(many.history, last(tmp_path), *alone(mode))


@pytest.mark.sweep
@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("shard", ["optimizer", "gradients"])
def test_sharded_ranks_train_as_one_process_does(shard, mode, ranks, tiny_photos, tmp_path, alone):
    changes = {**ALL_MODES[mode], "shard": shard}
    many = train(config(tiny_photos, tmp_path, ranks, **changes), Console(quiet=True))
    assert_same(many.history, last(tmp_path), *alone(mode))


def assert_same(history: Any, mine: Checkpoint, expected: Any, theirs: Checkpoint) -> None:
    """The same losses to 1e-5; weights, averages and the optimizer's state to 1e-5."""
    for before, together in zip(expected, history, strict=True):
        assert together["step"] == before["step"]
        assert together["train_loss"] == pytest.approx(before["train_loss"], rel=1e-5)
    assert mine.arrays.keys() == theirs.arrays.keys()
    for key, value in theirs.arrays.items():
        if key.startswith(("model/", "ema/", "optimizer/")):
            np.testing.assert_allclose(mine.arrays[key], value, atol=1e-5, rtol=1e-4, err_msg=key)


@pytest.mark.sweep
def test_a_random_rank_is_killed_twenty_times(tiny_photos, tmp_path):
    """Each time the run goes on, and its end is the undisturbed one's, bit for bit."""
    console = Console(quiet=True)
    often = {"epochs": 12, "checkpoint_minutes": 1e-4}
    train(config(tiny_photos, tmp_path / "calm", 2, **often), console)
    run, draw, kills = tmp_path / "run", random.Random(7), 0
    again = config(tiny_photos, run, 2, **often)
    while kills < 20 and not (run / "summary.json").exists():
        stop, rank = threading.Event(), kills % 2
        killer = threading.Thread(target=kill_a_rank, args=(run, rank, draw.random(), stop))
        killer.start()
        error = failure(lambda: resume(run, console) if run.exists() else train(again, console))
        stop.set()
        killer.join()
        if error is not None:
            assert f"rank {rank} was ended by the signal SIGKILL" in str(error)
            kills += 1
    if not (run / "summary.json").exists():
        resume(run, console)
    assert kills >= 3, f"killed {kills} times before the run was done"
    expected = last(tmp_path / "calm").arrays
    assert last(run).arrays.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(last(run).arrays[key], value, err_msg=key)


def failure(work: Callable[[], object]) -> TrainingError | None:
    """What ``work`` failed with, if it did."""
    try:
        work()
    except TrainingError as error:
        return error
    return None


def kill_a_rank(run: Path, rank: int, seconds: float, stop: threading.Event) -> None:
    """Once the run has a checkpoint newer than now, after up to ``seconds``."""
    file, began = run / "checkpoints" / "last.safetensors", time.time()
    while not (file.exists() and file.stat().st_mtime > began):
        if stop.wait(0.005):
            return
    stop.wait(seconds / 4)
    if (process := find_rank(run, rank)) is not None:
        os.kill(process, signal.SIGKILL)


def find_rank(run: Path, rank: int) -> int | None:
    """The number of the process that is ``rank`` of the run."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        ours = f"PPCLAS_FAILURE_FILE={run}/logs/.rank-{rank}.json".encode() in environment
        if ours and b"ppclas_engine.rank\0" in command:
            return int(process.name)
    return None


@pytest.mark.slow
def test_a_killed_rank_is_started_again(tiny_photos, tmp_path):
    """With ``--max-restarts`` nobody has to be there; the end is the undisturbed run's."""
    calm, run = tmp_path / "calm", tmp_path / "run"
    often = {"epochs": 2, "checkpoint_minutes": 1e-4}
    train(config(tiny_photos, calm, 2, **often), Console(quiet=True))
    killer = threading.Thread(target=kill_a_rank, args=(run, 1, 0.0, threading.Event()))
    killer.start()
    plan = plan_run(config(tiny_photos, run, 2, **often))
    train_plan(plan, Console(quiet=True), launch=make_launch(plan.config, restarts=1))
    killer.join()
    log = (run / "log.txt").read_text(encoding="utf-8")
    assert "rank 1 was ended by the signal SIGKILL" in log
    assert "Starting the ranks again from the last checkpoint." in log
    for key, value in last(calm).arrays.items():
        np.testing.assert_array_equal(last(run).arrays[key], value, err_msg=key)


@pytest.mark.slow
def test_a_device_that_ends_every_rank_is_left_out(tiny_photos, tmp_path):
    run, stop = tmp_path / "run", threading.Event()

    def kill_every_rank_1() -> None:
        while not stop.wait(0.05):
            if (process := find_rank(run, 1)) is not None:
                os.kill(process, signal.SIGKILL)

    killer = threading.Thread(target=kill_every_rank_1)
    killer.start()
    try:
        plan = plan_run(config(tiny_photos, run, 2))
        result = train_plan(plan, Console(quiet=True), launch=make_launch(plan.config, restarts=2))
    finally:
        stop.set()
        killer.join()
    assert result.history[-1]["epoch"] == 1
    log = (run / "log.txt").read_text(encoding="utf-8")
    assert "device 1 is left out: its rank was ended twice without progress" in log


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for ranks in /proc")
