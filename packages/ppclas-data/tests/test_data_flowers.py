"""The data set flowers102 as it is published: labels and split in MATLAB files."""

import base64
import contextlib
import re
import zlib

import numpy as np
import pytest
from ppclas_core.config.schema import DataSection
from ppclas_core.errors import DataError
from ppclas_data.builtin import builtin_photos
from ppclas_data.sources.listing import write_lists
from ppclas_data.sources.mat_file import read_mat
from scipy.io import savemat

_HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
# What scipy.io.savemat 1.17 wrote after the header of {"labels": uint8 [[2, 1, 2, 3, 1]]},
LABELS = _HEADER + base64.b64decode(
    "DwAAADAAAAB4nONjYGBwAGI2IOYAYk4GCGCF8hmhbEaompzEpNScYgYGJqg4EyMTM0gOAFObAwM="
)
# and of {"trnid": uint16 [[1, 3]], "valid": [[2]], "tstid": [[5, 4, 300]], "text", "cell", "d":
# [1.5, -2.25]}.
MIXED = _HEADER + base64.b64decode(
    "DwAAAC4AAAB4nONjYGCwAGI2IOYAYm4GCGCF8hmBmAlKg8RKivIyU4A0CxAyMjAzAAA21QKjDwAAACsAAAB4nONjYGCwAGI2IOYAYm4GCGCF8hmRMEisLDEnMwVIszAwASEDAwA1sAKNDwAAADAAAAB4nONjYGBwAGI2IOYAYm4GCGCF8hmBmBlKg8RKiksyU4A0C1QPK5ClA5QEAE+lAucPAAAALAAAAHic42NgYLAAYjYg5gBiFgYIYIXyGaFsRqBMSWpFiQCUn5Gak5MPpAFF5gRfDwAAAEAAAAB4nONjYGBYAMRsQMwBxIwMEMCKxGcC0ywMyak5OXxAtgWSej4s6hmRzOFBMxek3gBJPwsB/QJAViKQBgCWqAPMDwAAAC0AAAB4nONjYGBwAGI2IOaA0iDACuUzAjETmGZkSAHSnEAswAADP+whNNMBADaZAus="
)


def test_numbers_of_a_mat_file(tmp_path):
    (tmp_path / "mixed.mat").write_bytes(MIXED)
    arrays = {name: values.tolist() for name, values in read_mat(tmp_path / "mixed.mat").items()}
    assert arrays == {"trnid": [1, 3], "valid": [2], "tstid": [5, 4, 300], "d": [1.5, -2.25]}


def test_damaged_mat_files(tmp_path):
    rng = np.random.default_rng(0)
    bomb = zlib.compress(bytes(1 << 27))
    bombs = MIXED[:128] + (15).to_bytes(4, "little") + len(bomb).to_bytes(4, "little") + bomb
    for data, said in (
        (b"no", "expected a little-endian MATLAB 5 file"),
        (bombs, "larger than 67,108,864 bytes"),
    ):
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


def test_flowers102_as_the_quick_start_lists_it(flowers):
    with pytest.raises(DataError, match="expected image numbers from 1 to 5 in 'tstid'"):
        write_lists(DataSection(train=str(flowers)), flowers, [])
    savemat(flowers / "setid.mat", {"trnid": [1, 3], "valid": [2], "tstid": [5, 4]})
    written = write_lists(DataSection(train=str(flowers)), flowers, [])
    assert [(one.path, one.num_lines) for one in written] == [
        (str(flowers / f"{part}_list.txt"), count)
        for part, count in (("train", 2), ("val", 1), ("test", 2))
    ]
    assert (
        flowers / "train_list.txt"
    ).read_text() == "jpg/image_00001.jpg 1\njpg/image_00003.jpg 1\n"
    assert (
        flowers / "test_list.txt"
    ).read_text() == "jpg/image_00005.jpg 0\njpg/image_00004.jpg 2\n"
    with pytest.raises(DataError, match=r"train_list.txt exists already; it is not overwritten"):
        write_lists(DataSection(train=str(flowers)), flowers, [])


SPLIT = {"trnid": [1.0, 3.0], "valid": [2.0], "tstid": [5.0, 4.0]}


@pytest.mark.parametrize(
    ("labels", "split", "said"),
    [
        (
            [0, 1, 2, 1, 1],
            {},
            "imagelabels.mat: expected whole numbers from 1 on in 'labels', got 0",
        ),
        (
            [2, 1, -2, 1, 1],
            {},
            "imagelabels.mat: expected whole numbers from 1 on in 'labels', got -2",
        ),
        (
            [2, 1.5, 2, 1, 1],
            {},
            "imagelabels.mat: expected whole numbers from 1 on in 'labels', got 1.5",
        ),
        (
            [2, 1, 2, np.inf, 1],
            {},
            "imagelabels.mat: expected whole numbers from 1 on in 'labels', got inf",
        ),
        (
            [2, 1, 2, np.nan, 1],
            {},
            "imagelabels.mat: expected whole numbers from 1 on in 'labels', got nan",
        ),
        (
            [2, 1, 2, 1, 1],
            {"valid": [2.5]},
            "setid.mat: expected whole numbers from 1 on in 'valid', got 2.5",
        ),
        (
            [2, 1, 2, 1, 1],
            {"trnid": [0, 1]},
            "setid.mat: expected whole numbers from 1 on in 'trnid', got 0",
        ),
        (
            [2, 1, 2, 1, 1],
            {"tstid": [5, 6]},
            "expected image numbers from 1 to 5 in 'tstid', got 6",
        ),
        (
            [2, 1, 2, 1, 1],
            {"valid": [2.0, 3.0, 1.0]},
            "setid.mat: expected each image in one part, got 1 in 'trnid' and in 'valid' (2 such "
            "image(s))",
        ),
        (
            [2, 1, 2, 1, 1],
            {"tstid": [4.0, 2.0]},
            "setid.mat: expected each image in one part, got 2 in 'valid' and in 'tstid' (1 such "
            "image(s))",
        ),
    ],
)
def test_flowers102_that_cannot_be_right(flowers, labels, split, said):
    write_arrays(flowers, labels, split)
    with pytest.raises(DataError, match=re.escape(said)):
        write_lists(DataSection(train=str(flowers)), flowers, [])
    assert not list(flowers.glob("*_list.txt"))


def test_gaps_in_the_labels_of_flowers102_are_said(flowers):
    write_arrays(flowers, [2, 4, 6, 2, 4], {})
    notes = []
    write_lists(DataSection(train=str(flowers)), flowers, notes)
    assert (
        f"{flowers}: no training photo of 4 of 6 classes (the first: 1, 3, 4, 5): reading the "
        "lists takes a file of class names (data.labels)."
    ) in notes


def write_arrays(flowers, labels, split):
    savemat(flowers / "imagelabels.mat", {"labels": np.array(labels, float)})
    arrays = {**SPLIT, **split}
    savemat(flowers / "setid.mat", {name: np.array(arrays[name], float) for name in arrays})


def test_a_mat_file_that_cannot_be_read(flowers):
    (flowers / "setid.mat").unlink()
    (flowers / "setid.mat").mkdir()
    said = f"{flowers / 'setid.mat'}: cannot be read: Is a directory"
    with pytest.raises(DataError, match=f"^{re.escape(said)}$"):
        read_mat(flowers / "setid.mat")
