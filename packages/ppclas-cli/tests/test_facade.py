"""``import ppclas``: the same objects under one short name, and nothing heavy until it is used."""

from __future__ import annotations

import base64
import inspect
import io
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import ppclas
import ppclas_core
import ppclas_engine
import pytest
from ppclas_core.errors import ConfigError, DataError, PpclasError, ShapeError, UnknownNameError
from ppclas_core.weights import read_state
from ppclas_data.builtin import builtin_photos


def test_every_name_is_the_one_of_the_package_it_lives_in():
    assert set(ppclas.__all__) == set(dir(ppclas)) & set(ppclas.__all__)
    for name in (
        "Classifier",
        "Prediction",
        "create_model",
        "evaluate",
        "load",
        "predict",
    ):
        assert getattr(ppclas, name) is getattr(ppclas_engine, name)
    for name in ("Config", "list_models"):
        assert getattr(ppclas, name) is getattr(ppclas_core, name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        ppclas.nothing  # noqa: B018
    assert ppclas.__version__ == version("ppclas-cli")


def test_a_mistyped_name_is_told_with_the_one_that_was_meant():
    done = subprocess.run(
        [sys.executable, "-c", "import ppclas; ppclas.predct"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Did you mean: 'predict'?" in done.stderr


def test_train_takes_what_the_engine_does_and_the_presets_of_augment():
    assert inspect.signature(ppclas.train) == inspect.signature(ppclas_engine.train)
    assert "augment: ``light``, ``medium``, ``strong``" in ppclas.train.__doc__
    with pytest.raises(ConfigError, match="--augment heavy: expected light, medium, strong, or a"):
        ppclas.train(augment="heavy")
    with pytest.raises(ConfigError, match=r"'light': a name that ppclas.train knows"):
        ppclas_engine.train(augment="light")


def test_assigning_to_a_config_says_how_to_change_it():
    config = ppclas.Config()
    with pytest.raises(ConfigError, match=r"TrainSection is frozen: .replace\(epochs=3\) gives a"):
        config.train.epochs = 3
    changed = config.replace(train=config.train.replace(epochs=3))
    assert (changed.train.epochs, config.train.epochs) == (3, ppclas.Config().train.epochs)


def test_importing_and_listing_import_nothing_heavy():
    code = (
        "import sys, ppclas; assert 'ResNet50_vd' in ppclas.list_models('*vd*', pretrained=True);"
        "print([name for name in ('paddle', 'cv2', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_published_weights_are_in_the_layer_that_is_created(monkeypatch):
    pytest.importorskip("paddle")
    monkeypatch.setenv("PPCLAS_OFFLINE", "1")
    from ppclas_models import locate

    published = read_state(locate("MobileNetV2"))
    key = "conv9._conv.weight"
    network = ppclas.create_model("mobilenetv2", num_classes=8, pretrained=True)
    np.testing.assert_array_equal(network.state_dict()[key].numpy(), published[key])
    assert network.config.num_classes == 8
    backbone = ppclas.create_model("MobileNetV2", features_only=True, pretrained=True)
    np.testing.assert_array_equal(backbone.model.state_dict()[key].numpy(), published[key])
    grey = ppclas.create_model("MobileNetV2", pretrained=True, in_channels=1)
    np.testing.assert_allclose(
        grey.state_dict()["conv1._conv.weight"].numpy(),
        published["conv1._conv.weight"].sum(axis=1, keepdims=True),
        rtol=1e-6,
    )
    fresh = ppclas.create_model("MobileNetV2")
    assert not np.array_equal(fresh.state_dict()[key].numpy(), published[key])
    with pytest.raises(ConfigError, match="leave num_classes out"):
        ppclas.create_model("MobileNetV2", 8, features_only=True)
    with pytest.raises(UnknownNameError, match="Did you mean"):
        ppclas.create_model("MobileNetV22")


def test_a_notebook_shows_the_photo_and_a_bar_for_each_class(tmp_path):
    photo = tmp_path / "a & b.png"
    cv2.imwrite(str(photo), np.full((40, 80, 3), (0, 0, 255), "uint8"))
    shown = ppclas.Prediction(str(photo), (("cat <1>", 0.75), ("dog", 0.25)))._repr_html_()
    assert "a &amp; b.png" in shown
    assert "cat &lt;1&gt;" in shown
    assert re.findall(r"width:([\d.]+)%", shown) == ["75.0", "25.0"]
    (encoded,) = re.findall(r"base64,([^']+)'", shown)
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), "uint8"), cv2.IMREAD_COLOR)
    assert picture.shape == (220, 220, 3)  # twice as wide as high, in the middle
    assert np.abs(picture[60:160].astype(int) - (0, 0, 255)).max() < 10
    of_web = ppclas.Prediction("https://a.b/c.jpg?d=1&e='", (("cat", 1.0),))._repr_html_()
    assert "src='https://a.b/c.jpg?d=1&amp;e=&#x27;'" in of_web
    of_array = ppclas.Prediction("image 1", (("cat", 1.0),))._repr_html_()
    assert "<img" not in of_array
    broken = ppclas.Prediction("x.jpg", error="no <image>")._repr_html_()
    assert "no &lt;image&gt;" in broken


def test_everything_that_holds_an_image_is_one(tmp_path):
    paddle = pytest.importorskip("paddle")
    model = ppclas.load()
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype("uint8")
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), pixels[..., ::-1])
    (expected,) = model.predict(photo)

    with photo.open("rb") as file:
        opened = model.predict(file)
    tensor = paddle.to_tensor(pixels)
    for answers in (
        opened,
        model.predict(io.BytesIO(photo.read_bytes())),
        model.predict(bytearray(photo.read_bytes())),
        model.predict(tensor),
        model.predict([tensor]),
        model.predict(tensor.transpose([2, 0, 1]), layout="CHW"),
        model.predict(np.array([str(photo)])),
    ):
        assert [answer.top for answer in answers] == [expected.top]
    assert model.predict([]) == []
    with pytest.raises(ShapeError, match=r"image 1: expected uint8 pixels in 0\.\.255, got int64"):
        model.predict(np.array(5))
    for nothing in (None, 3, [None]):
        with pytest.raises(DataError, match="image 1: expected a path, the bytes of an image"):
            model.predict(nothing)
    with pytest.raises(ShapeError, match=r"got float64\. Are they in 0\.\.1\?"):
        model.predict(pixels / 255)
    with pytest.raises(ShapeError, match=r"got float32\. Bring them to 0\.\.255"):
        model.predict(pixels.astype("float32"))
    with pytest.raises(AttributeError, match=r"no 'label': they are a list, so take \[0\].label"):
        model.predict(photo).label  # noqa: B018
    with pytest.raises(AttributeError, match=r"Predictions have no 'name'$"):
        model.predict(photo).name  # noqa: B018


