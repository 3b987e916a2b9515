"""Lists, statistics and look-alikes: numbers by hand, files of another program, photos that were tampered with."""

import base64
import contextlib
import json
import zlib

import cv2
import numpy as np
import pytest
from ppclas_core.config.schema import DataSection
from ppclas_core.data.builtin import builtin_photos
from ppclas_core.data.check import check_data
from ppclas_core.data.decode import decode
from ppclas_core.data.likeness import alike, picture_hash
from ppclas_core.data.listing import write_lists
from ppclas_core.data.mat_file import read_mat
from ppclas_core.data.sources import load_image_set
from ppclas_core.data.splits import open_splits
from ppclas_core.data.statistics import measure
from ppclas_core.errors import DataError

_HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
# What scipy.io.savemat 1.17 wrote after the header of {"labels": uint8 [[2, 1, 2, 3, 1]]},
LABELS = _HEADER + base64.b64decode("DwAAADAAAAB4nONjYGBwAGI2IOYAYk4GCGCF8hmhbEaompzEpNScYgYGJqg4EyMTM0gOAFObAwM=")
# and of {"trnid": uint16 [[1, 3]], "valid": [[2]], "tstid": [[5, 4, 300]], "text", "cell", "d": [1.5, -2.25]}.
MIXED = _HEADER + base64.b64decode(
    "DwAAAC4AAAB4nONjYGCwAGI2IOYAYm4GCGCF8hmBmAlKg8RKivIyU4A0CxAyMjAzAAA21QKjDwAAACsAAAB4nONjYGCwAGI2IOYAYm4GCGCF8h"
    "mRMEisLDEnMwVIszAwASEDAwA1sAKNDwAAADAAAAB4nONjYGBwAGI2IOYAYm4GCGCF8hmBmBlKg8RKiksyU4A0C1QPK5ClA5QEAE+lAucPAAAA"
    "LAAAAHic42NgYLAAYjYg5gBiFgYIYIXyGaFsRqBMSWpFiQCUn5Gak5MPpAFF5gRfDwAAAEAAAAB4nONjYGBYAMRsQMwBxIwMEMCKxGcC0ywMya"
    "k5OXxAtgWSej4s6hmRzOFBMxek3gBJPwsB/QJAViKQBgCWqAPMDwAAAC0AAAB4nONjYGBwAGI2IOaA0iDACuUzAjETmGZkSAHSnEAswAADP+wh"
    "NNMBADaZAus="
)


def test_numbers_of_a_mat_file(tmp_path):
    (tmp_path / "mixed.mat").write_bytes(MIXED)
    arrays = {name: values.tolist() for name, values in read_mat(tmp_path / "mixed.mat").items()}
    assert arrays == {"trnid": [1, 3], "valid": [2], "tstid": [5, 4, 300], "d": [1.5, -2.25]}


def test_damaged_mat_files(tmp_path):
    rng = np.random.default_rng(0)
    bomb = zlib.compress(bytes(1 << 27))
    bombs = MIXED[:128] + (15).to_bytes(4, "little") + len(bomb).to_bytes(4, "little") + bomb
    for data, said in ((b"no", "expected a little-endian MATLAB 5 file"), (bombs, "larger than 67,108,864 bytes")):
        (tmp_path / "bad.mat").write_bytes(data)
        with pytest.raises(DataError, match=said):
            read_mat(tmp_path / "bad.mat")
    for _ in range(200):
        data = bytearray(MIXED)
        data[rng.integers(128, len(data))] = rng.integers(256)
        (tmp_path / "bad.mat").write_bytes(data[: rng.integers(128, len(data))])
        with contextlib.suppress(DataError):
            read_mat(tmp_path / "bad.mat")


@pytest.fixture
def flowers(tmp_path):
    (tmp_path / "jpg").mkdir()
    (tmp_path / "imagelabels.mat").write_bytes(LABELS)
    (tmp_path / "setid.mat").write_bytes(MIXED)
    photo = next(builtin_photos().rglob("*.jpg")).read_bytes()
    for number in range(1, 6):
        (tmp_path / "jpg" / f"image_{number:05d}.jpg").write_bytes(photo)
    return tmp_path


