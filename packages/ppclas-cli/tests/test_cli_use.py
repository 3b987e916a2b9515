"""``ppclas eval`` and ``ppclas predict`` on a tiny bundle and tiny photos."""

import csv
import io
import json
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from ppclas_core.testing import use_plugin
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.testing import FakePlugin

pytest.importorskip("paddle", reason="needs the extra [cpu]")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder with ``net``, an untrained bundle of three classes, and ``photos``, twelve of
    each class.
    """
    from ppclas_core.testing import make_tiny_bundle
    from ppclas_data.loading.pipeline import default_eval_transforms

    folder = tmp_path_factory.mktemp("use")
    make_tiny_dataset(folder / "photos")
    with use_plugin(FakePlugin()):
        make_tiny_bundle(folder / "net", transforms=default_eval_transforms(32, None, "bilinear"))
        yield folder


CLASSES = {"class_00", "class_01", "class_02"}


def test_every_format_gives_the_same_answers(ppclas, place):
    def answers(*more):
        result = ppclas("predict", "photos", "-m", "net", "--top-k", "3", *more, cwd=place)
        assert (result.code, result.err) == (0, "")
        return result.out

    rows = json.loads(answers("--format", "json"))
    assert len(rows) == 36
    for row in rows:
        assert {answer["label"] for answer in row["top"]} == CLASSES
        probabilities = [answer["probability"] for answer in row["top"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert row["label"] == row["top"][0]["label"]
    assert [json.loads(line) for line in answers("--format", "jsonl").splitlines()] == rows
    table = list(csv.DictReader(io.StringIO(answers("--format", "csv"))))
    lines = answers().splitlines()
    for row, cells, line in zip(rows, table, lines, strict=True):
        assert (cells["path"], cells["label_1"], cells["error"]) == (row["path"], row["label"], "")
        assert float(cells["probability_3"]) == pytest.approx(row["top"][2]["probability"])
        named = [f"{answer['label']} {answer['probability']:.1%}" for answer in row["top"]]
        assert line == f"{row['path']}: {', '.join(named)}"


def test_the_file_has_what_stdout_would(ppclas, place, tmp_path):
    for name in ("answers.csv", "answers.json", "answers.jsonl"):
        file = tmp_path / name
        written = ppclas("predict", "photos", "-m", "net", "-o", str(file), cwd=place)
        assert written == (0, "", f"36 answers in {file}\n")
        shown = ppclas("predict", "photos", "-m", "net", "--format", file.suffix[1:], cwd=place)
        assert file.read_text(encoding="utf-8") == shown.out


def test_a_photo_that_cannot_be_read_costs_only_itself(ppclas, place, tmp_path):
    good = place / "photos" / "class_00" / "000.png"
    (tmp_path / "bad.png").write_bytes(good.read_bytes()[:100])
    (tmp_path / "good.png").write_bytes(good.read_bytes())
    result = ppclas("predict", str(tmp_path), "-m", str(place / "net"))
    assert result.code == 1
    bad, answered = result.out.splitlines()
    assert bad == f"{tmp_path / 'bad.png'}: cannot be read"
    assert answered.startswith(f"{tmp_path / 'good.png'}: class_0")
    assert result.err.startswith(f"error: {tmp_path / 'bad.png'}")


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
def test_names_of_photos_do_not_reach_the_terminal_as_they_are(ppclas, place, tmp_path):
    good = place / "photos" / "class_00" / "000.png"
    (tmp_path / "\x1b[31ma.png").write_bytes(good.read_bytes())
    (tmp_path / "\x1b[31mb.png").write_bytes(b"text")
    result = ppclas("predict", str(tmp_path), "-m", str(place / "net"))
    assert "\\x1b[31ma.png: class_0" in result.out
    assert "\\x1b[31mb.png" in result.err
    assert "\x1b" not in result.out + result.err


def test_a_thousand_photos_that_cannot_be_read_do_not_fill_the_screen(ppclas, place, tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02}.png").write_bytes(b"text")
    result = ppclas("predict", str(tmp_path), "-m", str(place / "net"))
    assert result.code == 1
    assert len(result.out.splitlines()) == 30
    assert result.err.count("error:") == 20
    assert "and 10 more that cannot be read" in result.err


def test_eval_counts_what_predict_answers(ppclas, place):
    rows = json.loads(ppclas("predict", "photos", "-m", "net", "--format", "json", cwd=place).out)
    right = sum(row["label"] == Path(row["path"]).parent.name for row in rows)
    result = ppclas("eval", "net", "--data", "photos", "--per-class", "--json", cwd=place)
    assert result.code == 0, result.err
    score = json.loads(result.out)
    assert score["num_images"] == 36
    assert score["top1"] == pytest.approx(right / 36)
    assert {row["class"]: row["images"] for row in score["per_class"]} == dict.fromkeys(CLASSES, 12)
    shown = ppclas("eval", "net", "--data", "photos", cwd=place).out
    assert shown.startswith("FakeNet on photos: 36 photos\n")
    assert f"{right / 36:.2%}" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["predict"], 2, "Missing argument 'PATHS...'"),
        (["predict", "photos", "-m", "net", "-o", "x.txt"], 2, "ends in .csv, .json or .jsonl"),
        (["predict", "nothing", "-m", "net"], 1, "No such file, folder or pattern: nothing"),
        (["predict", "photos", "-m", "photos"], 1, "photos"),
        (["eval", "net"], 1, "--data"),
        (["eval"], 2, "Expected a run, a bundle, an export or the name of a model"),
        (["eval", "net", "--model", "ResNet18"], 2, "both name what to work on"),
    ],
)
def test_mistakes_are_one_line(ppclas, place, arguments, code, words):
    result = ppclas(*arguments, cwd=place)
    assert (result.code, result.out) == (code, "")
    assert len(result.err.splitlines()) == 1
    assert words in result.err


def test_answers_below_the_confidence_are_unsure_everywhere(ppclas, place, tmp_path):
    plain = json.loads(ppclas("predict", "photos", "-m", "net", "--format", "json", cwd=place).out)
    chances = sorted(row["probability"] for row in plain)
    least = (chances[11] + chances[12]) / 2
    say = ("predict", "photos", "-m", "net", "--min-confidence", str(least))
    rows = json.loads(ppclas(*say, "--format", "json", cwd=place).out)
    assert [row["unsure"] for row in rows] == [row["probability"] < least for row in plain]
    assert sum(row["unsure"] for row in rows) == 12
    table = csv.DictReader(io.StringIO(ppclas(*say, "--format", "csv", cwd=place).out))
    assert [row["unsure"] for row in table] == [str(row["unsure"]).lower() for row in rows]
    assert ppclas(*say, cwd=place).out.count(": unsure (") == 12
    result = ppclas(*say, "--sort-into", str(tmp_path / "sorted"), cwd=place)
    assert "36 copies in" in result.err
    copies = {path.name: len(list(path.iterdir())) for path in (tmp_path / "sorted").iterdir()}
    assert copies.pop("unsure") == 12
    assert copies == Counter(row["label"] for row in rows if not row["unsure"])
    again = ppclas(*say, "--sort-into", str(tmp_path / "sorted"), cwd=place)  # nothing twice
    assert again.code == 0
    assert sum(path.is_file() for path in (tmp_path / "sorted").rglob("*")) == 36


def test_saved_images_are_the_photos_with_a_strip_below(ppclas, place, tmp_path):
    folder = tmp_path / "saved"
    first = str(place / "photos" / "class_00" / "000.png")
    second = str(place / "photos" / "class_01" / "000.png")
    result = ppclas(
        "predict", first, second, "-m", str(place / "net"), "--save-images", str(folder)
    )
    assert f"2 photos with their answers in {folder}" in result.err
    assert sorted(path.name for path in folder.iterdir()) == ["000-2.jpg", "000.jpg"]
    photo, saved = cv2.imread(first), cv2.imread(str(folder / "000.jpg"))
    height = round(photo.shape[0] * 320 / photo.shape[1])
    assert saved.shape == (height + 52, 320, 3)
    shown = cv2.resize(saved[:height], photo.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(shown.astype(int) - photo).mean() < 12  # JPEG, and back to its size
    assert (saved[height:] > 200).any()  # letters


def test_a_model_named_first_answers_or_asks_for_photos(ppclas, place):
    expected = ppclas("predict", "photos", "-m", "net", "--format", "csv", cwd=place).out
    swapped = ppclas("predict", "net", "photos", "--format", "csv", cwd=place)
    assert (swapped.code, swapped.out) == (0, expected)
    assert "net is a model, so it answers: the same as -m net" in swapped.err
    alone = ppclas("predict", "net", cwd=place)
    assert alone.code == 2
    assert "net is a model. Which photos? ppclas predict PHOTO -m net" in alone.err
    both = ppclas("predict", "net", "photos", "-m", "net", cwd=place)
    assert both.code == 2
    assert "net is a model, no photos, and -m names net: give one" in both.err
