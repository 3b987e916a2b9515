"""Maps are compared with the formulas in NumPy, with images whose evidence is known, and with each
other over engines.
"""

import csv
import json

import numpy as np
import paddle
import pytest
from ppclas_cli.main import main
from ppclas_core.bundle import Bundle
from ppclas_core.config.schema import NormalizeConfig
from ppclas_core.errors import ConfigError, DataError
from ppclas_core.normalize import normalize_batch
from ppclas_core.testing import FakeNetPlugin, make_tiny_bundle, use_plugin
from ppclas_core.testing.tiny_net import TinyNet, TinyNetConfig
from ppclas_data.builtin import builtin_photos
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.bundles import open_model
from ppclas_search.heat import mistakes
from ppclas_search.heat.explaining import explain
from ppclas_search.heat.faithful import measure_faithfulness, pointing_game
from ppclas_search.heat.maps import (
    grad_cam,
    layer_cam,
    occlusion,
    random_maps,
    recipro_cam,
)

SIDE = 64
PLAIN = NormalizeConfig()
GRADIENTS = {"grad-cam": grad_cam, "layer-cam": layer_cam, "recipro-cam": recipro_cam}


def objects(count, rng):
    """Noise with a red, green or blue disc in one quarter; pixels, classes, boxes of the
    quarters.
    """
    images = rng.integers(60, 120, (count, SIDE, SIDE, 3)).astype(np.uint8)
    classes = rng.integers(0, 3, count)
    boxes = []
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    for image, of_class in zip(images, classes, strict=True):
        top, left = (int(value) * SIDE // 2 for value in rng.integers(0, 2, 2))
        boxes.append((top, left, top + SIDE // 2, left + SIDE // 2))
        row, column = top + rng.integers(13, 19), left + rng.integers(13, 19)
        disc = (y - row) ** 2 + (x - column) ** 2 < 100
        colour = np.full(3, 40)
        colour[of_class] = 230
        image[disc] = colour
    return images, classes, boxes


@pytest.fixture(scope="module")
def trained():
    """A tiny net that knows the three colours, and photos that it has not seen."""
    rng = np.random.default_rng(0)
    paddle.seed(0)
    model = TinyNet(TinyNetConfig(num_classes=3, width=8))
    optimizer = paddle.optimizer.Adam(0.005, parameters=model.parameters())
    for _ in range(60):
        images, classes, _ = objects(24, rng)
        logits = model(paddle.to_tensor(normalize_batch(images, PLAIN)))
        loss = paddle.nn.functional.cross_entropy(logits, paddle.to_tensor(classes))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    model.eval()
    return model, objects(60, rng)


def predictor(model):
    def predict(pixels):
        with paddle.no_grad():
            return model(paddle.to_tensor(normalize_batch(pixels, PLAIN))).numpy()

    return predict


def test_the_net_knows_its_colours(trained):
    model, (images, classes, _) = trained
    assert (predictor(model)(images).argmax(axis=1) == classes).mean() > 0.95


@pytest.mark.parametrize("method", ["grad-cam", "layer-cam", "recipro-cam", "occlusion"])
def test_pointing_game_on_objects_in_a_known_quarter(trained, method):
    model, (images, classes, boxes) = trained
    if method == "occlusion":
        maps = occlusion(predictor(model), images, classes)
    else:
        function = {"grad-cam": grad_cam, "layer-cam": layer_cam, "recipro-cam": recipro_cam}[
            method
        ]
        maps = function(model, images, classes, PLAIN)
    assert maps.shape == (60, SIDE, SIDE)
    assert maps.dtype == np.float32
    assert (maps.min(), maps.max()) == (0.0, 1.0)
    assert pointing_game(maps, boxes) >= 0.95


def test_chance_in_the_pointing_game_is_a_quarter(trained):
    _, (images, _, boxes) = trained
    hits = [
        pointing_game(random_maps(np.random.default_rng(seed), images), boxes) for seed in range(5)
    ]
    assert np.mean(hits) == pytest.approx(0.25, abs=0.1)


def test_grad_cam_of_a_linear_classifier_is_its_weights_times_the_map(trained):
    """After global average pooling and a linear layer the gradient is W[:, c] / (h · w)."""
    model, (images, classes, _) = trained
    with paddle.no_grad():
        features = model.forward_features(paddle.to_tensor(normalize_batch(images[:4], PLAIN)))
    features, weight = features.numpy(), model.fc.weight.numpy()
    small = np.einsum("nchw,cn->nhw", features, weight[:, classes[:4]])
    layered = np.einsum("nchw,cn->nhw", features, np.maximum(weight[:, classes[:4]], 0))
    for expected, function in ((small, grad_cam), (layered, layer_cam)):
        found = function(model, images[:4], classes[:4], PLAIN)
        # The middle of each cell of 8 x 8 pixels lies between four pixels of the resized map.
        middles = found.reshape(4, 8, 8, 8, 8)[:, :, 3:5, :, 3:5].mean(axis=(2, 4))
        expected = np.maximum(expected, 0)
        scale = expected.max(axis=(1, 2), keepdims=True)
        ours = middles / middles.max(axis=(1, 2), keepdims=True)
        assert np.abs(ours - expected / scale).max() < 0.06


def test_finer_maps_by_number(trained):
    model, (images, classes, boxes) = trained
    maps = layer_cam(model, images[:20], classes[:20], PLAIN, layer=1)
    assert pointing_game(maps, boxes[:20]) >= 0.9
    with pytest.raises(ConfigError, match=r"from -3 to 2, got 7.*strides 2, 4, 8"):
        grad_cam(model, images[:1], classes[:1], PLAIN, layer=7)


def test_deletion_and_insertion_beat_a_random_map(trained):
    model, (images, classes, _) = trained
    predict = predictor(model)

    def probabilities(pixels):
        shifted = np.exp(predict(pixels) - predict(pixels).max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)

    some, asked = images[:12], classes[:12]
    ours = measure_faithfulness(probabilities, some, asked, grad_cam(model, some, asked, PLAIN))
    chance = measure_faithfulness(
        probabilities, some, asked, random_maps(np.random.default_rng(0), some)
    )
    assert ours.deletion.mean() < chance.deletion.mean() - 0.1
    # The blurred image that it begins with shows the colour already.
    assert ours.insertion.mean() > chance.insertion.mean()


@pytest.mark.sweep
@pytest.mark.parametrize("method", ["grad-cam", "layer-cam", "recipro-cam"])
def test_on_real_photos_too(tmp_path, method):
    """What SqueezeNet1_1, with its published weights, sees in a photo of each kind."""
    kinds = sorted(path for path in (builtin_photos() / "val").iterdir() if path.is_dir())
    photos = [str(path) for kind in kinds for path in sorted(kind.iterdir())[:1]]
    bundle = open_model("SqueezeNet1_1", download=False)
    found = explain(bundle, photos, tmp_path, methods=[method], faithfulness=True)
    means = {
        curve: {
            name: np.mean([getattr(photo, curve)[name] for photo in found])
            for name in (method, "random")
        }
        for curve in ("deletion", "insertion")
    }
    print(method, means)
    assert len(found) == 8
    assert means["deletion"][method] < means["deletion"]["random"]
    assert means["insertion"][method] > means["insertion"]["random"]


def test_areas_of_a_known_answer():
    """Where the probability is the share of white pixels, the curve is a straight line."""

    def probabilities(pixels):
        share = (pixels == 255).all(axis=3).mean(axis=(1, 2))
        return np.stack([share, 1 - share], axis=1)

    image = np.full((1, 10, 10, 3), 255, np.uint8)
    image[:, :5] = 0
    heat = np.zeros((1, 10, 10), np.float32)
    heat[:, 5:] = 1.0
    found = measure_faithfulness(probabilities, image, [0], heat, steps=2)
    # 0.5 white, then none: (0.5 + 0) / 2, then 0.
    assert found.deletion.tolist() == pytest.approx([0.125])


def test_folder_of_pictures_arrays_and_a_sheet(tmp_path, trained):
    import cv2

    rng = np.random.default_rng(1)
    images, _, _ = objects(3, rng)
    for number, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"photo{number}.png"), image[:, :, ::-1])
    (tmp_path / "bad.png").write_text("no image")
    paths = [str(tmp_path / name) for name in ("photo0.png", "bad.png", "photo1.png")]
    with use_plugin(FakeNetPlugin()):
        bundle = make_tiny_bundle(tmp_path / "bundle", image_size=SIDE)
        out = tmp_path / "out"
        first, bad, last = explain(bundle, paths, out, methods=["grad-cam"], faithfulness=True)
        assert "bad.png" in bad.error
        assert first.files == ("photo0-grad-cam.png", "photo0-grad-cam.npy")
        assert set(first.deletion) == {"grad-cam", "random"}
        assert np.load(out / "photo1-grad-cam.npy").shape == (SIDE, SIDE)
        assert cv2.imread(str(out / "sheet.png")).shape[1] > 2 * 160
        assert json.loads((out / "explain.json").read_text())[2]["label"] == last.label
        other = explain(bundle, paths[:1], out, methods=["occlusion"], label="class_01")
        assert other[0].label == "class_01"
        with pytest.raises(DataError, match=r"no class 'class_1'. Did you mean"):
            explain(bundle, paths, out, label="class_1")
        with pytest.raises(ConfigError, match=r"There is no method 'cam'. There are: grad-cam"):
            explain(bundle, paths, out, methods=["cam"])
        with pytest.raises(DataError, match="Not one of the photos could be read"):
            explain(bundle, paths[1:2], out)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_maps_of_an_export_are_those_of_paddle(tmp_path, target):
    import cv2

    export = pytest.importorskip("ppclas_deploy.export")
    pytest.importorskip({"onnx": "onnxruntime"}.get(target, target))
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), objects(1, np.random.default_rng(2))[0][0])
    bundle = open_model("SqueezeNet1_1")
    export.export_bundle(bundle, target, tmp_path / "export")
    maps = {}
    for name, opened in (("paddle", bundle), ("export", Bundle.load(tmp_path / "export"))):
        explain(opened, [str(photo)], tmp_path / name, methods=["occlusion"])
        maps[name] = np.load(tmp_path / name / "photo-occlusion.npy")
    assert maps["paddle"].max() == 1.0
    assert np.abs(maps["paddle"] - maps["export"]).max() < 1e-3


