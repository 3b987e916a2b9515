"""Tables, pictures and report page of evaluations worked out by hand; runs with several labels."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import re
import time
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from ppclas_components.confusion import Confusion
from ppclas_components.metrics import wilson
from ppclas_core.bundle import Bundle
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    TrainSection,
)
from ppclas_core.contracts.data import SEVERAL, ImageSet, Record
from ppclas_core.errors import ConfigError
from ppclas_core.testing import use_plugin
from ppclas_engine.console import Console
from ppclas_engine.planning.plan import make_plan
from ppclas_engine.planning.task import balanced_weights, check_task
from ppclas_engine.results.advice import advice
from ppclas_engine.results.pictures import draw_confusion, draw_curves, thumbnail, top_confusions
from ppclas_engine.results.predict import predict
from ppclas_engine.results.report import Page, write_report
from ppclas_engine.results.score import evaluate_bundle, plan_scoring, report_scoring
from ppclas_engine.results.tables import read_tables, write_tables
from ppclas_engine.scoring.evaluate import score
from ppclas_engine.scoring.monitor import gain, height, is_better, metric_names, plan_monitor
from ppclas_engine.session import train
from ppclas_engine.testing import FakePlugin

NAMES = ("<b>cat</b>", "dog|wolf", "猫")
LOGITS = np.array([[2, 0, 0], [0, 2, 0], [2, 1, 0], [0, 0, 2]], np.float32)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(4):
        cv2.imwrite(
            str(folder / f"{index}.png"), np.full((30, 20 + 10 * index, 3), 60 * index, np.uint8)
        )
    return ImageSet(
        tuple(Record(str(folder / f"{i}.png"), i % 3, str(i)) for i in range(4)), NAMES, str(folder)
    )


def one_label(images):
    return score(LOGITS, np.array([0, 1, 1, 2]), np.arange(4), NAMES)


def several_labels(images):
    truth = np.float32([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]])
    logits = np.float32([[3, -3, -3], [2, -1, -2], [-4, -4, -4], [-2, 1, 2]])
    return score(logits, truth, np.arange(4), NAMES)


def test_numbers_of_several_labels_by_hand():
    logits = np.float32([[0.0, 2.0], [2.0, -2.0]])
    evaluation = score(
        logits, np.float32([[1, 1], [0, 0]]), np.arange(2), ("a", "b"), thresholds=(0.5, 0.95)
    )
    soft = np.log1p(np.exp(-2.0))
    assert evaluation.metrics["loss"] == pytest.approx((np.log(2) + soft + 2 + soft + soft) / 2)
    # Class a is ranked the wrong way round, b the right one; b is found only at 0.88, below its
    # threshold.
    assert evaluation.metrics["auroc"] == 0.5
    assert evaluation.metrics["map"] == 0.75
    assert evaluation.metrics["micro_f1"] == pytest.approx(2 / 4)
    assert [row["recall"] for row in evaluation.per_class] == [1.0, 0.0]
    assert [row["average_precision"] for row in evaluation.per_class] == [0.5, 1.0]
    assert evaluation.confusion is None


def test_the_answer_for_each_image(tmp_path, images):
    write_tables(tmp_path, one_label(images), images)
    tables = read_tables(tmp_path)
    assert tables.confusion.matrix().tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert tables.class_names == list(NAMES)
    third = tables.answers[2]
    assert (third.labels, third.predicted, third.right) == (("dog|wolf",), ("<b>cat</b>",), False)
    total = np.exp(2) + np.exp(1) + 1
    assert third.probability == pytest.approx(np.exp(2) / total, rel=1e-5)
    assert third.label_probability == pytest.approx(np.exp(1) / total, rel=1e-5)
    assert [answer.right for answer in tables.answers] == [True, True, False, True]


def test_the_answer_for_each_image_with_several_labels(tmp_path, images):
    names = ("cat", "dog", "猫")
    evaluation = several_labels(images)
    for row, name in zip(evaluation.per_class, names, strict=True):
        row["class"] = name
    write_tables(tmp_path, evaluation, images)
    tables = read_tables(tmp_path)
    assert tables.confusion is None
    assert [answer.labels for answer in tables.answers] == [("cat",), ("cat", "dog"), (), ("猫",)]
    assert [answer.predicted for answer in tables.answers] == [
        ("cat",),
        ("cat",),
        (),
        ("dog", "猫"),
    ]
    assert [answer.right for answer in tables.answers] == [True, False, True, False]
    # Of dog, which is there.
    assert tables.answers[1].label_probability == pytest.approx(1 / (1 + np.e), rel=1e-5)


def test_the_picture_of_four_thousand_classes_names_what_goes_wrong(tmp_path):
    count = 4000
    matrix = np.diag(np.full(count, 5))
    matrix[np.arange(20), np.arange(100, 120)] = 5
    started = time.process_time()
    draw_confusion(counted(matrix), [f"class {i}" for i in range(count)], tmp_path / "many.png")
    assert time.process_time() - started < 20
    picture = cv2.imread(str(tmp_path / "many.png")).astype(int)
    assert max(picture.shape) < 1000
    blue, green, red = (picture[..., channel] for channel in range(3))
    bars = ((red > 220) & (green < 200) & (blue < 200)).sum(axis=1)
    assert (np.diff((bars > 100).astype(int)) == 1).sum() == 20  # one for each confusion


def test_a_page_of_many_classes_names_its_confusions(tmp_path, images):
    names = tuple(f"kind {i}" for i in range(41))
    said, true = np.array([40, 2, 3, 3]), np.array([7, 7, 3, 3])
    evaluation = score(np.eye(41, dtype=np.float32)[said] * 9, true, np.arange(4), names)
    images = replace(images, class_names=names)
    write_tables(tmp_path, evaluation, images)
    page = Page("Many", "", evaluation.metrics, [("Use", "ppclas predict x")], {})
    write_report(tmp_path, page, read_tables(tmp_path), images)
    text, sources = check_page(tmp_path / "report.html")
    assert len(sources) == 4 + 1  # photos, reliability; no matrix
    words = " ".join(text.split())
    assert "Classes (41)" in words
    assert "kind 7 kind 40 1 2" in words
    assert "kind 7 kind 2 1 2" in words
    shown = words[words.index("Classes (41)") :]
    assert "kind 3 2 100.00% 100.00% 100.00%" in shown
    places = [shown.index(f"{name} ") for name in ("kind 7", "kind 3", "kind 40")]
    assert places == sorted(places)  # by F1; classes without a photo last


def test_wilson_by_tables():
    # Newcombe 1998, table I, method 3: the four examples there.
    for right, total, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(right, total) == pytest.approx((low, high), abs=5e-5)
    ends = [(*wilson(0, total), *wilson(total, total)) for total in range(1, 99)]
    assert all(low >= 0 and high <= 1 for low, *_, high in ends)
    assert not any(str(low).startswith("-") for low, *_ in ends)  # no "-0.0 %" in a report


def row(epoch, train_top1, top1):
    return {"epoch": epoch, "train_top1": train_top1, "top1": top1, "lr": 0.1}


@pytest.mark.parametrize(
    ("rows", "best", "said", "options"),
    [
        ([(0, None, 0.8), (1, 0.75, 0.7)], 0, "smaller rate", ["--lr 0.01"]),
        ([(1, 0.5, 0.5), (2, 0.6, 0.6), (3, 0.7, 0.7)], 3, "still rise", ["--epochs 6"]),
        (
            [(1, 0.9, 0.8), (2, 0.99, 0.8), (3, 0.99, 0.79)],
            2,
            "by heart (top-1 is 99.00% in training and 80.00% in validation)",
            ["--mixup", "--weight-decay 0.001"],
        ),
        (
            [(1, 0.7, 0.8), (2, 0.7, 0.8), (3, 0.71, 0.8)],
            2,
            "augment less",
            ["--weight-decay 1e-05"],
        ),
        ([(1, 0.8, 0.8), (2, 0.82, 0.8), (3, 0.82, 0.8)], 1, "", []),
        ([(0, None, 0.8)], 0, "", []),
    ],
)
def test_what_the_curves_say_to_try_next(rows, best, said, options):
    config = Config(schedule=ComponentConfig(name="Constant", lr=0.03))
    found = list(advice([row(*values) for values in rows], best, config, Path("runs/a b")))
    start = "ppclas train -c 'runs/a b/config.yaml' --output 'runs/a b-next' "
    assert [line for _, line in found] == [start + option for option in options]
    assert said in " ".join(text for text, _ in found)


def counted(matrix):
    true, said = np.nonzero(matrix)
    return Confusion(true, said, matrix[true, said], len(matrix))


def test_tables_of_many_classes_hold_the_pairs_that_occur(tmp_path):
    names = tuple(f"class {index}" for index in range(1200))
    labels, said = np.array([3, 3, 7, 1100]), np.array([3, 5, 7, 0])
    logits = np.zeros((4, 1200), np.float32)
    logits[np.arange(4), said] = 5.0
    evaluation = score(logits, labels, np.arange(4), names)
    records = tuple(Record(f"{i}.jpg", int(labels[i]), str(i)) for i in range(4))
    write_tables(tmp_path, evaluation, ImageSet(records, names, "photos"))
    assert (tmp_path / "confusion.csv").read_text().splitlines()[:3] == [
        "true,predicted,count",
        "class 3,class 3,1",
        "class 3,class 5,1",
    ]
    found = read_tables(tmp_path).confusion
    assert (found.matrix() == evaluation.confusion.matrix()).all()


def test_top_confusions():
    matrix = np.array([[5, 3, 0], [1, 7, 0], [0, 2, 4]])
    assert top_confusions(counted(matrix), ("a", "b", "c"), 2) == [
        ("a", "b", 3, 8),
        ("c", "b", 2, 6),
    ]


@pytest.mark.parametrize("classes", [2, 70])
def test_pictures_of_any_number_of_classes(tmp_path, classes):
    matrix = np.random.default_rng(0).integers(0, 9, (classes, classes))
    draw_confusion(
        counted(matrix), [f"class {index}" for index in range(classes)], tmp_path / "confusion.png"
    )
    picture = Image.open(io.BytesIO((tmp_path / "confusion.png").read_bytes()))
    assert max(picture.size) < 2500
    assert len(picture.convert("RGB").getcolors(1 << 24)) > 10


class Checker(HTMLParser):
    """Collects what a page loads and whether its elements are closed in order."""

    VOID = frozenset(("meta", "img", "br", "link"))

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.ids, self.texts = [], [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag == "img":
            assert dict(attrs)["alt"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def check_page(path):
    """A page closed in order that loads nothing and whose pictures are pictures; its text."""
    text = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(text)
    assert not checker.open
    assert not re.search(r"https?://|@import|url\(", text)
    for source in checker.sources:
        kind, _, data = source.partition(";base64,")
        assert kind in ("data:image/png", "data:image/jpeg")
        Image.open(io.BytesIO(base64.b64decode(data))).verify()
    return " ".join(checker.texts), checker.sources


@pytest.mark.parametrize("evaluated", [one_label, several_labels])
def test_a_page_is_whole_and_needs_no_network(tmp_path, images, evaluated):
    evaluation = evaluated(images)
    write_tables(tmp_path, evaluation, images)
    rows = [
        {
            "epoch": 1,
            "step": 3,
            "lr": 0.1,
            "train_loss": 1.0,
            "train_top1": None,
            **evaluation.metrics,
        }
    ]
    page = Page(
        "A <title>",
        "ppclas train 'a&b'",
        evaluation.metrics,
        [("Use", "ppclas predict x")],
        {},
        rows,
        1,
    )
    write_report(tmp_path, page, read_tables(tmp_path), images)
    text, sources = check_page(tmp_path / "report.html")
    for said in ("A <title>", "ppclas train 'a&b'", "<b>cat</b>", "猫", "Mistakes (", "Wilson"):
        assert said in text
    pictures = 2 if evaluation.confusion is None else 3  # curves, reliability, confusion
    assert len(sources) == 4 + pictures


@pytest.mark.parametrize(("classes", "shown"), [(1990, 1990), (2010, 2000)])
def test_a_page_of_many_classes_has_the_worst_of_them(tmp_path, images, classes, shown):
    names = tuple(f"kind {number}" for number in range(classes))
    photos = dataclasses.replace(images, class_names=names)
    logits = np.zeros((4, classes), np.float32)
    logits[[0, 1, 2, 3], [0, 1, 0, 0]] = 3.0  # of kind 0, 1, 1 and 2
    write_tables(tmp_path, score(logits, np.array([0, 1, 1, 2]), np.arange(4), names), photos)
    write_report(tmp_path, Page("many", "", {}, [], {}), read_tables(tmp_path), photos)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"<h2>Classes ({classes})</h2>" in page
    assert ("These are the first 2000." in page) == (shown < classes)
    start = page.index("<h2>Classes")
    rows = re.findall(r"<td[^>]*>(kind \d+)</td>", page[start : page.index("</table>", start)])
    assert len(rows) == shown
    assert rows[:4] == ["kind 2", "kind 0", "kind 1", "kind 3"]  # F1 0, 1/2, 2/3; no photo


HOSTILE = (
    "</td><script>alert(1)</script>",
    '"><img alt=x src=x onerror=alert(2)>',
    "{{ 7 * 7 }}{% raw %}",
)


def test_hostile_names_are_text(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    names = [f"{name.replace('/', '∕')}.png" for name in HOSTILE]
    for name in names:
        # cv2.imwrite takes no such names everywhere.
        (folder / name).write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1])
    records = tuple(Record(str(folder / name), i, str(i)) for i, name in enumerate(names))
    images = ImageSet(records, HOSTILE, str(folder))
    evaluation = score(LOGITS[[1, 2, 3]], np.arange(3), np.arange(3), HOSTILE)
    write_tables(tmp_path, evaluation, images)
    first, second, third = HOSTILE
    page = Page(
        first,
        second,
        evaluation.metrics,
        [(third, first)],
        {second: {third: first}},
        [{"epoch": 1, second: third, **evaluation.metrics}],
        1,
        {first: second},
    )
    write_report(tmp_path, page, read_tables(tmp_path), images)
    elements, attributes = [], []

    class Elements(HTMLParser):
        def handle_starttag(self, tag, found):
            elements.append(tag)
            attributes.extend(found)

    text, sources = check_page(tmp_path / "report.html")
    Elements().feed((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert elements.count("script") == 1  # the page's own
    assert len(sources) == elements.count("img") == 3 + 3  # photos; curves, reliability, confusion
    assert {name for name, _ in attributes if name.startswith("on")} == set()
    for name in (*HOSTILE, *names):
        assert name in text
    paths = {str(folder / name) for name in names}
    assert {value for name, value in attributes if name == "title"} == paths


def test_a_vanished_photo_leaves_a_grey_place(tmp_path, images):
    write_tables(tmp_path, one_label(images), images)
    answer = read_tables(tmp_path).answers[1]
    assert thumbnail(partial(images.read, answer.image), answer.path).min() == 60
    (tmp_path / "photos" / "1.png").unlink()
    assert np.unique(thumbnail(partial(images.read, answer.image), answer.path)).tolist() == [238]


def test_curves_of_either_task(tmp_path):
    rows = [
        {
            "epoch": 0,
            "train_loss": None,
            "loss": 1.0,
            "map": 0.5,
            "macro_f1": 0.2,
            "auroc": 0.6,
            "lr": 0.0,
        }
    ]
    draw_curves(
        [*rows, {"epoch": 1, "train_loss": 1.0, "lr": 0.1}], tmp_path / "curves.png", best_epoch=0
    )
    assert Image.open(io.BytesIO((tmp_path / "curves.png").read_bytes())).size[0] > 1000


def test_the_best_is_what_the_monitor_says():
    before, after = (
        {"top1": 0.5, "macro_f1": 0.4, "loss": 1.0},
        {"top1": 0.6, "macro_f1": 0.3, "loss": 1.2},
    )
    assert is_better(after, None, "top1")
    assert [is_better(after, before, name) for name in ("top1", "macro_f1", "loss")] == [
        True,
        False,
        False,
    ]
    assert is_better({**before, "loss": 0.9}, before, "top1")  # ties go by loss
    assert not is_better(before, before, "top1")
    assert gain(after, before, "loss") == pytest.approx(-0.2)
    assert height({"loss": 1.0, "ema_loss": 0.5}, "loss") == -0.5


def test_a_monitor_that_no_evaluation_gives():
    assert plan_monitor(None, "classification", (), NAMES) == "top1"
    assert plan_monitor(None, "multilabel", (), NAMES) == "map"
    assert metric_names("multilabel", (), NAMES)[:2] == ["loss", "map"]
    with pytest.raises(
        ConfigError, match=r"gives 'top_1'. Did you mean 'top1'\? It gives: loss, top1, top5"
    ):
        plan_monitor("top_1", "classification", (), NAMES)


def test_balanced_weights_by_hand():
    def labelled(*labels):
        return ImageSet(tuple(Record("", label, "") for label in labels), ("a", "b", "c"), "")

    assert balanced_weights(labelled(0, 0, 0, 1)) == pytest.approx((4 / 9, 4 / 3, 1.0), rel=1e-5)
    several = tuple(Record("", SEVERAL, "", classes) for classes in ((0,), (0, 1), (0,), ()))
    assert balanced_weights(
        ImageSet(several, ("a", "b", "c"), "", task="multilabel")
    ) == pytest.approx((1 / 3, 3, 1))


# A run from a list of several labels to predictions.


@pytest.fixture(scope="module")
def tinted(tmp_path_factory):
    """40 photos, each red, green, both or neither."""
    folder = tmp_path_factory.mktemp("tinted")
    rng = np.random.default_rng(0)
    lines = []
    for index in range(40):
        red, green = index % 2, index // 2 % 2
        photo = rng.integers(0, 60, (40, 50, 3)) + np.array([0, 180 * green, 180 * red])
        cv2.imwrite(str(folder / f"{index}.png"), photo.astype(np.uint8))
        lines.append(f"{index}.png\t{'|'.join(['red'] * red + ['green'] * green)}")
    (folder / "list.txt").write_text("\n".join(lines) + "\n")
    return folder


def config(tinted, output, **changes):
    base = {
        "model": ModelSection(name="FakeNet", pretrained=False),
        "data": DataSection(train=str(tinted / "list.txt"), image_size=32, batch_size=8, workers=0),
        "schedule": ComponentConfig(name="Constant", lr=0.1),
        "train": TrainSection(epochs=6, output=str(output), device="cpu"),
    }
    return Config(**{**base, **changes})


def test_a_run_with_several_labels(tinted, tmp_path):
    with use_plugin(FakePlugin()):
        run = tmp_path / "run"
        loss = ComponentConfig(name="CrossEntropy", class_weights="balanced")
        result = train(config(tinted, run, loss=loss), Console(quiet=True))
        assert result.best["map"] > 0.95
        bundle = Bundle.load(run)
        manifest = bundle.manifest
        assert (manifest.task, manifest.activation, manifest.thresholds) == (
            "multilabel",
            "sigmoid",
            (0.5, 0.5),
        )
        said = (run / "config.yaml").read_text()
        assert "BinaryCrossEntropy" in said
        assert "balanced" not in said  # numbers
        scoring = plan_scoring(bundle, str(run), None)
        again = evaluate_bundle(bundle, scoring, Console(quiet=True))
        assert again.metrics == pytest.approx({key: result.best[key] for key in again.metrics})
        report_scoring(tmp_path / "report", bundle, again, scoring, str(run), "ppclas eval")
        for folder in (run, tmp_path / "report"):
            assert not (folder / "confusion.png").exists()
            check_page(folder / "report.html")
        (both,) = predict(bundle, [str(tinted / "3.png")])
        assert {name for name, _ in both.labels} == {"red", "green"}
        (neither,) = predict(bundle, [str(tinted / "0.png")])
        assert neither.labels == ()
        assert neither.to_dict().keys() == {"path", "labels", "top"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"loss": ComponentConfig(name="FakeLoss")},
            "loss: FakeLoss is for one label per image.* BinaryCrossEntropy",
        ),
        (
            {"metrics": (ComponentConfig(name="TopK"),)},
            r"metrics.0: TopK is for one label .* there is: .*AUROC",
        ),
        (
            {"objective": ComponentConfig(name="FakeObjective")},
            "objective: FakeObjective is for one label per image",
        ),
        ({"train": TrainSection(monitor="top1")}, "train.monitor: no evaluation gives 'top1'"),
        (
            {"loss": ComponentConfig(name="Focal", class_weights=(1.0,))},
            "expected one value for each of 2 classes",
        ),
    ],
)
def test_what_is_for_one_label_meets_several(tinted, tmp_path, changes, said):
    with use_plugin(FakePlugin()), pytest.raises(ConfigError, match=said):
        make_plan(config(tinted, tmp_path / "run", **changes), "cpu")


def test_tuned_thresholds_are_those_of_the_bundle(tinted, tmp_path):
    with use_plugin(FakePlugin()):
        run = tmp_path / "run"
        tuned = TrainSection(epochs=1, output=str(run), device="cpu", thresholds="tuned")
        result = train(config(tinted, run, train=tuned), Console(quiet=True))
        bundle = Bundle.load(run)
        with open(run / "per_class.csv", encoding="utf-8") as file:
            of_table = [float(row["threshold"]) for row in csv.DictReader(file)]
        assert bundle.thresholds == pytest.approx(of_table)
        assert bundle.thresholds != (0.5, 0.5)
        scoring = plan_scoring(bundle, str(run), None)
        again = evaluate_bundle(bundle, scoring, Console(quiet=True))
    assert again.metrics == pytest.approx({key: result.best[key] for key in again.metrics})
    halves = score(again.logits, again.labels, again.indices, bundle.labels)
    assert again.metrics["macro_f1"] > halves.metrics["macro_f1"]
    assert again.metrics["map"] == halves.metrics["map"]
    with pytest.raises(
        ConfigError, match=r"train.thresholds: tuned is for images that may have several labels"
    ):
        check_task(Config(train=tuned), "classification")
