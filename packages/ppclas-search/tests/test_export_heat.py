"""Exports with a heat map: each engine's maps against those of ``ppclas explain`` in Paddle."""

import json
from dataclasses import replace

import numpy as np
import paddle
import pytest
from ppclas_cli.main import main
from ppclas_core.bundle import Bundle
from ppclas_core.errors import BundleError, ExportError, ParityError
from ppclas_data.builtin import builtin_photos
from ppclas_deploy.export import export_bundle
from ppclas_deploy.heat import check_heat, heat_maps
from ppclas_deploy.heat_network import HeatNetwork
from ppclas_deploy.photos import choose_photos
from ppclas_engine.bundles import open_model
from ppclas_engine.scoring.predictors import open_engine
from ppclas_search.heat.explaining import explain
from ppclas_search.heat.maps import as_large, grad_cam, recipro_cam
from ppclas_search.seen import see

PHOTOS = [str(path) for path in sorted(builtin_photos().glob("val/*/*"))[:40:20]]


@pytest.fixture(scope="module")
def bundle():
    return open_model("SqueezeNet1_1", download=False)


@pytest.fixture(scope="module", params=["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def exported(request, bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / request.param
    export_bundle(bundle, request.param, folder, options={"heatmap": True}, num_photos=2)
    return Bundle.load(folder)


def pixels_of(bundle):
    return np.stack([one.pixels for one in see(bundle, PHOTOS)])


def test_every_engine_gives_the_maps_of_paddle(bundle, exported):
    assert exported.manifest.export["heatmap"] is True
    report = json.loads((exported.folder / "parity.json").read_text())
    assert report["heatmap_max_abs_diff"] <= 1e-3
    pixels, engine = pixels_of(bundle), open_engine(exported)
    images = engine.prepare(pixels)
    maps = heat_maps(exported, engine, images)
    classes = engine.logits(images).argmax(axis=1)
    assert maps.shape[1] < pixels.shape[1]
    assert maps.max(axis=(1, 2)) == pytest.approx(np.ones(len(PHOTOS)), abs=1e-6)
    model = bundle.build_model()
    own = recipro_cam(model, pixels, classes, bundle.manifest.preprocessing.normalize)
    assert as_large(maps, pixels) == pytest.approx(own, abs=1e-3)


def test_a_linear_classifier_has_the_maps_of_grad_cam():
    from ppclas_core.config.schema import NormalizeConfig
    from ppclas_core.models import create_model

    model = create_model("ResNet18", 7)
    model.eval()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    network = HeatNetwork(model, 64, 96)
    network.eval()
    assert network.kind == "cam"
    from ppclas_data.loading.device import normalize_on_device

    with paddle.no_grad():
        logits, maps = network(normalize_on_device(pixels, NormalizeConfig()))
    assert maps.shape == [3, 2, 3]
    own = grad_cam(model, pixels, logits.numpy().argmax(axis=1), NormalizeConfig())
    assert as_large(maps.numpy(), pixels) == pytest.approx(own, abs=1e-3)


@pytest.mark.slow
def test_a_wrong_map_is_refused(bundle, exported, tmp_path):
    other = open_model("SqueezeNet1_1", download=False)
    model = other.build_model()
    with paddle.no_grad():
        for parameter in model.parameters():
            parameter.set_value(parameter.flip([0]))
    weights = tmp_path / "flipped.pdparams"
    paddle.save(model.state_dict(), str(weights))
    other = open_model("SqueezeNet1_1", weights=weights)
    photos = choose_photos(bundle, None, 2)
    with pytest.raises(ParityError, match="the heat maps differ from Paddle's by"):
        check_heat(other, exported.folder, photos, tmp_path / "log", 300.0, 1e-3)


def test_what_has_no_heat_map_says_so(bundle, exported):
    facts = {key: value for key, value in exported.manifest.export.items() if key != "heatmap"}
    plain = replace(exported, manifest=exported.manifest.replace(export=facts))
    with pytest.raises(BundleError, match=r"gives no heat maps\. Export the model again with --he"):
        heat_maps(plain, open_engine(exported), np.zeros((1, 3, 224, 224), np.float32))
    vit = open_model("SqueezeNet1_1", download=False).build_model()
    vit.forward_features = lambda images: images.flatten(1)
    with pytest.raises(ExportError, match=r"gives no feature map .* Export it without --heatmap"):
        HeatNetwork(vit, 224, 224)


@pytest.mark.slow
def test_a_fixed_batch_with_preprocessing(bundle, tmp_path, capsys):
    words = ["export", "SqueezeNet1_1", "--target", "onnx", "--heatmap", "--with-preprocess"]
    assert main([*words, "--batch", "4", "--num-photos", "2", "-o", str(tmp_path / "onnx")]) == 0
    fixed = Bundle.load(tmp_path / "onnx")
    engine = open_engine(fixed)
    pixels = pixels_of(bundle)
    maps = heat_maps(fixed, engine, engine.prepare(pixels))
    assert len(maps) == len(PHOTOS)
    classes = engine.logits(engine.prepare(pixels)).argmax(axis=1)
    own = recipro_cam(
        bundle.build_model(), pixels, classes, bundle.manifest.preprocessing.normalize
    )
    assert as_large(maps, pixels) == pytest.approx(own, abs=1e-3)


def test_explain_takes_the_map_of_the_export(bundle, exported, tmp_path):
    results = explain(exported, PHOTOS, tmp_path / "out")
    assert [result.files[0].rpartition("-")[2] for result in results] == ["heatmap.png"] * 2
    found = np.load(tmp_path / "out" / results[1].files[1])
    engine = open_engine(exported)
    pixels = pixels_of(bundle)
    maps = as_large(heat_maps(exported, engine, engine.prepare(pixels)), pixels)
    assert found == pytest.approx(maps[1], abs=1e-5)
