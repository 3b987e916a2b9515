"""What fine-tuning keeps: the classifier fitted first, the mean with it, never less than it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from ppclas_components.optimizing import expand_stages
from ppclas_core.bundle import Bundle
from ppclas_core.config.load import load_config
from ppclas_core.config.schema import NormalizeConfig
from ppclas_core.models import create_model
from ppclas_core.testing import FakeNetPlugin, use_plugin
from ppclas_data.builtin import builtin_photos
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.api import train
from ppclas_engine.console import Console
from ppclas_engine.loop.probe import fit_head, head_to_fit, linear_head, logistic_regression
from ppclas_engine.planning.data import AUGMENTED
from ppclas_engine.planning.fine_tuning import FEW, augmentation_of, fine_tuning_of
from ppclas_engine.planning.plan import make_plan
from ppclas_engine.results.score import evaluate_bundle, plan_scoring
from ppclas_engine.runs.checkpoint import load_checkpoint
from ppclas_engine.session import run_config
from safetensors.numpy import load_file, save_file


@pytest.fixture(scope="module", autouse=True)
def fake_net():
    with use_plugin(FakeNetPlugin()):
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of FakeNet, without a classifier."""
    file = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
    model = create_model("FakeNet", 5)
    save_file({k: v.numpy() for k, v in model.state_dict().items() if not model.is_head(k)}, file)
    return file


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    make_tiny_dataset(folder, classes=3, per_class=12, size=40)
    return folder


@pytest.fixture(scope="module")
def run(weights, photos, tmp_path_factory):
    return train(
        photos,
        model="FakeNet",
        pretrained=weights,
        epochs=2,
        image_size=32,
        output=tmp_path_factory.mktemp("run") / "run",
        overrides=["data.workers=0"],
        console=Console(quiet=True),
    )


def test_the_last_epoch_is_measured_half_way_back_too(run):
    assert run.history[0]["epoch"] == 0
    assert ["halfway_top1" in row for row in run.history] == [False, False, True]
    assert not (run.run.path / "checkpoints" / "start.safetensors").exists()
    measured = [row[k] for row in run.history for k in ("top1", "halfway_top1") if k in row]
    assert run.best["top1"] == max(measured)


@pytest.fixture(scope="module")
def config_of(weights, photos):
    """The config of fine-tuning on ``photos`` where no more is said than this."""

    def load(*said):
        flags = {
            "DATA": ("data.train", str(photos)),
            "--weights": ("model.pretrained", str(weights)),
        }
        return load_config(None, ("model.name=FakeNet", *said), flags).config

    return load


def test_few_photos_change_the_later_stages_boldly(run, weights):
    resolved = run_config(run.run.path)
    assert (resolved.optimizer.clip_norm, resolved.optimizer.lr_mult) == (1.0, {"backbone": 0.5})
    assert resolved.schedule.params["lr"] == 0.02
    assert resolved.loss.params == {"label_smoothing": 0.1}
    assert resolved.train.freeze == ("early",)
    assert resolved.data.resize_short == 34  # half way from 32 to 32 · 256 / 224
    model, published = create_model("FakeNet", 3), load_file(weights)
    frozen = expand_stages(model, ["early"])
    assert frozen == list(model.stages())[: (len(model.stages()) - 1) // 2]
    last = load_checkpoint(run.run.last).part("model")
    learnt = {name for name, _ in model.trainable()}
    moved = {
        key: not np.array_equal(last[key], value)
        for key, value in published.items()
        if key in learnt
    }
    assert {key for key in moved if model.stage_of(key) in frozen}
    assert moved == {key: model.stage_of(key) not in frozen for key in moved}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("schedule.lr=0.2", (0.2, {"backbone": 0.5}, ("early",), 0.1)),
        ("train.freeze=[backbone]", (0.02, {"backbone": 0.5}, ("backbone",), 0.1)),
        ("loss.label_smoothing=0.0", (0.02, {"backbone": 0.5}, ("early",), 0.0)),
        ("optimizer.lr_mult={head: 2}", (0.001, {"head": 2.0}, (), None)),
        ("optimizer.layer_decay=0.8", (0.001, {}, (), None)),
        ("optimizer={name: AdamW}", (1e-4, {"backbone": 0.2}, (), None)),
        (
            "objective={name: Distill, teachers: [{source: a}]}",
            (0.02, {"backbone": 0.5}, ("early",), None),
        ),
        (
            "objective={name: Mutual, peers: [{name: FakeNet}]}",
            (0.001, {"backbone": 0.2}, (), None),
        ),
    ],
)
def test_what_is_said_stays_and_another_way_is_careful(config_of, said, expected):
    plan = make_plan(config_of(said), "cpu").config
    smoothing = plan.loss.params.get("label_smoothing")
    rate = plan.schedule.params["lr"]
    assert (rate, plan.optimizer.lr_mult, plan.train.freeze, smoothing) == expected


@pytest.mark.parametrize(
    ("said", "behind"),
    [
        ((), ["ColorJitter"]),
        (("model.params={in_channels: 1}",), ["ColorJitter", "Grayscale"]),
        (("data.train_transforms=[{name: RandomResizedCrop, size: 32}, {name: RandomFlip}]",), []),
        (("optimizer.layer_decay=0.8",), []),
        (("objective={name: Distill, teachers: [{source: a}]}",), []),
    ],
)
def test_colours_vary_where_nothing_is_said_of_transforms(config_of, said, behind):
    plan = make_plan(config_of(*said), "cpu")
    names = [one.name for one in plan.config.data.train_transforms]
    assert names == ["RandomResizedCrop", "RandomFlip", *behind]
    assert all(one.name != "ColorJitter" for one in plan.config.data.eval_transforms)
    noted = [note for note in plan.notes if note.startswith(AUGMENTED)]
    colours = f"{AUGMENTED}ColorJitter (brightness 0.3, contrast 0.3, saturation 0.3)"
    assert noted == [colours] * ("ColorJitter" in behind)
    # A resolved config gives the same plan again.
    again = make_plan(plan.config, "cpu").config
    assert again.data.train_transforms == plan.config.data.train_transforms


