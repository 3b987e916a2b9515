"""The card of a bundle, as Hugging Face's own library reads it, and against what the run wrote."""

import csv
import json
import re

import cv2
import numpy as np
import pytest
from ppclas_components.confusion import Confusion
from ppclas_core.bundle import Bundle
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    TrainSection,
)
from ppclas_core.testing import use_plugin
from ppclas_engine.console import Console
from ppclas_engine.results.model_card import macro_f1_interval
from ppclas_engine.session import train
from ppclas_engine.testing import FakePlugin
from scipy import stats


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos") / 'pets "and" more: 猫'
    rng = np.random.default_rng(0)
    for place, name in enumerate(("cat|lion", "dog")):
        (folder / name).mkdir(parents=True)
        for index in range(12):
            pixels = np.uint8(np.clip(rng.normal(90 + 40 * place, 40, (40, 40, 3)), 0, 255))
            coded = cv2.imencode(".png", pixels)[1]
            (folder / name / f"{index}.png").write_bytes(coded.tobytes())
    return folder


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = Config(
        model=ModelSection(name="FakeNet", pretrained=False),
        data=DataSection(train=str(photos), image_size=32, batch_size=4, workers=0),
        schedule=ComponentConfig(name="Constant", lr=0.05),
        train=TrainSection(epochs=2, output=str(folder), device="cpu"),
    )
    with use_plugin(FakePlugin()):
        train(config, Console(quiet=True))
    return folder


def test_the_hub_reads_the_metadata(run, photos):
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(run / "bundle" / "README.md", ignore_metadata_errors=False)
    assert card.data.pipeline_tag == "image-classification"
    assert "image-classification" in card.data.tags
    read = {result.metric_type: result for result in card.data.eval_results}
    metrics = json.loads((run / "bundle" / "bundle.json").read_text("utf-8"))["metrics"]
    assert read["accuracy"].metric_value == metrics["top1"]
    assert read["f1"].metric_value == metrics["macro_f1"]
    assert read["accuracy"].dataset_name == photos.name
    assert card.data.model_name == f"FakeNet on {photos.name}"


def test_numbers_and_intervals(run):
    text = (run / "bundle" / "README.md").read_text("utf-8")
    with (run / "predictions.csv").open(encoding="utf-8", newline="") as file:
        answers = list(csv.DictReader(file))
    right = sum(row["labels"] == row["predicted"] for row in answers)
    ends = stats.binomtest(right, len(answers)).proportion_ci(method="wilson")
    interval = f"{100 * ends.low:.1f} to {100 * ends.high:.1f} %"
    assert f"| top-1 | {right / len(answers):.2%} | {interval} |" in text
    sure = np.mean([float(row["probability"]) for row in answers])
    said = re.search(r"mean confidence is ([\d.]+) %, and ([\d.]+) %", text)
    assert [float(each) for each in said.groups()] == pytest.approx(
        [100 * sure, 100 * right / len(answers)], abs=0.06
    )
    assert r"| cat\|lion |" in text
    assert f"- Validation: {len(answers)} photos; {len(answers)} could be read." in text


def test_the_card_tells_nothing_of_this_machine(run, photos):
    text = (run / "bundle" / "README.md").read_text("utf-8")
    assert photos.name in text
    assert str(photos.parent) not in text
    assert str(run) not in text


def test_a_bundle_with_its_card_is_whole(run):
    assert Bundle.load(run / "bundle").labels == ("cat|lion", "dog")


def test_the_bootstrap_interval_has_the_spread_of_photos_drawn_again():
    labels = np.repeat([0, 1], 50)
    predicted = np.where(np.arange(100) % 5 == 0, 1 - labels, labels)  # 80 % right, both classes
    low, high = macro_f1_interval(Confusion.of(labels, predicted, 2), draws=2000)
    # With classes that are alike macro F1 is about the accuracy: 1.96 standard errors of a share.
    half = 1.96 * np.sqrt(0.8 * 0.2 / 100)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.015)
