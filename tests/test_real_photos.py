"""Real photos, real weights, the real command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def best(run: Path) -> dict[str, float]:
    """The numbers of what the run's bundle holds: those of an epoch, or of half way to it."""
    return json.loads((run / "summary.json").read_text())["best"]


@pytest.fixture(scope="module")
def demo(ppclas, tmp_path_factory) -> Path:
    """What ``ppclas train`` with no arguments leaves."""
    folder = tmp_path_factory.mktemp("demo")
    done = ppclas("train", cwd=folder)
    assert "Best epoch" in done.stderr
    assert "head re-initialised 1000→8" in done.stderr
    return folder / "runs" / "MobileNetV2-1"


def test_the_demo_ends_above_ninety_percent(demo):
    assert best(demo)["top1"] > 0.9
    for name in (
        "curves.png",
        "confusion.png",
        "metrics.csv",
        "per_class.csv",
        "log.txt",
        "config.yaml",
    ):
        assert (demo / name).stat().st_size, name


def test_eval_repeats_the_training_to_the_last_digit(demo, ppclas):
    answer = json.loads(ppclas("eval", demo, "--json").stdout)
    kept = best(demo)
    assert answer == {key: kept[key] for key in answer}
    assert answer["num_images"] == 96


def test_predictions_name_the_classes(demo, ppclas, tmp_path):
    from ppclas_data.builtin import builtin_photos

    folder = builtin_photos() / "val" / "Cantaloupe"
    ppclas("predict", folder, "-m", demo, "-o", tmp_path / "answers.csv")
    with open(tmp_path / "answers.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert sum(row["label_1"] == "Cantaloupe" for row in rows) >= 10
    assert all(
        abs(sum(float(row[f"probability_{k}"]) for k in range(1, 6))) <= 1.0 + 1e-6 for row in rows
    )


def test_an_export_of_the_demo_is_proven_and_scores_the_same(demo, ppclas, tmp_path):
    ppclas("export", demo, "--target", "onnx", "-o", tmp_path / "onnx")
    parity = json.loads((tmp_path / "onnx" / "parity.json").read_text())
    assert parity["top1_agreement"] == 1.0
    data = json.loads(ppclas("eval", tmp_path / "onnx", "--data", demo_val(), "--json").stdout)
    assert data["top1"] == best(demo)["top1"]


def demo_val() -> Path:
    from ppclas_data.builtin import builtin_photos

    return builtin_photos() / "val_list.txt"


def test_published_weights_score_what_was_measured_of_them(ppclas, shared):
    data = shared / "data" / "imagenet-sample" / "val_list.txt"
    weights = shared / "data" / "weights" / "MobileNetV2_pretrained.pdparams"
    answer = json.loads(
        ppclas(
            "eval", "--model", "MobileNetV2", "--weights", weights, "--data", data, "--json"
        ).stdout
    )
    assert answer["num_images"] == 1000
    assert answer["top1"] == pytest.approx(0.824, abs=0.001)
    assert answer["top5"] == pytest.approx(0.959, abs=0.001)


def test_fine_tuning_real_weights(ppclas, shared, tmp_path):
    """At a third of the resolution, so that it takes a minute: the numbers at 224 pixels are in the
    documentation.
    """
    flowers = shared / "data" / "flowers14"
    run = tmp_path / "run"
    done = ppclas(
        *(
            "train",
            "--train",
            flowers / "train_list.txt",
            "--val",
            flowers / "val_list.txt",
            "--model",
            "MobileNetV2",
        ),
        *("--pretrained", shared / "data" / "weights" / "MobileNetV2_pretrained.pdparams"),
        *("--epochs", 1, "--image-size", 96, "--output", run),
    )
    assert "265/267 tensors loaded, head re-initialised 1000→14" in done.stderr
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert all(row["top1"] > 0.85 for row in rows)
    # What is kept is the better of the fitted classifier (epoch 0) and what came of training on.
    kept = json.loads((run / "bundle" / "bundle.json").read_text())["metrics"]
    assert kept["top1"] == max(row["top1"] for row in rows)
