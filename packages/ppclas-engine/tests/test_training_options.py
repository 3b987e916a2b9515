"""What else a run can be told: accumulation, guards, early ends, averages, changes on resume."""

from __future__ import annotations

import os
import subprocess
import sys

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
from ppclas_core.contracts.training import Loss
from ppclas_core.errors import ConfigError, TrainingError
from ppclas_core.hookspecs import hookimpl
from ppclas_core.testing import use_plugin
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.console import Console
from ppclas_engine.loop.progress import Progress
from ppclas_engine.planning.plan import make_plan
from ppclas_engine.runs.checkpoint import load_checkpoint
from ppclas_engine.session import check_same_recipe, resume, tell_changes, train
from ppclas_engine.testing import FakePlugin
from safetensors.numpy import load_file


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    make_tiny_dataset(folder, classes=3, per_class=10, size=36)  # 24 for training, 6 for validation
    return str(folder)


@pytest.fixture(autouse=True)
def fake_plugin():
    with use_plugin(FakePlugin()) as plugin:
        yield plugin


@pytest.fixture
def console():
    return Console(quiet=True)


def config(photos, folder, *, batch_size=8, lr=0.02, optimizer=None, model=None, **changes):
    return Config(
        model=ModelSection(name="FakeNet", pretrained=False, params=model or {}),
        data=DataSection(train=photos, image_size=32, batch_size=batch_size, workers=0),
        optimizer=OptimizerSection(**(optimizer or {})),
        schedule=ComponentConfig(name="Constant", lr=lr),
        train=TrainSection(
            **{"epochs": 1, "device": "cpu", "output": str(folder / "run"), **changes}
        ),
    )


def last(run):
    return load_checkpoint(run.path / "checkpoints" / "last.safetensors")


def test_accumulated_batches_are_one_large_batch(photos, tmp_path, console):
    """With fixed statistics batch norm sees no difference: 7 + 7 + 7 and 3 are 21 and 3."""
    fixed = {"freeze_norm_statistics": True}
    small = train(config(photos, tmp_path / "a", batch_size=7, accumulate=3, **fixed), console)
    large = train(config(photos, tmp_path / "b", batch_size=21, **fixed), console)
    assert small.history[0]["step"] == large.history[0]["step"] == 2
    assert small.history[0]["train_loss"] == pytest.approx(large.history[0]["train_loss"], rel=1e-5)
    mine, theirs = last(small.run).part("model"), last(large.run).part("model")
    for key, value in theirs.items():
        np.testing.assert_allclose(mine[key], value, rtol=1e-4, atol=1e-6, err_msg=key)


class BadLoss(Loss):
    """Cross entropy that is not a number in some of the steps."""

    bad_from: int
    bad_to: int

    def __call__(self, outputs, targets):
        from paddle.nn import functional

        counts["calls"] += 1
        loss = functional.cross_entropy(outputs, targets.labels)
        return loss * float("nan") if self.bad_from <= counts["calls"] <= self.bad_to else loss


counts = {"calls": 0}


class BadLossPlugin:
    @hookimpl
    def register_losses(self, registry):
        registry.register("BadLoss", BadLoss)


def with_bad_loss(photos, folder, first, end, **changes):
    counts["calls"] = 0
    return config(photos, folder, epochs=2, **changes).replace(
        loss=ComponentConfig(name="BadLoss", bad_from=first, bad_to=end)
    )


def test_a_few_bad_steps_are_left_out_and_said(photos, tmp_path, capsys):
    with use_plugin(BadLossPlugin(), "bad-loss"):
        result = train(with_bad_loss(photos, tmp_path, 2, 3, bad_steps=2), Console())
    assert "step 2: the loss is nan; the step is left out" in capsys.readouterr().err
    assert result.history[0]["skipped_steps"] == 2
    assert np.isfinite(result.history[0]["train_loss"])
    assert "skipped_steps" not in result.history[1]


def test_more_bad_steps_end_the_run_with_a_place(photos, tmp_path, console):
    with (
        use_plugin(BadLossPlugin(), "bad-loss"),
        pytest.raises(TrainingError, match="it is the loss itself"),
    ):
        train(with_bad_loss(photos, tmp_path, 2, 9, bad_steps=2), console)


