"""docs/en/python.md as it is written, and every form of image that ``predict`` takes."""

import io
import re
from pathlib import Path

import cv2
import numpy as np
import ppclas_engine
import pytest
from PIL import Image
from ppclas_core import Config
from ppclas_core.errors import ConfigError, DataError, ShapeError
from ppclas_core.testing import use_plugin
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.testing import FakePlugin

pytest.importorskip("paddle")
PAGE = Path(__file__).parents[1] / "docs" / "en" / "python.md"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_tiny_dataset(tmp_path_factory.mktemp("api") / "photos", per_class=8)[0]


@pytest.fixture(scope="module")
def model(photos):
    with use_plugin(FakePlugin()):
        result = ppclas_engine.train(
            photos, model="FakeNet", epochs=2, image_size=32, batch_size=6, lr=0.05, device="cpu",
            output=photos.parent / "run", overrides=["data.workers=0"],
        )  # fmt: skip
        yield ppclas_engine.load(result.run.path)


def test_the_page_runs_as_it_is_written(photos, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(photos.parent)
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    out = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"runs/\S+ [01]\.\d+", out[0])
    assert re.fullmatch(r"top-1 \d\.\d{4} on \d+ photos", out[1])
    assert len(out) == 2 + 24
    assert names["run"].run.path.parent.name == "runs"
    assert "ResNet50_vd" in names["names"]
    assert len(names["answer"].top) == 3
    assert names["network"].config.num_classes == 8


def test_every_form_of_one_image_gets_the_same_answer(model, photos):
    file = photos / "class_01" / "000.png"
    pixels = cv2.imread(str(file))[..., ::-1]
    with Image.open(file) as opened:
        forms = [str(file), file, file.read_bytes(), pixels, opened.copy()]
    answers = model.predict(forms)
    assert answers[0].path == str(file)
    assert [answer.path for answer in answers[2:]] == ["image 3", "image 4", "image 5"]
    assert {answer.label for answer in answers} == {answers[0].label}
    values = [answer.probability for answer in answers]
    assert np.ptp(values) < 1e-6
    assert sum(probability for _, probability in answers[0].top) == pytest.approx(1, abs=1e-5)


def test_one_image_needs_no_list(model, photos):
    (answer,) = model.predict(photos / "class_00" / "000.png")
    assert answer.error == ""
    assert len(model.predict(photos)) == 24
    assert len(model.predict(photos, top_k=1)[0].top) == 1


def test_grey_and_transparent_pixels_are_what_the_decoder_makes_of_them(model):
    grey = np.arange(40 * 50, dtype=np.uint8).reshape(40, 50)
    clear = np.zeros((40, 50, 4), np.uint8)
    stored = io.BytesIO()
    Image.fromarray(grey).save(stored, "png")
    hidden = io.BytesIO()
    Image.fromarray(clear).save(hidden, "png")
    a, b, c, d = model.predict([grey, stored.getvalue(), clear, hidden.getvalue()])
    assert a.top == b.top
    assert c.top == d.top
    assert a.top != c.top


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((8, 8, 3), np.float32), r"got float32. Are they in 0..1\? Use \(image \* 255\)"),
        (np.zeros((8, 8, 3), np.int64), "got int64. Bring them to 0..255"),
        (np.zeros((3, 8, 9), np.uint8), r"Are the channels first\? .* or layout='CHW'"),
    ],
)
def test_pixels_of_another_kind_are_refused_with_the_way_out(model, image, said):
    with pytest.raises(ShapeError, match=said):
        model.predict(image)


def test_a_batch_of_pixels_is_several_images(model):
    batch = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    assert [a.top for a in model.predict(batch)] == [a.top for a in model.predict(list(batch))]


def test_pixels_with_the_channels_first_are_taken_when_that_is_said(model):
    batch = np.random.default_rng(1).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    first = batch.transpose(0, 3, 1, 2)
    tops = [answer.top for answer in model.predict(batch)]
    assert [answer.top for answer in model.predict(first, layout="CHW")] == tops
    assert model.predict(first[0], layout="CHW")[0].top == tops[0]
    with pytest.raises(ShapeError, match="expected 'HWC' or 'CHW'"):
        model.predict(first, layout="NCHW")


def test_answers_of_images_in_memory_show_them(model, photos):
    pixels = np.zeros((20, 40, 3), np.uint8)
    answers = model.predict([pixels, photos / "class_00" / "000.png", *[pixels] * 25])
    assert isinstance(answers, list)
    page = answers._repr_html_()
    assert page.count("<img") == 20
    assert "and 7 more" in page


def test_what_is_no_image_is_refused(model):
    with pytest.raises(DataError, match=r"expected a path, the bytes of an image file, .*got int"):
        model.predict([7])
    assert model.predict([]) == []


def test_a_missing_file_is_told_of_and_an_empty_folder_is_an_error(model, photos, tmp_path):
    missing, good = model.predict([tmp_path / "no.jpg", photos / "class_00" / "000.png"])
    assert "No such file" in missing.error
    assert good.label is not None
    with pytest.raises(DataError, match="expected a folder with photos in it"):
        model.predict(tmp_path)
    with pytest.raises(DataError, match="No such file, folder or pattern"):
        model.predict(str(tmp_path / "*.jpg"))


def test_an_unreadable_file_is_told_of_and_the_others_answered(model, photos, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no image")
    first, second = model.predict([bad, photos / "class_00" / "000.png"])
    assert (first.label, first.probability) == (None, None)
    assert "not an image" in first.error
    assert second.label is not None


def test_evaluate_gives_the_numbers_of_the_training(model):
    run = model.bundle.folder.parent
    again = ppclas_engine.evaluate(run)
    assert again.metrics["top1"] == model.bundle.manifest.metrics["top1"]
    elsewhere = ppclas_engine.evaluate(run, model.bundle.folder.parent.parent / "photos")
    assert elsewhere.num_images == 24


def test_a_whole_config_takes_nothing_beside_it():
    with pytest.raises(ConfigError, match=r"put them into it with config\.replace"):
        ppclas_engine.train(Config(), epochs=3)