def test_a_report_shows_what_the_model_looked_at(tmp_path, capsys):
    """Of each mistake, and of nothing where there is none."""
    folder, _ = make_tiny_dataset(tmp_path / "photos", per_class=6, size=40)
    run = str(tmp_path / "run")
    words = ["train", str(folder), "-m", "FakeNet", "--from-scratch", "--epochs", "1"]
    words += ["--image-size", "32", "--lr", "1e-6", "--workers", "0", "--output", run]
    with use_plugin(FakeNetPlugin()):
        assert main(words) == 0
        with (tmp_path / "run" / "predictions.csv").open() as file:
            wrong = sum(row["labels"] != row["predicted"] for row in csv.DictReader(file))
        assert wrong
        page = (tmp_path / "run" / "report.html").read_text()
        assert page.count("evidence for ") == wrong + 1  # one says what red is
        assert mistakes.MARK not in page
        assert mistakes.add_heat_maps(tmp_path / "run", Bundle.load(run)) == 0  # they are there
        assert mistakes.add_heat_maps(tmp_path, Bundle.load(run)) == 0


def test_the_public_name_stays_a_function_whatever_was_imported():
    import ppclas_search

    assert ppclas_search.explain is explain


@pytest.mark.parametrize(
    ("image", "shown"),
    [
        (np.full((4, 6, 1), 90, np.uint8), [90, 90, 90]),
        (np.full((4, 6, 3), (10, 20, 30), np.uint8), None),
        (np.full((4, 6, 5), (0, 5000, 10000, 7, 8), np.uint16), None),
    ],
)
def test_a_map_is_laid_over_an_image_of_any_number_of_channels(image, shown):
    from ppclas_search.heat.pictures import overlay

    cold, hot = (overlay(image, np.full((4, 6), heat, np.float32)) for heat in (0.0, 1.0))
    assert cold.shape == hot.shape == (4, 6, 3)
    assert cold.dtype == hot.dtype == np.uint8
    if shown is not None:
        assert cold[0, 0].tolist() == shown
    # Red where the evidence is, and dull colours in their own order where there is none.
    assert (hot[..., 0] > hot[..., 2]).all()
    if image.shape[2] > 1:
        assert (np.diff(cold[0, 0].astype(int)) > 0).all()
