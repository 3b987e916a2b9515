"""Ranks that divide the optimizer's state: who holds what, the same weights, and half the room."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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
from ppclas_core.testing import use_plugin
from ppclas_engine.console import Console
from ppclas_engine.runs.checkpoint import load_checkpoint
from ppclas_engine.session import resume, train
from ppclas_engine.testing import FakePlugin


@pytest.fixture(scope="module", autouse=True)
def fake_net(tiny_net) -> Iterator[None]:
    """FakeNet here and in every rank."""
    with pytest.MonkeyPatch.context() as patch, use_plugin(FakePlugin()):
        patch.setenv("PYTHONPATH", str(tiny_net))
        yield


def config(photos: Path, output: Path, **changes: object) -> Config:
    return Config(
        model=ModelSection(name="FakeNet", pretrained=False),
        data=DataSection(train=str(photos), image_size=32, batch_size=12, workers=0),
        optimizer=OptimizerSection(name="AdamW", no_decay_norm_bias=True),
        schedule=ComponentConfig(name="Constant", lr=0.01),
        train=TrainSection(
            **{
                "epochs": 1,
                "device": "cpu",
                "output": str(output),
                "sync_batch_norm": True,
                **changes,
            }
        ),
    )


def last(run: Path) -> dict[str, np.ndarray]:
    return dict(load_checkpoint(run / "checkpoints" / "last.safetensors").arrays)


SOME = [
    pytest.param("optimizer", marks=pytest.mark.sweep),
    pytest.param("gradients", marks=pytest.mark.slow),
]
"""Gradients are shared with the optimizer's state: the less is in the more."""


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_state_is_dealt_out_evenly(ranks):
    from ppclas_engine.loop.sharding import owners

    sizes = {f"p{number}": int(size) for number, size in enumerate([7, 900, 30, 30, 400, 2, 64])}
    found = owners(sizes, ranks)
    assert found == owners(dict(reversed(sizes.items())), ranks), "each rank must find the same"
    held = [sum(sizes[name] for name in found if found[name] == rank) for rank in range(ranks)]
    assert found.keys() == sizes.keys()
    assert max(held) <= max(900, sum(sizes.values()) / ranks + 400)  # Graham 1969's bound


@pytest.mark.parametrize("largest", [0.5, 1e3])
def test_clipping_over_ranks_is_clipping(largest):
    import paddle
    from ppclas_engine.loop.sharding import ClipOverRanks

    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=shape).astype("float32") for shape in ((3, 4), (5,), (1,))]
    pairs = [(paddle.create_parameter(g.shape, "float32"), paddle.to_tensor(g)) for g in gradients]
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    for (_, clipped), gradient in zip(ClipOverRanks(largest)(pairs), gradients, strict=True):
        expected = gradient * min(1.0, largest / norm)
        np.testing.assert_allclose(clipped.numpy(), expected, rtol=1e-6)
    assert ClipOverRanks(largest)([]) == []


def test_gradients_of_two_ranks_train_as_one_process_does(tiny_photos, tmp_path):
    console = Console(quiet=True)
    train(config(tiny_photos, tmp_path / "one"), console)
    train(config(tiny_photos, tmp_path / "two", devices="cpu:2", shard="gradients"), console)
    one, two = last(tmp_path / "one"), last(tmp_path / "two")
    assert two.keys() == one.keys()
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, atol=1e-5, rtol=1e-4, err_msg=key)
    log = (tmp_path / "two" / "log.txt").read_text(encoding="utf-8")
    assert "train.shard: gradients: each of 2 devices keeps the optimizer's state of" in log


@pytest.mark.parametrize("shard", SOME)
def test_two_ranks_that_share_the_state_are_two_ranks_bit_for_bit(shard, tiny_photos, tmp_path):
    console = Console(quiet=True)
    train(config(tiny_photos, tmp_path / "whole", devices="cpu:2"), console)
    train(config(tiny_photos, tmp_path / "parts", devices="cpu:2", shard=shard), console)
    whole, parts = last(tmp_path / "whole"), last(tmp_path / "parts")
    assert parts.keys() == whole.keys()
    for key, value in whole.items():
        np.testing.assert_array_equal(parts[key], value, err_msg=key)


@pytest.mark.parametrize("shard", SOME)
def test_a_run_goes_on_with_another_number_of_ranks(shard, tiny_photos, tmp_path):
    """Two ranks, then four, then one, an epoch each, are three epochs of one process."""
    console, run = Console(quiet=True), tmp_path / "run"
    train(config(tiny_photos, tmp_path / "calm", epochs=3), console)
    train(config(tiny_photos, run, epochs=1, devices="cpu:2", shard=shard), console)
    for epochs, devices in ((2, "cpu:4"), (3, None)):
        (run / "summary.json").unlink()  # so that it is a run that was stopped
        resume(run, console, config(tiny_photos, run, epochs=epochs, devices=devices, shard=shard))
    log = (run / "log.txt").read_text(encoding="utf-8")
    assert "4 devices, 2 when the checkpoint was written" in log
    assert "1 device, 4 when the checkpoint was written" in log
    assert "no longer the same bit for bit" in log
    assert f"train.shard: {shard}: one device keeps everything" in log
    mine = last(run)
    for key, value in last(tmp_path / "calm").items():
        np.testing.assert_allclose(mine[key], value, atol=3e-5, rtol=1e-3, err_msg=key)


_RANK = """
import json, paddle
from ppclas_core.config.schema import OptimizerSection
from ppclas_core.models import create_model
from ppclas_components.optimizing import build_optimizer
from ppclas_engine.loop.sharding import Shards
from ppclas_engine.ranks.distributed import join

ranks = join("cpu", 120.0)
paddle.seed(0)
model = create_model("ResNet18", 10)
optimizer = build_optimizer(OptimizerSection(name="AdamW"), model, 0.01)
shards = Shards(dict(model.trainable()), ranks)
for parameter in dict(model.trainable()).values():
    parameter.grad = paddle.ones_like(parameter)
with shards.moving():
    optimizer.step()
held = [v for name in ("moment1", "moment2") for v in optimizer._accumulators[name].values()]
print(json.dumps({"weights": sum(p.size for _, p in model.trainable()),
                  "moments": sum(v.size for v in held),
                  "sum": sum(p.sum().item() for _, p in model.trainable())}))
"""


@pytest.mark.parametrize(
    "size", [pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.sweep)]
)
def test_each_rank_holds_its_part_of_the_moments(size, environment):
    """AdamW has two for each weight."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoints = [f"127.0.0.1:{port + rank}" for rank in range(size)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _RANK],
            env={
                **os.environ,
                **environment,
                "OMP_NUM_THREADS": "1",
                "PADDLE_TRAINER_ID": str(rank),
                "PADDLE_TRAINERS_NUM": str(size),
                "PADDLE_MASTER": endpoints[0],
                "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints),
                "PADDLE_CURRENT_ENDPOINT": endpoints[rank],
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(size)
    ]
    found = [json.loads(p.communicate(timeout=180)[0].splitlines()[-1]) for p in processes]
    weights = found[0]["weights"]
    assert sum(rank["moments"] for rank in found) == 2 * weights
    for rank in found:
        assert rank["moments"] <= 1.1 * 2 * weights / size
        assert rank["sum"] == found[0]["sum"], "every rank has what the others moved"
