"""One word for a model in every command, the weights that training starts from, and offline."""

from __future__ import annotations

import http.server
import json
import os
import threading
from functools import partial
from pathlib import Path

import pytest
from ppclas_data.testing import make_tiny_dataset
from ppclas_models import imagenet_classes

pytest.importorskip("paddle")

SAMPLE = Path(__file__).parents[3] / "../shared/data/imagenet-sample/val"
needs_sample = pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"no photos at {SAMPLE}")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PPCLAS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PPCLAS_OFFLINE", "0")


@pytest.fixture
def photos(tmp_path):
    return str(make_tiny_dataset(tmp_path / "photos", per_class=4)[0])


@needs_sample
@pytest.mark.parametrize("model", [(), ("-m", "MobileNetV2"), ("--model", "mobilenet_v2")])
def test_photos_are_named_without_training(ppclas, model):
    photos = [str(SAMPLE / f"{wnid}.jpg") for wnid in ("n02123394", "n02504458", "n07873807")]
    code, out, err = ppclas("predict", *photos, *model, "--format", "json", "--offline")
    assert code == 0, err
    assert [row["label"] for row in json.loads(out)] == [
        "Persian cat",
        "African elephant",
        "pizza",
    ]


def test_a_photo_of_the_web_is_named_copied_and_left_alone_offline(ppclas, photos, tmp_path):
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=photos)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/class_00/000.png"
        code, out, err = ppclas("predict", address, "--sort-into", str(tmp_path / "sorted"))
        _, local, _ = ppclas("predict", f"{photos}/class_00/000.png")
        assert code == 0, err
        code, _, err = ppclas("predict", f"{address}.jpg")
        assert code == 1
        assert "the server says 404" in err
        code, _, err = ppclas("predict", address, "--offline")
        server.shutdown()
    assert out.partition("000.png")[2] == local.partition("000.png")[2]
    (copy,) = (tmp_path / "sorted").rglob("*.png")
    assert copy.read_bytes() == Path(photos, "class_00", "000.png").read_bytes()
    assert code == 1
    assert "PPCLAS_OFFLINE is set. Save the photo and give the file" in err


def test_offline_is_for_the_whole_command_and_names_three_ways_on(ppclas, photos):
    code, _, err = ppclas("--offline", "train", photos, "-m", "resnet-50", "--dry-run")
    assert code == 1
    assert os.environ["PPCLAS_OFFLINE"] == "1"
    for way in ("'ppclas models download ResNet50'", "--pretrained FILE", "--from-scratch"):
        assert way in err
    assert "nothing is downloaded while PPCLAS_OFFLINE is set" in err
    assert "Training set" not in err


def test_random_weights_are_for_who_asks_for_them(ppclas, photos):
    code, _, err = ppclas("train", photos, "-m", "resnet50", "--from-scratch", "--dry-run")
    assert code == 0
    assert "ResNet50 starts from random weights, as asked" in err
    code, _, err = ppclas("train", photos, "--dry-run", "--offline")
    assert code == 0
    assert "MobileNetV2, weights MobileNetV2.safetensors, 224x224 pixels" in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("predict", "x.jpg", "-m", "mobilenetv3"), 1, "lightest first: MobileNetV3_small_x0_35"),
        (("predict", "x.jpg", "-m", "resnet5o"), 1, "There is no run, bundle or export 'resnet5o'"),
        (("eval", "a", "-m", "b"), 2, "a and --model b both name what to work on"),
        (("export", "--target", "onnx"), 2, "Expected a run, a bundle, an export or the name"),
        (("quantize",), 2, "Expected a run, a bundle, an export or the name"),
        (("benchmark",), 2, "Expected a run, a bundle, an export or the name"),
        (("benchmark", "a", "b", "--weights", "c"), 2, "--weights is for one model by name"),
        (("train", "--pretrained", "a", "--from-scratch"), 2, "contradict each other"),
    ],
)
def test_what_cannot_be_is_said(ppclas, tmp_path, arguments, code, words):
    (tmp_path / "x.jpg").write_bytes(b"")
    given = [str(tmp_path / "x.jpg") if part == "x.jpg" else part for part in arguments]
    found, _, err = ppclas(*given)
    assert found == code
    assert words in err


@needs_sample
@pytest.mark.parametrize("named_by", ["names", "list"])
def test_published_weights_are_scored_whatever_the_photos_classes_are_called(
    ppclas, tmp_path, named_by
):
    chosen = {985: "n11939491", 340: "n02391049", 963: "n07873807", 508: "n03085013"}
    classes = imagenet_classes()
    if named_by == "list":
        data = tmp_path / "list.txt"
        data.write_text("".join(f"{SAMPLE}/{wnid}.jpg {id_}\n" for id_, wnid in chosen.items()))
    else:
        data = tmp_path / "photos"
        for label, wnid in chosen.items():
            folder = data / classes[label].name
            folder.mkdir(parents=True)
            (folder / "a.jpg").symlink_to(SAMPLE / f"{wnid}.jpg")
    code, out, err = ppclas("eval", "mobilenetv2", "--data", str(data), "--json", "--workers", "0")
    assert code == 0, err
    scores = json.loads(out)
    # It takes the keyboard for its space bar.
    assert (scores["num_images"], scores["top1"], scores["top5"]) == (4, 0.75, 1.0)


def test_published_weights_bring_the_parameters_that_they_were_trained_with(ppclas, photos):
    import paddle
    import ppclas as facade
    from ppclas_core.bundle import Bundle
    from ppclas_models import cache_folder

    trained = facade.create_model("TinyNet_E", nearest_depth=True, norm_epsilon=1e-5)
    trained.eval()
    cache_folder().mkdir(parents=True)
    paddle.save(trained.state_dict(), str(cache_folder() / "TinyNet_E_pretrained.pdparams"))
    assert len(trained.state_dict()) != len(facade.create_model("TinyNet_E").state_dict())

    again = facade.create_model("TinyNet_E", pretrained=True)
    again.eval()
    images = paddle.randn([2, 3, 64, 64])
    assert paddle.equal_all(again(images), trained(images))
    code, _, err = ppclas(
        *("train", photos, "--model", "TinyNet_E", "--image-size", "32", "--epochs", "1"),
        *("--freeze", "backbone", "--output", "run", "--offline"),
        cwd=Path(photos).parent,
    )
    assert code == 0, err
    params = Bundle.load(Path(photos).parent / "run").manifest.architecture.params
    assert params == {"nearest_depth": True, "norm_epsilon": 1e-5}
