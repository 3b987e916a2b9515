"""Finding published weights, and what the carried and the real ones score."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from ppclas_core.errors import WeightsError
from ppclas_core.models import create_model
from ppclas_core.weights import load_weights, read_state
from ppclas_models.weights import CARRIED, locate

DATA = Path(__file__).parents[3] / "../shared/data"
WEIGHTS, SAMPLE = DATA / "weights", DATA / "imagenet-sample"
needs_weights = pytest.mark.skipif(not WEIGHTS.is_dir(), reason=f"no real weights at {WEIGHTS}")
needs_sample = pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"no photos at {SAMPLE}")


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"PPCLAS_HOME": "/h"}, "/h/weights"),
        ({"PPCLAS_HOME": "/h", "XDG_CACHE_HOME": "/c"}, "/h/weights"),
        ({"HOME": "/home/a"}, "/home/a/.cache/ppclas/weights"),
        ({"HOME": "/home/a", "PPCLAS_HOME": ""}, "/home/a/.cache/ppclas/weights"),
        ({"HOME": "/home/a", "XDG_CACHE_HOME": "/c"}, "/c/ppclas/weights"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other places for caches")
def test_the_cache_is_where_ppclas_home_says_or_the_system_keeps_caches(variables, folder):
    code = "from ppclas_models.weights import cache_folder; print(cache_folder())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == folder


def test_cached_weights_are_found_and_absent_ones_have_an_address(monkeypatch, tmp_path):
    monkeypatch.setenv("PPCLAS_HOME", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        locate("ResNet50_vd_ssld")
    place = tmp_path / "weights" / "ResNet50_vd_ssld_pretrained.pdparams"
    assert f"legendary_models/ResNet50_vd_ssld_pretrained.pdparams to {place}" in str(caught.value)
    place.parent.mkdir()
    place.write_bytes(b"something")
    assert locate("ResNet50_vd_ssld") == place


def test_names_without_published_weights_say_so():
    with pytest.raises(
        WeightsError,
        match=r"no .pdparams weights of MobileNetV3_large_x1_0_ssld_int8 .*INT8-quantised",
    ):
        locate("MobileNetV3_large_x1_0_ssld_int8")


def test_the_carried_weights_are_small_and_keep_their_notice():
    path = locate("SqueezeNet1_1")
    assert path.stat().st_size <= 3 * 2**20
    notice = path.with_name("SqueezeNet1_1.LICENSE.txt").read_text()
    assert "DeepScale" in notice
    assert "Redistributions in binary form must reproduce" in notice
    assert "BSD-2-Clause" in metadata.metadata("ppclas-models")["License-Expression"]


def test_every_carried_file_has_a_notice_and_the_default_is_small():
    weights = {file.stem for file in CARRIED.glob("*.safetensors")}
    assert weights == {"MobileNetV2", "SqueezeNet1_1"}
    notices = {file.name.removesuffix(".LICENSE.txt") for file in CARRIED.glob("*.txt")}
    assert notices == weights
    path = locate("MobileNetV2")
    assert path.stat().st_size <= 4.5 * 2**20
    notice = path.with_name("MobileNetV2.LICENSE.txt").read_text()
    assert "Soumith Chintala" in notice
    assert "Neither the name of the copyright holder" in notice
    assert "BSD-3-Clause" in metadata.metadata("ppclas-models")["License-Expression"]


@needs_weights
def test_the_carried_mobilenet_is_the_real_one_to_the_last_bit():
    carried, real = (
        read_state(locate("MobileNetV2")),
        read_state(WEIGHTS / "MobileNetV2_pretrained"),
    )
    assert set(carried) == set(real)
    for key in real:
        assert carried[key].dtype == real[key].dtype
        assert np.array_equal(carried[key], real[key]), key


def test_the_carried_weights_fit_and_are_widened():
    model = create_model("SqueezeNet1_1", num_classes=8)
    report = load_weights(model, locate("SqueezeNet1_1"))
    assert str(report) == "50/52 tensors loaded, head re-initialised 1000→8"
    assert {str(tensor.dtype) for tensor in model.state_dict().values()} == {"paddle.float32"}


@needs_weights
def test_the_carried_weights_are_the_real_ones_rounded():
    carried, real = (
        read_state(CARRIED / "SqueezeNet1_1.safetensors"),
        read_state(WEIGHTS / "SqueezeNet1_1_pretrained"),
    )
    assert carried.keys() == real.keys()
    assert all(np.array_equal(carried[key], real[key].astype("float16")) for key in real)


@needs_weights
@pytest.mark.parametrize(("name", "tensors"), [("MobileNetV2", 267), ("SqueezeNet1_1", 52)])
def test_real_weights_load_whole(name, tensors):
    report = load_weights(create_model(name), WEIGHTS / f"{name}_pretrained.pdparams")
    assert str(report) == f"{tensors}/{tensors} tensors loaded"


def accuracies(models) -> list[tuple[int, int]]:
    """How many of the 1000 photos each model has right at first, and among five."""
    rows = [line.rsplit(" ", 1) for line in (SAMPLE / "val_list.txt").read_text().splitlines()]
    right = np.zeros((len(models), 2), int)
    for start in range(0, len(rows), 50):
        batch = paddle.to_tensor(
            np.stack([_photo(SAMPLE / path) for path, _ in rows[start : start + 50]])
        )
        labels = np.array([int(label) for _, label in rows[start : start + 50]])
        for index, model in enumerate(models):
            with paddle.no_grad():
                order = np.argsort(-model(batch).numpy(), axis=1, kind="stable")
            right[index] += (
                (order[:, 0] == labels).sum(),
                (order[:, :5] == labels[:, None]).any(axis=1).sum(),
            )
    return [tuple(row) for row in right.tolist()]


def _photo(path: Path) -> np.ndarray:
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    scale = 256 / min(image.shape[:2])
    height, width = (round(side * scale) for side in image.shape[:2])
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    top, left = (height - 224) // 2, (width - 224) // 2
    crop = image[top : top + 224, left : left + 224].astype("float32") / 255
    normalised = (crop - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return normalised.transpose(2, 0, 1).astype("float32")


@needs_weights
@needs_sample
@pytest.mark.sweep
def test_real_weights_score_what_was_measured_elsewhere():
    models = []
    for name, path in [
        ("MobileNetV2", WEIGHTS / "MobileNetV2_pretrained.pdparams"),
        ("SqueezeNet1_1", WEIGHTS / "SqueezeNet1_1_pretrained.pdparams"),
        ("SqueezeNet1_1", CARRIED / "SqueezeNet1_1.safetensors"),
    ]:
        model = create_model(name)
        load_weights(model, path)
        model.eval()
        models.append(model)
    mobilenet, squeezenet, carried = accuracies(models)
    assert np.abs(np.subtract(mobilenet, (824, 959))).max() <= 1
    assert np.abs(np.subtract(squeezenet, (599, 828))).max() <= 1
    assert abs(carried[0] - squeezenet[0]) <= 2
