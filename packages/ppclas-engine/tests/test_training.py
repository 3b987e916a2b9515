"""The training loop on tiny photos: hooks, trackers, metrics, freezing, evaluation that repeats."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ppclas_core.bundle import Bundle
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    OptimizerSection,
    TrainSection,
)
from ppclas_core.errors import ConfigError, TrainingError
from ppclas_core.hookspecs import hookimpl
from ppclas_core.testing import use_plugin
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.console import Console
from ppclas_engine.results.score import evaluate_bundle, plan_scoring
from ppclas_engine.session import train
from ppclas_engine.testing import FakePlugin
from safetensors.numpy import load_file


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    make_tiny_dataset(folder, classes=3, per_class=12, size=40)
    return str(folder)


@pytest.fixture
def console():
    return Console(quiet=True)


def config(photos, tmp_path, **changes):
    base = {
        "model": ModelSection(name="FakeNet", pretrained=False),
        "data": DataSection(train=photos, image_size=32, batch_size=8, workers=0),
        "schedule": ComponentConfig(name="Constant", lr=0.02),
        "train": TrainSection(epochs=3, output=str(tmp_path / "run"), device="cpu"),
    }
    return Config(**{**base, **changes})


class Watcher(FakePlugin):
    """Note what the run-time hooks see."""

    def __init__(self):
        super().__init__()
        self.seen = []

    @hookimpl
    def on_train_start(self, context):
        self.seen.append("start")

    @hookimpl
    def on_step_end(self, context):
        self.seen.append(context.step)

    @hookimpl
    def on_epoch_end(self, context):
        self.seen.append(f"epoch {context.epoch}")
        context.stop = context.epoch == 1

    @hookimpl
    def on_train_end(self, context):
        self.seen.append("end")


def test_a_run_from_photos_to_bundle(photos, tmp_path, console):
    trackers, metrics = (
        (ComponentConfig(name="FakeTracker"),),
        (ComponentConfig(name="FakeMetric"),),
    )
    with use_plugin(FakePlugin()):
        result = train(config(photos, tmp_path, trackers=trackers, metrics=metrics), console)
        run = result.run.path
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [row["epoch"] for row in rows] == [1, 2, 3]
        assert rows[-1]["train_loss"] < rows[0]["train_loss"]
        assert all(row["error"] == pytest.approx(1 - row["top1"]) for row in rows)
        tracked = [
            json.loads(line) for line in (run / "fake_tracker.jsonl").read_text().splitlines()
        ]
        assert [row["top1"] for row in tracked] == [row["top1"] for row in rows]
        for name in (
            "config.yaml",
            "command.txt",
            "log.txt",
            "metrics.csv",
            "per_class.csv",
            "confusion.csv",
        ):
            assert (run / name).stat().st_size, name
        for name in ("curves.png", "confusion.png"):
            assert (run / name).read_bytes().startswith(b"\x89PNG")
        for name in ("last", "best"):
            assert (run / "checkpoints" / f"{name}.safetensors").exists()

        bundle = Bundle.load(run)
        again = evaluate_bundle(bundle, plan_scoring(bundle, str(run), None), console, workers=0)
        best = result.best
        assert again.metrics == {key: best[key] for key in again.metrics}
        assert again.num_images == best["num_images"]
        assert bundle.manifest.metrics["top1"] == best["top1"]


def test_a_bundle_shows_photos_as_evaluation_did_whatever_defaults_become(
    photos, tmp_path, console
):
    # Evaluation by a list of its own, larger than training's photos.
    shown = (ComponentConfig(name="CenterCrop", size=(36, 44)),)
    data = DataSection(train=photos, image_size=32, batch_size=8, workers=0, eval_transforms=shown)
    section = TrainSection(epochs=1, output=str(tmp_path / "run"), device="cpu")
    with use_plugin(FakePlugin()):
        bundle = Bundle.load(
            train(config(photos, tmp_path, data=data, train=section), console).run.path
        )
    assert bundle.image_size == (36, 44)
    (crop,) = bundle.manifest.preprocessing.transforms
    assert (crop.name, crop.params) == ("CenterCrop", {"size": (36, 44), "fill": None})


def test_hooks_run_in_order_and_can_end_a_run(photos, tmp_path, console):
    watcher = Watcher()
    rarely = TrainSection(epochs=5, output=str(tmp_path / "run"), device="cpu", eval_every=4)
    with use_plugin(watcher):
        result = train(config(photos, tmp_path, train=rarely), console)
    steps = [1, 2, 3, 4]  # 30 photos are left for training: four batches of eight
    assert watcher.seen == ["start", *steps, "epoch 0", *(s + 4 for s in steps), "epoch 1", "end"]
    assert len(result.history) == 2
    assert result.best["epoch"] == 2  # the last epoch is evaluated, whoever made it the last


def test_a_frozen_backbone_does_not_move(photos, tmp_path, console):
    def weights(**changes):
        made = train(config(photos, tmp_path, **changes), console)
        return load_file(made.run.path / "checkpoints" / "last.safetensors")

    with use_plugin(FakePlugin()):
        frozen = TrainSection(
            epochs=1, output=str(tmp_path / "a"), device="cpu", freeze=("backbone",)
        )
        longer = TrainSection(
            epochs=2, output=str(tmp_path / "b"), device="cpu", freeze=("backbone",)
        )
        one, two = weights(train=frozen), weights(train=longer)
    moved = {
        key for key in one if key.startswith("model/") and not np.array_equal(one[key], two[key])
    }
    assert moved
    assert all(key.startswith("model/fc.") for key in moved)


def test_freezing_everything_or_nothing_known_is_refused(photos, tmp_path, console):
    with use_plugin(FakePlugin()):
        everything = TrainSection(
            epochs=1, output=str(tmp_path / "a"), device="cpu", freeze=("backbone", "head")
        )
        with pytest.raises(ConfigError, match="Every stage is frozen"):
            train(config(photos, tmp_path, train=everything), console)
        unknown = TrainSection(epochs=1, output=str(tmp_path / "b"), device="cpu", freeze=("neck",))
        with pytest.raises(ConfigError, match=r"has no stage 'neck' to freeze\. It has:"):
            train(config(photos, tmp_path, train=unknown), console)
        factor = OptimizerSection(lr_mult={"neck": 0.1})
        with pytest.raises(ConfigError, match=r"has no stage 'neck'\. It has: backbone"):
            train(config(photos, tmp_path, optimizer=factor), console)


def test_a_loss_that_explodes_stops_the_run_and_says_what_to_try(photos, tmp_path, console):
    with use_plugin(FakePlugin()), pytest.raises(TrainingError, match=r"not finite.*--lr"):
        train(config(photos, tmp_path, schedule=ComponentConfig(name="Constant", lr=1e20)), console)


def test_a_smaller_rate_for_the_backbone_is_applied(photos, tmp_path, console):
    """With factor 0 and no weight decay the backbone stays; its batch-norm statistics do not."""
    with use_plugin(FakePlugin()):
        still = OptimizerSection(lr_mult={"backbone": 0.0}, weight_decay=0.0)
        one = train(config(photos, tmp_path, optimizer=still), console).run.path
        model = Bundle.load(one).build_model()
        before = {name: value.numpy() for name, value in model.trainable()}
        arrays = load_file(one / "checkpoints" / "last.safetensors")
    first = load_file(one / "checkpoints" / "previous.safetensors")
    for name in before:
        changed = not np.array_equal(arrays[f"model/{name}"], first[f"model/{name}"])
        assert changed == name.startswith("fc."), name


def test_the_moving_average_follows_its_formula():
    import paddle
    from ppclas_core.models import create_model
    from ppclas_engine.loop.ema import Ema

    with use_plugin(FakePlugin()):
        model = create_model("FakeNet", num_classes=2)
    values = [1.0, 3.0, -2.0, 5.0]
    model.fc.bias.set_value(paddle.full([2], values[0]))
    ema, expected = Ema(model, decay=0.3), values[0]
    for step, value in enumerate(values[1:]):
        model.fc.bias.set_value(paddle.full([2], value))
        ema.update(step)
        kept = min(0.3, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * value
    np.testing.assert_allclose(ema.arrays()["fc.bias"], expected, rtol=1e-6)
    with ema.applied():
        np.testing.assert_allclose(model.fc.bias.numpy(), expected, rtol=1e-6)
    np.testing.assert_array_equal(model.fc.bias.numpy(), values[-1])


def test_the_better_of_weights_and_average_is_kept(photos, tmp_path, console):
    section = TrainSection(epochs=2, output=str(tmp_path / "run"), device="cpu", ema_decay=0.5)
    with use_plugin(FakePlugin()):
        result = train(config(photos, tmp_path, train=section), console)
        bundle = Bundle.load(result.run.path)
        again = evaluate_bundle(
            bundle, plan_scoring(bundle, str(result.run.path), None), console, workers=0
        )
    raw = [(row["top1"], -row["loss"], "raw") for row in result.history]
    averaged = [(row["ema_top1"], -row["ema_loss"], "ema") for row in result.history]
    top1, loss, kind = max(raw + averaged)
    assert (result.best["top1"], -result.best["loss"], result.best["weights"]) == (top1, loss, kind)
    assert again.metrics == {key: result.best[key] for key in again.metrics}


def test_precision_that_the_device_lacks_is_refused(photos, tmp_path, console):
    section = TrainSection(epochs=1, output=str(tmp_path / "run"), device="cpu", precision="fp16")
    with use_plugin(FakePlugin()), pytest.raises(ConfigError, match="fp16 needs a GPU"):
        train(config(photos, tmp_path, train=section), console)
    assert not (tmp_path / "run").exists()
