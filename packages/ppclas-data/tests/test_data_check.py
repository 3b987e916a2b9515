"""``check_data`` finds what is wrong with a data set before a training does."""

import io
import json
import subprocess
import sys
import textwrap
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image
from ppclas_core.config.schema import DataSection
from ppclas_core.contracts.data import ImageSet, Record
from ppclas_core.errors import ImageError
from ppclas_data.builtin import builtin_photos
from ppclas_data.decoding import jpeg
from ppclas_data.decoding.decode import count_frames, decode
from ppclas_data.inspection.check import Duplicate, SideStatistics, check_data, look_at_all
from ppclas_data.inspection.likeness import alike, picture_hash
from ppclas_data.inspection.statistics import measure
from ppclas_data.loading.loader import available_cpus
from ppclas_data.sources.opening import load_image_set


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
    assert "expected at most one unreadable image, got 2 of 35" in report.errors[0]
    train = tmp_path / "train"
    assert [(bad.where, bad.reason) for bad in report.train.bad_images] == [
        (str(train / "few" / "gone.png"), "No such file or directory"),
        (str(train / "many" / "text.jpg"), "not an image: it looks like text"),
    ]
    assert set(report.duplicates) == {
        Duplicate(
            str(train / "few" / "mislabelled.png"), str(train / "many" / "3.png"), False, False
        ),
        Duplicate(
            str(train / "many" / "7.png"), str(tmp_path / "val" / "many" / "leaked.png"), True, True
        ),
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
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "many" / "moving.gif", save_all=True, append_images=frames[1:])
    report = check_data(DataSection(train=str(tmp_path), val_fraction=0.1))
    assert report.ok
    said = "\n".join(report.warnings)
    assert "'1 many' has 19 images, '0 few' only 1" in said
    assert "1 image(s) are animations, of which only the first frame is used" in said


def interrupt(done, total):
    """What Ctrl-C does once the first photo is through."""
    raise KeyboardInterrupt


def test_an_interrupt_waits_for_the_few_photos_that_threads_have():
    looked = []
    with pytest.raises(KeyboardInterrupt):
        look_at_all(looked.append, 400 * available_cpus(), interrupt)
    assert 0 < len(looked) <= 100 * available_cpus()


def test_statistics_can_be_interrupted_as_well():
    read = []

    class Counted(ImageSet):
        def read(self, index):
            read.append(index)
            return super().read(index)

    photos = sorted(builtin_photos().rglob("*.jpg"))[:2] * (200 * available_cpus())
    records = tuple(Record(str(photo), 0, str(photo)) for photo in photos)
    with pytest.raises(KeyboardInterrupt):
        measure(Counted(records, ("any",), "photos"), interrupt)
    assert 0 < len(read) <= 100 * available_cpus()


def test_what_cannot_be_opened_is_an_error_not_an_exception(tmp_path):
    (tmp_path / "list.txt").write_text("a.png 1\n")
    report = check_data(DataSection(train=str(tmp_path / "list.txt")))
    assert not report.ok
    assert report.train is None
    assert "expected labels that start at 0" in report.errors[0]


def pages(kind, count=4):
    """The bytes of an image of several frames, all different."""
    rng = np.random.default_rng(0)
    made = [Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)) for _ in range(count)]
    file = io.BytesIO()
    made[0].save(file, kind, save_all=True, append_images=made[1:])
    return file.getvalue()


def of_two_classes(top, name, data):
    for index in range(4):
        photo(top / "ab"[index % 2] / f"{index}.png", index)
    path = top / "a" / name
    path.write_bytes(data)
    return path


