"""``check_data`` finds what is wrong with a data set before a training does."""

import json

import cv2
import numpy as np
from ppclas_core.config.schema import DataSection
from ppclas_core.data.check import Duplicate, SideStatistics, check_data


def photo(path, value, size=(8, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.full((*size, 3), value, np.uint8))[1].tobytes())


def test_builtin_photos_are_in_order():
    done = []
    report = check_data(DataSection(), progress=lambda count, total: done.append((count, total)))
    assert report.ok
    assert not report.warnings
    assert not report.duplicates
    assert report.train.num_images == 192
    assert report.val.class_counts == dict.fromkeys(report.train.class_counts, 12)
    assert next(iter(report.train.class_counts)) == "0 Cantaloupe"
    assert report.train.height.smallest >= 128
    assert done[-1] == (288, 288)
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


def test_everything_that_can_be_wrong(tmp_path):
    for index in range(30):
        photo(tmp_path / "train" / "many" / f"{index}.png", index, size=(10 + index, 20))
    for index in range(2):
        photo(tmp_path / "train" / "few" / f"{index}.png", 100 + index)
    photo(tmp_path / "val" / "many" / "leaked.png", 7, size=(17, 20))
    photo(tmp_path / "val" / "few" / "other.png", 200)
    photo(tmp_path / "train" / "few" / "mislabelled.png", 3, size=(13, 20))
    (tmp_path / "train" / "many" / "text.jpg").write_text("not a photo")
    (tmp_path / "train" / "few" / "gone.png").symlink_to(tmp_path / "nowhere")
    report = check_data(DataSection(train=str(tmp_path)))
    assert not report.ok
    assert "expected at most 1.0% unreadable images, got 2 of 35" in report.errors[0]
    train = tmp_path / "train"
    assert [(bad.where, bad.reason) for bad in report.train.bad_images] == [
        (str(train / "few" / "gone.png"), f"{train / 'few' / 'gone.png'}: No such file or directory"),
        (str(train / "many" / "text.jpg"), "not an image: it looks like text"),
    ]
    assert set(report.duplicates) == {
        Duplicate(str(train / "few" / "mislabelled.png"), str(train / "many" / "3.png"), False, False),
        Duplicate(str(train / "many" / "7.png"), str(tmp_path / "val" / "many" / "leaked.png"), True, True),
    }
    said = "\n".join(report.warnings)
    assert "1 validation image(s) are trained on too" in said
    assert "1 file(s) are there twice with different labels" in said
    assert report.train.width == SideStatistics(12, 20, 20)
    assert report.train.class_counts == {"0 few": 4, "1 many": 31}


def test_imbalance_and_animation(tmp_path):
    for index in range(20):
        photo(tmp_path / "many" / f"{index}.png", index)
    for index in range(2):
        photo(tmp_path / "few" / f"{index}.png", 100 + index)
    from PIL import Image

    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "many" / "moving.gif", save_all=True, append_images=frames[1:])
    report = check_data(DataSection(train=str(tmp_path), val_fraction=0.1))
    assert report.ok
    said = "\n".join(report.warnings)
    assert "'1 many' has 19 images, '0 few' only 1" in said
    assert "1 image(s) are animations, of which only the first frame is used" in said


def test_what_cannot_be_opened_is_an_error_not_an_exception(tmp_path):
    (tmp_path / "list.txt").write_text("a.png 1\n")
    report = check_data(DataSection(train=str(tmp_path / "list.txt")))
    assert not report.ok
    assert report.train is None
    assert "expected labels that start at 0" in report.errors[0]