def test_pictures_of_other_channels_keep_their_values(config_of):
    tuning = fine_tuning_of(config_of(), make_plan(config_of(), "cpu").train)
    assert augmentation_of(tuning, config_of("data.channels=4")) == ()
    assert augmentation_of(tuning, config_of("model.params={in_channels: 5}")) == ()
    assert augmentation_of(None, config_of()) == ()


def test_random_weights_learn_as_they_did(config_of):
    said = config_of()
    plan = make_plan(said.replace(model=said.model.replace(pretrained=False)), "cpu").config
    assert (plan.schedule.params["lr"], plan.optimizer.lr_mult) == (0.00313, {})  # 0.0125 · 8 / 32
    assert (plan.train.freeze, plan.loss.params) == ((), {})


def test_epochs_of_fine_tuning_show_as_many_photos(config_of):
    train_set = make_plan(config_of(), "cpu").train
    bold = fine_tuning_of(config_of(), train_set)
    assert [bold.epochs(images) for images in (40, 192, 463, 2000)] == [30, 23, 10, 5]
    said = config_of()
    demo = fine_tuning_of(said.replace(data=said.data.replace(train=None)), train_set)
    assert (demo.epochs(192), demo.rate, demo.freeze) == (12, bold.rate, bold.freeze)
    led = fine_tuning_of(config_of("objective={name: Distill, teachers: [{source: a}]}"), train_set)
    assert [led.epochs(images) for images in (40, 192, 463, 2000)] == [30, 8, 5, 5]
    many = train_set.subset(list(range(len(train_set))) * 80)
    assert len(many) > FEW
    careful = fine_tuning_of(config_of(), many)
    assert (careful.freeze, careful.rate, careful.epochs(192)) == ((), None, 8)


def test_defaults_of_fine_tuning_are_left_alone_where_something_is_said(config_of):
    said = config_of("optimizer.clip_norm=5", "data.resize_short=37")
    plan = make_plan(said, "cpu")
    assert plan.config.optimizer.clip_norm == 5
    assert plan.config.data.resize_short == 37
    assert plan.config.data.image_size == (224, 224)  # as the weights, however small the photos
    scratch = make_plan(said.replace(model=said.model.replace(pretrained=False)), "cpu").config
    assert scratch.data.image_size == (64, 64)


@pytest.mark.parametrize("flips", [False, True])
def test_the_classifier_is_fitted_to_mirror_images_too(flips):
    paddle.seed(0)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (12, 32, 32, 3), np.uint8), np.arange(12) % 3
    model = create_model("FakeNet", 3)
    head = linear_head(model)

    class OneBatch:
        pass

    batch = OneBatch()
    batch.images, batch.labels = images, labels
    fit_head(model, head, [batch], NormalizeConfig(), flips=flips)
    seen = []
    handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numpy()))
    scale = NormalizeConfig()
    for view in (images, images[:, :, ::-1]) if flips else (images,):
        standard = (view / 255 - np.array(scale.mean)) / np.array(scale.std)
        model(paddle.to_tensor(standard.transpose(0, 3, 1, 2).astype(np.float32)))
    handle.remove()
    weight, bias = logistic_regression(np.concatenate(seen), np.tile(labels, len(seen)), 3)
    np.testing.assert_allclose(head.weight.numpy(), weight, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(head.bias.numpy(), bias, rtol=1e-3, atol=1e-3)


def test_a_convolution_that_is_averaged_is_fitted_as_a_linear_layer_would_be():
    """SqueezeNet: convolution of single pixels, ReLU, mean."""
    paddle.seed(0)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (12, 64, 64, 3), np.uint8), np.arange(12) % 3
    model = create_model("SqueezeNet1_1", 3)
    head = head_to_fit(model, "classification")
    assert head is model._conv9
    assert head_to_fit(model, "multilabel") is None  # nothing below one half could be said
    batch = SimpleNamespace(images=images, labels=labels)
    fit_head(model, head, [batch], NormalizeConfig())
    scale = NormalizeConfig()
    standard = (images / 255 - np.array(scale.mean)) / np.array(scale.std)
    views = paddle.to_tensor(standard.transpose(0, 3, 1, 2).astype(np.float32))
    features = model.forward_features(views).numpy().mean((2, 3)) / 2  # dropout in evaluation
    weight, bias = logistic_regression(features, labels, 3)
    expected = paddle.nn.functional.softmax(paddle.to_tensor(features @ weight + bias)).numpy()
    found = paddle.nn.functional.softmax(model(views)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "lr"), [("MobileNetV2", None), ("MobileNetV2", 0.2), ("SqueezeNet1_1", None)]
)
def test_real_weights_never_end_below_the_classifier_fitted_first(model, lr, tmp_path):
    """On the built-in photos with the weights in ppclas-models; 0.2 is ten times the default."""
    result = train(
        builtin_photos(),
        model=model,
        epochs=1,
        lr=lr,
        image_size=64,
        output=tmp_path / "run",
        console=Console(quiet=True),
    )
    fitted, last = result.history[0], result.history[-1]
    assert result.best["top1"] >= fitted["top1"] > 0.6  # one of eight
    assert last["top1"] > 0.5
    bundle = Bundle.load(result.run.bundle)
    again = evaluate_bundle(
        bundle, plan_scoring(bundle, str(result.run.path), None), Console(quiet=True)
    )
    assert again.metrics["top1"] == pytest.approx(result.best["top1"])