def test_a_cut_tiff_is_reported_and_not_fatal(tmp_path, capfd):
    path = of_two_classes(tmp_path, "pages.tif", pages("TIFF")[:12_000])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        report = check_data(DataSection(train=str(tmp_path), val_fraction=0.1))
        assert measure(load_image_set(tmp_path)).num_unreadable == 0
    assert report.ok
    (damaged,) = (*report.train.damaged_images, *report.val.damaged_images)
    assert damaged.where == str(path)
    assert damaged.reason.startswith("frames after the first cannot be read: ")
    assert any(
        "1 image(s) are damaged: they are read, but" in text and str(path) in text
        for text in report.warnings
    )
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_frames_of_damaged_files_are_counted_or_refused(kind):
    data, rng, refused = pages(kind), np.random.default_rng(1), 0
    for _ in range(60):
        cut = bytearray(data[: rng.integers(len(data) // 4, len(data))])
        cut[rng.integers(len(cut))] = rng.integers(256)
        try:
            assert count_frames(bytes(cut)) >= 1
        except ImageError:
            refused += 1
    assert kind in ("PNG", "GIF") or refused


def cut_and_ended():
    """A JPEG of which the lower half is missing, closed as if it were whole."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = cv2.imencode(".jpg", noise)[1].tobytes()
    return data[: len(data) // 2] + b"\xff\xd9"


def test_damage_inside_a_jpeg_is_a_warning(tmp_path):
    pytest.importorskip("simplejpeg")
    path = of_two_classes(tmp_path, "half.jpg", cut_and_ended())
    report = check_data(DataSection(train=str(tmp_path), val_fraction=0.1))
    assert report.ok
    (damaged,) = (*report.train.damaged_images, *report.val.damaged_images)
    assert (damaged.where, damaged.reason) == (
        str(path),
        "Corrupt JPEG data: premature end of data segment",
    )
    assert not report.train.bad_images
    assert not check_data(DataSection()).train.damaged_images


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_a_piece_cut_out_of_the_middle_is_damage_and_filling_at_the_end_is_none(share):
    pytest.importorskip("simplejpeg")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = cv2.imencode(".jpg", noise)[1].tobytes()
    middle = len(data) // 2
    assert jpeg.find_damage(data[:middle] + data[middle + int(share * len(data)) :])
    for filling in (b"\0", b"\x20", b"\0\1"):
        assert not jpeg.find_damage(data[:-2] + filling * int(share * len(data)) + data[-2:])


def test_damage_is_not_looked_for_without_simplejpeg(tmp_path):
    of_two_classes(tmp_path, "half.jpg", cut_and_ended())
    program = """
        import sys
        sys.modules["simplejpeg"] = None  # as where it is not installed
        from ppclas_core.config.schema import DataSection
        from ppclas_data.inspection.check import check_data
        report = check_data(DataSection(train=sys.argv[1], val_fraction=0.1))
        print(len(report.train.damaged_images), len(report.val.damaged_images), report.notes[-1])
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.startswith(
        "0 0 1 JPEG(s) are not searched for damage inside the picture; that takes simplejpeg"
    )


def test_bad_photos_of_a_list_are_named_by_line_and_file(tmp_path):
    bad = of_two_classes(tmp_path, "bad.png", b"hello")
    names = ("a/0.png 0", "a/2.png 0", "a/bad.png 0", "b/1.png 1", "b/3.png 1", "b/gone.png 1")
    (tmp_path / "list.txt").write_text("\n".join(names))
    report = check_data(DataSection(train=str(tmp_path / "list.txt"), val_fraction=0.1))
    found = {
        image.where: image.reason for image in (*report.train.bad_images, *report.val.bad_images)
    }
    assert found == {
        f"{tmp_path / 'list.txt'}:3": f"{bad}: not an image: it looks like text",
        f"{tmp_path / 'list.txt'}:6": f"{tmp_path / 'b' / 'gone.png'}: No such file or directory",
    }


# Photos that look alike


def on_white(image):
    page = np.full((400, 400, 3), 255, np.uint8)
    page[100:300, 100:300] = cv2.resize(image, (200, 200))
    return recompressed(page, 90)


def recompressed(image, quality):
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


@pytest.fixture(scope="module")
def pictures():
    return [
        decode(path.read_bytes(), "photo") for path in sorted(builtin_photos().rglob("*.jpg"))[::4]
    ]


@pytest.mark.parametrize("ground", [on_white, lambda image: image], ids=["on white", "as it is"])
def test_copies_are_found_and_others_are_not(pictures, ground):
    photos = [ground(image) for image in pictures]
    hashes = [picture_hash(image) for image in photos]
    copies = [picture_hash(recompressed(image[:, ::-1], 60)) for image in photos]
    found = {(query, other) for query, other, _ in alike(copies, hashes)}
    assert len(found) >= 0.97 * len(photos)
    assert all(query == other for query, other in found)
    half = len(hashes) // 2
    assert not list(alike(hashes[:half], hashes[half:]))


def test_the_nearest_of_many_is_found_on_either_side():
    rng = np.random.default_rng(0)
    hashes = [rng.integers(0, 256, 64, np.uint8).tobytes() for _ in range(5000)]
    nearly = bytes([hashes[4500][0] ^ 0b101, *hashes[4500][1:]])
    places = rng.integers(-40, 41, (16, 17)).cumsum(axis=1)
    picture = np.repeat(np.clip(places + 128, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    hashes[4700] = picture_hash(picture)
    queries = [hashes[0], b"", nearly, picture_hash(picture[:, ::-1].copy())]
    assert list(alike(queries, hashes)) == [(0, 0, 0), (2, 4500, 2), (3, 4700, 0)]


def test_pictures_that_show_little_are_not_compared():
    page = np.full((160, 170, 3), 255, np.uint8)
    page[60:90, 60:90] = 0
    assert picture_hash(page) == b""
