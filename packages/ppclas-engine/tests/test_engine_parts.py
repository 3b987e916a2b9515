"""The parts of the engine that can be checked by hand."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import textwrap
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
from ppclas_components.confusion import Confusion
from ppclas_core.bundle import Bundle
from ppclas_core.config.schema import (
    Config,
    DataSection,
    ModelSection,
    OptimizerSection,
    TrainSection,
)
from ppclas_core.contracts.data import ImageSet, Record
from ppclas_core.errors import ConfigError, DataError, TrainingError
from ppclas_core.testing import use_plugin
from ppclas_data.decoding import jpeg
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.console import Console
from ppclas_engine.loop.probe import logistic_regression, probe_class_weights, probe_set
from ppclas_engine.planning.plan import make_plan
from ppclas_engine.results.pictures import draw_confusion, draw_curves
from ppclas_engine.results.predict import expand_paths, predict
from ppclas_engine.runs.run import RunFolder, create_run_folder, find_unfinished
from ppclas_engine.scoring.evaluate import evaluate, score
from ppclas_engine.testing import FakePlugin


def test_metrics_by_hand():
    # Four images, three classes; the third is wrong and has its class second.
    logits = np.array([[2, 0, 0], [0, 2, 0], [2, 1, 0], [0, 0, 2]], np.float32)
    evaluation = score(logits, np.array([0, 1, 1, 2]), np.arange(4), ("a", "b", "c"))
    assert evaluation.metrics["top1"] == 0.75
    assert evaluation.metrics["top5"] == 1.0
    right, wrong = -np.log(np.e**2 / (np.e**2 + 2)), -np.log(np.e / (np.e**2 + np.e + 1))
    assert evaluation.metrics["loss"] == pytest.approx((3 * right + wrong) / 4, rel=1e-6)
    # F1: a 2/3 (one false alarm), b 2/3 (one missed), c 1.
    assert evaluation.metrics["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert evaluation.confusion.matrix().tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert [row["images"] for row in evaluation.per_class] == [1, 2, 1]


def test_evaluating_nothing_is_an_error():
    with pytest.raises(DataError, match="Not one image"):
        evaluate(lambda images: images, [], ("a", "b"))


def test_a_sure_model_is_ranked_by_logits():
    # All probabilities but one round to zero; the logits still tell second from third.
    logits = np.array([[1000.0, 1.0, 500.0, 0.0, -1.0, -2.0, -3.0]], np.float32)
    assert score(logits, np.array([6]), np.arange(1), tuple("abcdefg")).metrics["top5"] == 0.0


@pytest.mark.parametrize("class_weights", [None, (1.0, 3.0, 0.5)])
def test_logistic_regression_finds_the_minimum(class_weights):
    """At the minimum the gradient of the penalised (weighted) mean cross entropy is zero."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    features = (rng.normal(size=(3, 8))[labels] + rng.normal(size=(300, 8)) * 2 + 5).astype(
        np.float32
    )
    weight, bias = logistic_regression(features, labels, 3, class_weights)
    logits = features @ weight + bias
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    of_image = np.array(class_weights or (1.0, 1.0, 1.0))[labels]
    error = (of_image / of_image.mean())[:, None] * (probabilities - np.eye(3)[labels])
    scale = np.sqrt(features.var(axis=0).mean())
    standard, standard_weight = (features - features.mean(axis=0)) / scale, weight * scale
    np.testing.assert_allclose(standard.T @ error / 300 + 0.03 * standard_weight, 0, atol=4e-3)
    np.testing.assert_allclose(error.mean(axis=0), 0, atol=4e-3)


def test_a_weight_of_several_labels_is_that_of_the_images_that_have_it():
    """Without features the bias is all there is: the log odds of the label, times its weight."""
    labels = np.zeros((400, 2), np.float32)
    labels[:100] = 1.0
    _, bias = logistic_regression(np.zeros((400, 1), np.float32), labels, 2, (1.0, 3.0))
    np.testing.assert_allclose(bias, [np.log(1 / 3), 0.0], atol=0.03)