def test_the_first_layer_that_is_not_finite_is_named():
    import paddle
    from ppclas_core.testing.tiny_net import TinyNet, TinyNetConfig
    from ppclas_engine.loop.diagnose import first_nonfinite

    model = TinyNet(TinyNetConfig(num_classes=2))
    images = paddle.ones([2, 3, 16, 16])

    def first(loss_is_finite=False):
        return first_nonfinite(model, images, model, loss_is_finite=loss_is_finite)

    assert "it is the loss itself" in first()
    model(images).sum().backward()
    model.blocks[1][0].weight.grad = model.blocks[1][0].weight.grad * float("inf")
    assert "first gradient that is not is that of blocks.1.0.weight" in first(loss_is_finite=True)
    model.blocks[1][1].weight.set_value(np.full(16, 3e38, np.float32))
    model.blocks[1][1].bias.set_value(np.full(16, 3e38, np.float32))
    model.eval()
    model.blocks[1][1]._variance.set_value(np.full(16, 1e-8, np.float32))
    assert "output is not finite is blocks.1.1 (BatchNorm2D)" in first()
    model.blocks[0][0].weight.set_value(np.full((8, 3, 3, 3), np.inf, np.float32))
    assert "first weights that are not finite are blocks.0.0.weight" in first()


def test_patience_counts_epochs_without_a_rise_that_is_large_enough():
    progress = Progress()
    waited = [
        progress.epochs_without_rise(epoch, top1, 0.01)
        for epoch, top1 in enumerate([0.5, 0.505, 0.52, 0.52, 0.4])
    ]
    assert waited == [0, 1, 0, 1, 2]


@pytest.mark.slow
def test_a_run_without_progress_ends_early_and_stays_ended(photos, tmp_path, capsys):
    result = train(config(photos, tmp_path, epochs=9, lr=1e-9, patience=1), Console())
    assert 2 <= len(result.history) < 9
    assert "has not improved for an epoch (train.patience)" in capsys.readouterr().err
    (result.run.path / "summary.json").unlink()  # killed between the last checkpoint and the end
    assert len(resume(result.run.path, Console(quiet=True)).history) == len(result.history)


def test_a_time_budget_ends_a_run_as_if_it_had_been_planned(photos, tmp_path, console):
    result = train(config(photos, tmp_path, epochs=500, max_minutes=1e-9), console)
    row = result.history[-1]
    assert (len(result.history), row["step"]) == (1, 1)
    assert row["top1"] == result.best["top1"]
    assert (result.run.path / "summary.json").exists()
    assert (result.run.path / "bundle" / "model.safetensors").exists()


def test_the_mean_of_the_last_epochs_is_their_mean(photos, tmp_path, console):
    weights = []

    class Collect:
        @hookimpl
        def on_epoch_end(self, context):
            weights.append(
                {key: value.numpy() for key, value in context.model.state_dict().items()}
            )

    with use_plugin(Collect(), "collect"):
        result = train(config(photos, tmp_path, epochs=3, average_last=2), console)
    assert {"top1", "mean_top1"} <= result.history[-1].keys()
    assert "mean_top1" not in result.history[0]
    if result.best["weights"] == "mean":
        kept = load_file(result.run.bundle / "model.safetensors")
        for key, value in kept.items():
            np.testing.assert_allclose(
                value, (weights[1][key] + weights[2][key]) / 2, rtol=1e-5, atol=1e-7
            )
    # The run's own weights are untouched by it.
    for key, value in last(result.run).part("model").items():
        np.testing.assert_array_equal(value, weights[2][key])


def test_statistics_are_averaged_where_that_is_asked_for():
    from ppclas_core.testing.tiny_net import TinyNet, TinyNetConfig
    from ppclas_engine.loop.ema import Ema

    model = TinyNet(TinyNetConfig(num_classes=2))
    plain, full = Ema(model, 0.9), Ema(model, 0.9, statistics=True)
    mean = model.blocks[0][1]._mean
    mean.set_value(np.ones(8, np.float32))
    for average in (plain, full):
        average.update(1000)
    with plain.applied():
        np.testing.assert_allclose(mean.numpy(), 1.0)
    with full.applied():
        np.testing.assert_allclose(mean.numpy(), 0.1, rtol=1e-6)  # from 0, one step of 1 - 0.9
    np.testing.assert_allclose(mean.numpy(), 1.0)