def test_flowers102_as_the_quick_start_lists_it(flowers, monkeypatch):
    with pytest.raises(DataError, match="expected image numbers from 1 to 5 in 'tstid'"):
        write_lists(DataSection(train=str(flowers)), flowers, [])
    import ppclas_core.data.listing as listing

    arrays = {**read_mat(flowers / "setid.mat"), "tstid": np.array([5.0, 4.0])}
    whole = listing.read_mat
    monkeypatch.setattr(listing, "read_mat", lambda path: arrays if path.name == "setid.mat" else whole(path))
    written = write_lists(DataSection(train=str(flowers)), flowers, [])
    assert [(one.path, one.num_lines) for one in written] == [
        (str(flowers / f"{part}_list.txt"), count) for part, count in (("train", 2), ("val", 1), ("test", 2))
    ]
    assert (flowers / "train_list.txt").read_text() == "jpg/image_00001.jpg 1\njpg/image_00003.jpg 1\n"
    assert (flowers / "test_list.txt").read_text() == "jpg/image_00005.jpg 0\njpg/image_00004.jpg 2\n"
    with pytest.raises(DataError, match=r"train_list.txt exists already; it is not overwritten"):
        write_lists(DataSection(train=str(flowers)), flowers, [])


def test_lists_of_a_folder_read_back_as_the_folder(tmp_path):
    section, notes = DataSection(), []
    write_lists(section, tmp_path / "lists", notes)
    back = open_splits(DataSection(train=str(tmp_path / "lists")))
    plain = open_splits(section)
    for ours, theirs in ((back.train, plain.train), (back.val, plain.val)):
        assert ours.class_names == theirs.class_names
        assert ours.labels().tolist() == theirs.labels().tolist()
        assert [ours.read(i) for i in (0, 50)] == [theirs.read(i) for i in (0, 50)]
    assert "the built-in photos are used" in notes[0]


def test_statistics_by_hand(tmp_path):
    for name, values in {"a/1": (0, 0, 255), "a/2": (51, 0, 255), "b/1": (255, 0, 255)}.items():
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = np.zeros((10, 20, 3), np.uint8)
        pixels[:, :10] = values  # half of it; the other half is black
        path.write_bytes(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())
    (tmp_path / "b" / "bad.png").write_text("text")
    found = measure(load_image_set(tmp_path))
    assert (found.num_images, found.num_unreadable) == (4, 1)
    assert found.class_counts == {"0 a": 2, "1 b": 2}
    assert found.mean == pytest.approx((1.2 / 6, 0, 0.5), abs=1e-4)
    assert found.std == pytest.approx((np.sqrt((0.04 + 1) / 6 - 0.04), 0, 0.5), abs=1e-4)
    assert (found.height.median, found.width.median) == (10, 20)
    assert json.loads(json.dumps(found.to_dict()))["mean"] == list(found.mean)


@pytest.fixture(scope="module")
def pictures():
    return [decode(path.read_bytes(), "photo") for path in sorted(builtin_photos().rglob("*.jpg"))[::6]]


def recompressed(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)


@pytest.mark.parametrize(
    "change",
    [
        recompressed,
        lambda image: cv2.resize(image, (90, 90), interpolation=cv2.INTER_AREA),
        lambda image: cv2.resize(image, (400, 300)),
        lambda image: image[:, ::-1].copy(),
        lambda image: (image * 0.7 + 20).astype(np.uint8),
    ],
    ids=["recompressed", "smaller", "stretched", "mirrored", "darker"],
)
def test_copies_are_found(pictures, change):
    originals = [picture_hash(image) for image in pictures]
    found = {
        (query, other) for query, other, _ in alike([picture_hash(change(image)) for image in pictures], originals)
    }
    assert len(found & {(i, i) for i in range(len(pictures))}) >= 0.9 * len(pictures)
    assert all(query == other for query, other in found)


def test_other_photos_are_not_alike(pictures):
    hashes = [picture_hash(image) for image in pictures]
    half = len(hashes) // 2
    assert not list(alike(hashes[:half], hashes[half:]))
    assert picture_hash(np.full((50, 50, 3), 90, np.uint8)) == b""
    assert not list(alike([b"", hashes[0]], [b""]))


def test_the_check_names_copies_across_sets(tmp_path):
    files = sorted(builtin_photos().rglob("*.jpg"))[::24]
    for part, chosen in (("train", files[:8]), ("val", files[8:])):
        for index, file in enumerate(chosen):
            path = tmp_path / part / "ab"[index % 2] / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read_bytes())
    assert not check_data(DataSection(train=str(tmp_path))).lookalikes
    original = tmp_path / "train" / "a" / files[2].name
    leaked = recompressed(decode(original.read_bytes(), "photo")[:, ::-1].copy())
    (tmp_path / "val" / "b" / "leaked.png").write_bytes(cv2.imencode(".png", leaked[..., ::-1])[1].tobytes())
    report = check_data(DataSection(train=str(tmp_path)))
    assert [(one.train, one.val) for one in report.lookalikes] == [
        (str(original), str(tmp_path / "val" / "b" / "leaked.png"))
    ]
    assert any("1 validation photo(s) show what a training photo shows" in text for text in report.warnings)
    assert report.ok