def test_probe_set_is_even_over_classes():
    labels = [0] * 50 + [1] * 2 + [2] * 30
    images = ImageSet(
        tuple(Record(str(i), label, str(i)) for i, label in enumerate(labels)), ("a", "b", "c"), "x"
    )
    chosen = probe_set(images, 9).labels()
    assert np.bincount(chosen).tolist() == [4, 2, 3]
    assert probe_class_weights(images, (1.0, 25.0, 2.0), 9) is None  # evened out already
    assert probe_class_weights(images.subset(range(9)), (1.0, 25.0, 2.0), 9) == (1.0, 25.0, 2.0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    make_tiny_dataset(folder, classes=2, per_class=10, size=70)
    return str(folder)


@pytest.fixture
def fake_model():
    with use_plugin(FakePlugin()):
        yield ModelSection(name="FakeNet", pretrained=False)


def test_a_plan_leaves_nothing_open_and_says_what_it_chose(photos, fake_model):
    plan = make_plan(Config(model=fake_model, data=DataSection(train=photos)), "cpu")
    config = plan.config
    assert config.data.image_size == (
        64,
        64,
    )  # the short side of 70, rounded down to a multiple of 32
    assert config.data.resize_short == 73  # 64 · 256 / 224
    assert len(plan.train) == 16
    assert len(plan.val) == 4
    assert config.data.batch_size == 8
    assert config.schedule.params["lr"] == pytest.approx(0.0125 * 8 / 32, rel=0.01)
    for note in ("image size 64", "8 images per step", "learning rate", "epochs"):
        assert any(note in line for line in plan.notes), note
    again = make_plan(config, "cpu")
    assert again.config == config
    assert again.train.records == plan.train.records


def test_what_is_given_is_kept(photos, fake_model):
    config = Config(
        model=fake_model,
        data=DataSection(train=photos, image_size=48, batch_size=4, workers=0, resize_short=50),
        optimizer=OptimizerSection(name="AdamW", lr_mult={"backbone": 0.5}),
        train=TrainSection(epochs=3),
    )
    planned = make_plan(config, "cpu").config
    assert planned.data.image_size == (48, 48)
    assert (planned.data.batch_size, planned.data.workers, planned.data.resize_short) == (4, 0, 50)
    assert planned.optimizer.lr_mult == {"backbone": 0.5}
    assert planned.train.epochs == 3


def test_a_batch_larger_than_the_set_is_refused(photos, fake_model):
    with pytest.raises(ConfigError, match="batch_size 64 is more than the 16 training photos"):
        make_plan(Config(model=fake_model, data=DataSection(train=photos, batch_size=64)), "cpu")


def test_run_folders_are_never_overwritten(tmp_path):
    first = create_run_folder(None, "A/B", tmp_path / "runs")
    second = create_run_folder(None, "A/B", tmp_path / "runs")
    assert [first.path.name, second.path.name] == ["A_B-1", "A_B-2"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(TrainingError, match=r"is not empty \(it holds notes.txt\)"):
        create_run_folder(str(tmp_path / "mine"), "A")
    with pytest.raises(TrainingError, match="cannot be written"):
        create_run_folder("/proc/nowhere", "A")


def test_a_run_that_was_killed_before_it_began_is_not_in_the_way(tmp_path):
    """The same command again must do: a launcher's restart says nothing else."""
    for name in ("command.txt", ".config.yaml.k3w_x1.tmp", ".writable"):
        (tmp_path / name).write_text("half")
    assert create_run_folder(str(tmp_path), "A").path == tmp_path
    assert not list(tmp_path.iterdir())
    (tmp_path / "command.txt").touch()
    (tmp_path / "weights.safetensors").touch()
    with pytest.raises(TrainingError, match=r"is not empty \(it holds weights.safetensors\)"):
        create_run_folder(str(tmp_path), "A")
    assert (tmp_path / "command.txt").exists()


def test_the_newest_unfinished_run_is_found(tmp_path):
    with pytest.raises(TrainingError, match="Nothing to resume: there is no run"):
        find_unfinished(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    RunFolder(tmp_path / "b").finished.touch()
    assert find_unfinished(tmp_path).path.name == "a"
    RunFolder(tmp_path / "a").finished.touch()
    with pytest.raises(TrainingError, match=r"all 2 runs in .* are finished"):
        find_unfinished(tmp_path)


def test_paths_of_every_kind(tmp_path):
    folder = tmp_path / "фото 图片"
    folder.mkdir()
    for name in ("b.jpg", "a.PNG", "notes.md"):
        (folder / name).touch()
    listing = tmp_path / "list.txt"
    listing.write_text("фото 图片/b.jpg\nфото 图片/a.PNG 3\n\n", encoding="utf-8")
    expected = [str(folder / "a.PNG"), str(folder / "b.jpg")]
    assert expand_paths([str(folder)]) == expected
    assert expand_paths([str(listing)]) == expected[::-1]
    assert expand_paths([str(folder / "*.jpg")]) == expected[1:]
    for nothing in ("missing.jpg", str(tmp_path / "*.webp")):
        with pytest.raises(DataError, match="No such file, folder or pattern"):
            expand_paths([nothing])
    (folder / "._b.jpg").touch()
    (folder / "@eaDir").mkdir()
    (folder / "@eaDir" / "b.jpg").touch()
    (folder / "link").symlink_to(tmp_path / "beside")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "c.jpg").touch()
    notes: list[str] = []
    assert expand_paths([str(folder)], notes) == [*expected, str(folder / "link" / "c.jpg")]
    assert [note.partition(": ")[2].split(",")[0] for note in notes] == [
        "1 hidden folder(s)",
        "1 hidden photo(s)",
        f"1 file(s) that are no photos by their name are left out (first: {folder}/notes.md).",
    ]
    listing.write_text("0 tench\n1 goldfish\n")
    with pytest.raises(DataError, match=r"list.txt: expected a photo's path .* none of its 2 is"):
        expand_paths([str(listing)])
    listing.write_bytes("花.jpg\n".encode("gbk"))
    with pytest.raises(DataError, match=r"list.txt:1: expected UTF-8 text, got the byte 0xbb"):
        expand_paths([str(listing)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DataError, match="expected a folder with photos in it, at any depth; got none"
    ):
        expand_paths([str(tmp_path / "empty")])


def test_pictures_are_pictures(tmp_path):
    rows = [
        {
            "epoch": 0,
            "train_loss": None,
            "train_top1": None,
            "loss": 1.0,
            "top1": 0.5,
            "top5": 1.0,
            "lr": 0.0,
        },
        {"epoch": 1, "train_loss": 1.0, "train_top1": None, "lr": 0.1},
    ]
    draw_curves(rows, tmp_path / "curves.png")
    draw_confusion(
        Confusion.of(np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 1]), 2),
        ("猫", "dog"),
        tmp_path / "confusion.png",
    )
    for name in ("curves.png", "confusion.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_console_and_log_take_the_names_that_files_have(tmp_path):
    stream = io.StringIO()
    console = Console(stream=stream)
    console.open_log(tmp_path / "log.txt")
    console.line("classes:\n  \x1b[31mred")
    console.log("caf\udce9.jpg cannot be read")
    console.close_log()
    assert stream.getvalue() == "classes:\n  \\x1b[31mred\n"
    assert (
        (tmp_path / "log.txt")
        .read_text(encoding="utf-8")
        .endswith("caf\\udce9.jpg cannot be read\n")
    )


def test_without_a_terminal_there_is_a_line_every_so_many_steps():
    stream = io.StringIO()
    with Console(stream=stream).bar("epoch 1/1", 7, start=2, every=3) as bar:
        for _ in range(5):
            bar.advance("loss 1")
    assert stream.getvalue().splitlines() == ["epoch 1/1 3/7 loss 1", "epoch 1/1 6/7 loss 1"]


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (60, "1/22 6:20 left  loss 2.1034"),
        (80, "1/22 6:20 left  loss 2.1034  103.1 img/s  wait 12%  0.9 GB"),
        (120, "1/22 6:20 left  loss 2.1034  103.1 img/s  wait 12%  0.9 GB  lr 9.99e-04"),
    ],
)
def test_a_narrow_terminal_shows_the_bar_and_fewer_facts(columns, shown):
    program = """
        from ppclas_engine.console import Console
        with Console().bar("epoch 1/8", 22) as bar:
            bar.advance("6:20 left  loss 2.1034  103.1 img/s  wait 12%  0.9 GB  lr 9.99e-04")
    """
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(columns)}
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, **terminal},
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stderr
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said).replace("\r", "\n").splitlines()
    assert any(line.endswith(shown) and "━━━━━━" in line for line in drawn), drawn
    assert max(map(len, drawn)) <= columns