def test_layer_decay_by_hand():
    from ppclas_components.optimizing import build_optimizer
    from ppclas_core.testing.tiny_net import TinyNet, TinyNetConfig

    model = TinyNet(TinyNetConfig(num_classes=2))
    build_optimizer(OptimizerSection(layer_decay=0.5, lr_mult={"stage1": 0.3}), model, 0.1)
    rates = {
        name: parameter.optimize_attr["learning_rate"] for name, parameter in model.trainable()
    }
    assert rates["fc.weight"] == 1.0
    assert rates["blocks.2.0.weight"] == 0.5
    assert rates["blocks.1.0.weight"] == 0.25
    assert rates["blocks.0.0.weight"] == 0.3  # said, and so not 0.125


@pytest.mark.parametrize(("rule", "expected"), [("linear", 0.4), ("sqrt", 0.2)])
def test_the_rate_follows_the_images_a_step(photos, tmp_path, rule, expected):
    given = config(photos, tmp_path, lr=0.1, accumulate=2, lr_batch_size=4, lr_scaling=rule)
    plan = make_plan(given, "cpu")
    # 16 images per step, four times as many.
    assert plan.config.schedule.params["lr"] == pytest.approx(expected)
    assert any("scaled to 16" in note for note in plan.notes)
    again = make_plan(plan.config, "cpu")
    # A resumed run is not scaled a second time.
    assert again.config.schedule == plan.config.schedule


@pytest.mark.slow
def test_a_compiled_model_trains_to_the_same_weights(photos, tmp_path, capsys):
    plain = train(config(photos, tmp_path / "a"), Console(quiet=True))
    compiled = train(config(photos, tmp_path / "b", compile=True), Console())
    assert "the model was compiled in" in capsys.readouterr().err
    assert compiled.history[0]["train_loss"] == pytest.approx(
        plain.history[0]["train_loss"], rel=1e-5
    )


@pytest.mark.slow
def test_paddles_own_log_lines_stay_out_of_ours(tmp_path):
    program = tmp_path / "program.py"  # tracing reads the source
    program.write_text(
        "from ppclas_core.paddle_runtime import require_paddle\npaddle = require_paddle('a "
        "test')\nlayer = paddle.nn.Linear(2, 3)\nprint(paddle.jit.to_static(layer.forward, "
        "full_graph=True)(paddle.ones([1, 2])).numpy().shape)\n"
    )
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("GLOG_")
    }
    done = subprocess.run(
        [sys.executable, program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.strip() == "(1, 3)"
    assert "pir_interpreter" not in done.stderr


def test_another_recipe_on_resume_must_be_asked_for(photos, tmp_path, capsys):
    class Stop:
        @hookimpl
        def on_step_end(self, context):
            if context.step == 4:  # one step into the second of epochs of three
                raise RuntimeError

    given = config(photos, tmp_path, epochs=2, checkpoint_minutes=1e-6)
    with use_plugin(Stop(), "stop"), pytest.raises(RuntimeError):
        train(given, Console(quiet=True))
    run = tmp_path / "run"
    other = given.replace(
        data=given.data.replace(batch_size=4),
        train=given.train.replace(epochs=3, ema_decay=0.9, log_every=1),
    )
    with pytest.raises(ConfigError, match=r"data\.batch_size was 8, now 4.*--change-recipe"):
        check_same_recipe(run, other)
    console = Console()
    result = resume(run, console, tell_changes(run, other, console))
    said = capsys.readouterr().err
    assert "changed: train.epochs was 2, now 3" in said
    assert "the checkpoint has no moving average" in said
    assert [row["step"] for row in result.history] == [
        3,
        12,
        18,
    ]  # from 24 photos: 3 steps an epoch, then 6
    assert "ema_top1" in result.history[-1]


def test_parameters_are_left_out_of_decay_by_parts_of_their_names():
    from ppclas_components.optimizing import build_optimizer
    from ppclas_core import create_model
    from ppclas_core.config.schema import OptimizerSection

    model = create_model("FakeNet", num_classes=3)
    names = [name for name, _ in model.trainable()]
    part = next(name for name in names if name.endswith(".weight"))
    section = OptimizerSection(name="AdamW", weight_decay=0.1, no_decay_names=[part])
    built = build_optimizer(section, model, 0.1)
    decays = {
        id(parameter): group["weight_decay"]
        for group in built._param_groups
        for parameter in group["params"]
    }
    assert {name for name, parameter in model.trainable() if decays[id(parameter)] == 0.0} == {
        name for name in names if part in name
    }