@pytest.mark.slow
def test_what_train_and_export_return_is_a_path(tmp_path):
    pytest.importorskip("paddle")
    pytest.importorskip("onnxruntime")
    photos = builtin_photos()
    run = ppclas.train(
        photos / "train", val=photos / "val", epochs=1, image_size=32, output=tmp_path / "run"
    )
    assert re.fullmatch(
        r"<RunResult .*/run: epoch [01], top-1 \d+\.\d\d%, loss \d\.\d+>", repr(run)
    )
    assert ppclas.evaluate(run).metrics["top1"] == pytest.approx(run.best["top1"])
    receipt = ppclas.export(run, "onnx", num_photos=2)
    assert receipt.folder == tmp_path / "run" / "export-onnx"
    photo = next((photos / "val").rglob("*.jpg"))
    assert ppclas.load(receipt).predict(photo)[0].label == ppclas.load(run).predict(photo)[0].label
    with pytest.raises(ConfigError, match="target onnx has no option 'size'"):
        ppclas.export(run, "onnx", tmp_path / "other", size=3)


@pytest.mark.parametrize(
    ("switches", "key", "value"),
    [
        ({"patience": 3}, "train.patience", 3),
        ({"freeze": "backbone"}, "train.freeze", ("backbone",)),
        ({"freeze": ["stem", "early"]}, "train.freeze", ("stem", "early")),
        ({"label_smoothing": 0.2}, "loss.label_smoothing", 0.2),
        ({"optimizer": "AdamW", "weight_decay": 0.5}, "optimizer.name", "AdamW"),
        ({"weight_decay": 0.5}, "optimizer.weight_decay", 0.5),
        ({"mixup": 0.3}, "data.batch_transforms.0.alpha", 0.3),
        ({"tracker": "TensorBoard"}, "trackers.0.name", "TensorBoard"),
        ({"workers": 0}, "data.workers", 0),
        ({"name": "tulips"}, "train.output", "runs/tulips"),
        ({"patience": 3, "output": Path("new")}, "train.patience", 3),
    ],
)
def test_train_takes_the_other_switches_of_the_command(switches, key, value, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    planned = []

    def look(plan):
        planned.append(plan.config.model_dump())
        raise DataError("seen")

    with pytest.raises(DataError, match="seen"):
        ppclas.train(model="ResNet18", pretrained=False, augment=look, **switches)
    found = planned[0]
    for part in key.split("."):
        found = found[int(part) if part.isdecimal() else part]
    assert (tuple(found) if isinstance(found, list) else found) == value


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"epoch": 3}, r"no argument 'epoch'\. Did you mean 'epochs'\? For other settings: "),
        ({"imgsz": 224}, r"no argument 'imgsz'\. Did you mean 'image_size'\?"),
        ({"patiense": 3}, r"no argument 'patiense'\. Did you mean 'patience'\?"),
        ({"dropout": 0.1}, r"no argument 'dropout': overrides=\['model.params=…'\] sets it"),
        ({"xyzzy": 1}, r"no argument 'xyzzy'\. For other settings: overrides="),
        ({"kfold": 5}, "'kfold' is of the command alone: see 'ppclas train --help'"),
        ({"name": "a", "output": "b"}, "--output and --name both say where the run goes"),
        ({"patience": 0}, "train.patience"),
        ({"optimizer": "Adamw2"}, r"Adamw2.*AdamW"),
    ],
)
def test_train_names_what_was_meant_by_an_argument_it_lacks(switches, message):
    with pytest.raises(PpclasError, match=message):
        ppclas.train(**switches)