def _reads_the_corner(sizes: list[int]) -> Any:
    """An engine whose logits are the first pixel; it notes the size of each batch."""

    def logits(images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        return images[:, 0, 0, :].astype(np.float32)

    return SimpleNamespace(prepare=lambda pixels: pixels, logits=logits)


PLAIN_BUNDLE = cast(
    "Bundle",
    SimpleNamespace(
        manifest=SimpleNamespace(
            kind="export", task="classification", preprocessing=SimpleNamespace(transforms=())
        ),
        labels=("red", "green", "blue"),
        probabilities=lambda logits: logits / 255,
    ),
)


def test_answers_stay_with_their_images(tmp_path):
    """Batches use the same memory again: no answer may be another batch's."""
    sizes: list[int] = []
    colours = [np.full((4, 6, 3), np.roll((200, n, 0), n % 3), np.uint8) for n in range(23)]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    inputs = [*colours[:6], str(broken), *colours[6:]]
    answers = list(
        predict(
            PLAIN_BUNDLE, inputs, batch_size=4, threads=3, engine=_reads_the_corner(sizes), top_k=2
        )
    )
    assert "broken.jpg" in answers.pop(6).error
    assert sizes == [4, 3, 4, 4, 4, 4]
    for n, answer in enumerate(answers):
        names = np.roll(["red", "green", "blue"], -(n % 3))
        assert answer.top == (
            (names[0], pytest.approx(200 / 255)),
            (names[1], pytest.approx(n / 255)),
        )


def test_images_of_several_shapes_make_no_batch():
    images = [np.zeros((4, 6, 3), np.uint8), np.zeros((5, 6, 3), np.uint8)]
    answers = list(
        predict(PLAIN_BUNDLE, images, batch_size=2, threads=1, engine=_reads_the_corner([]))
    )
    assert answers[1].error.startswith(
        "image 2: 5 x 6 x 3 after the bundle's transforms, where others are 4 x 6 x 3"
    )
    assert not any(
        one.error
        for one in predict(PLAIN_BUNDLE, images, batch_size=1, engine=_reads_the_corner([]))
    )


def test_photos_that_lack_a_part_are_answered_and_called_damaged(tmp_path):
    pytest.importorskip("simplejpeg")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    whole = cv2.imencode(".jpg", noise)[1].tobytes()
    middle = len(whole) // 2
    (tmp_path / "whole.jpg").write_bytes(whole)
    short, holed = tmp_path / "short.jpg", tmp_path / "holed.jpg"
    short.write_bytes(whole[:middle] + b"\xff\xd9")
    holed.write_bytes(whole[:middle] + whole[middle + 1500 :])
    paths = [
        str(tmp_path / name) for name in ("whole.jpg", "short.jpg", "holed.jpg", "missing.jpg")
    ]
    found = list(predict(PLAIN_BUNDLE, paths, batch_size=2, engine=_reads_the_corner([])))
    assert [bool(one.error) for one in found] == [False, False, False, True]
    assert [bool(one.damage) for one in found] == [False, True, True, False]
    contents = (short.read_bytes(), holed.read_bytes())
    assert [one.damage for one in found[1:3]] == [jpeg.find_damage(data) for data in contents]
    assert ["damaged" in one.to_dict() for one in found] == [False, True, True, False]


@pytest.mark.parametrize("name", ["photos.csv", "PHOTOS.TSV"])
def test_a_table_is_not_taken_for_a_photo(tmp_path, name):
    (tmp_path / name).write_text("path,label\na.jpg,x\n")
    with pytest.raises(
        DataError, match=r"a table; expected photos, .* ppclas eval -m MODEL --data"
    ):
        expand_paths([str(tmp_path / name)])
