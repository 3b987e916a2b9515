"""INT8 on real weights and real photos, from the command line."""

from __future__ import annotations

import csv
import json

import pytest

pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
pytest.importorskip("paddle2onnx", reason="needs the extra [onnx]")


@pytest.mark.slow
def test_squeezenet_on_the_demo_photos(ppclas, tmp_path):
    """Published weights need no run; the built-in photos are judged by agreement with the float
    network.
    """
    from ppclas_data.builtin import builtin_photos
    from ppclas_models.weights import locate

    photos = builtin_photos()
    said = ppclas(
        "quantize", "--model", "SqueezeNet1_1", "--weights", locate("SqueezeNet1_1"),
        "--calibrate", photos / "train", "--num-photos", 40, "--judged", 60, "--threads", 1, "-o",
        "int8", "--json",
        "--guard", 0.1,
        cwd=tmp_path,
    )  # fmt: skip
    receipt = json.loads(said.stdout)
    assert receipt["photos"]["labelled"] is False
    assert receipt["agreement"] >= 0.9
    assert receipt["bytes"]["ratio"] <= 0.3
    with open(tmp_path / "int8" / "sensitivity.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # SqueezeNet, table 1: conv1, 8 fire modules of 3, conv10.
    assert sum(row["op"] == "Conv" for row in rows) == 26
    assert all(row["stays"] == "int8" for row in rows)
    errors = [float(row["error"]) for row in rows]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.sweep
def test_mobilenet_loses_at_most_a_point(ppclas, shared, tmp_path):
    """Issue: real ImageNet weights on 800 real photos, at most 0.3 of the size."""
    photos = shared / "data" / "imagenet-sample" / "val_list.txt"
    weights = shared / "data" / "weights" / "MobileNetV2_pretrained.pdparams"
    said = ppclas(
        "quantize", "--model", "MobileNetV2", "--weights", weights, "--calibrate", photos,
        "--data", photos,
        "-o", "int8", "--json",
        cwd=tmp_path,
    )  # fmt: skip
    receipt = json.loads(said.stdout)
    assert receipt["photos"]["judged_by"]["count"] == 800
    assert receipt["drop"] <= 0.01
    assert receipt["bytes"]["ratio"] <= 0.3
