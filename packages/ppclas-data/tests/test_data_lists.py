"""Lists, statistics and look-alikes: numbers by hand, files of another program, damaged photos."""

import base64
import contextlib
import errno
import hashlib
import json
import os
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from ppclas_core.config.schema import DataSection
from ppclas_core.contracts.data import Source
from ppclas_core.errors import DataError
from ppclas_core.hookspecs import hookimpl
from ppclas_core.testing import use_plugin
from ppclas_data.builtin import builtin_photos
from ppclas_data.decoding.decode import decode
from ppclas_data.inspection.check import check_data
from ppclas_data.inspection.likeness import alike, picture_hash
from ppclas_data.inspection.statistics import measure
from ppclas_data.sources.listing import write_lists
from ppclas_data.sources.mat_file import read_mat
from ppclas_data.sources.opening import load_image_set
from ppclas_data.sources.splits import open_splits
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
    return [
        decode(path.read_bytes(), "photo") for path in sorted(builtin_photos().rglob("*.jpg"))[::6]
    ]


def recompressed(image):
    return cv2.imdecode(
        cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR
    )


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
        (query, other)
        for query, other, _ in alike([picture_hash(change(image)) for image in pictures], originals)
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
    (tmp_path / "val" / "b" / "leaked.png").write_bytes(
        cv2.imencode(".png", leaked[..., ::-1])[1].tobytes()
    )
    report = check_data(DataSection(train=str(tmp_path)))
    assert [(one.train, one.val) for one in report.lookalikes] == [
        (str(original), str(tmp_path / "val" / "b" / "leaked.png"))
    ]
    assert any(
        "1 validation photo(s) show what a training photo shows" in text for text in report.warnings
    )
    assert report.ok


CSV_ROWS = ["path,label", *(f"{name}.png,{'rose' if name < 'd' else 'iris'}" for name in "abcdef")]


@pytest.fixture
def photos(tmp_path):
    for name in "abcdef":
        (tmp_path / f"{name}.png").write_bytes(png())
    return tmp_path


def png():
    return cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()


def class_folders(top, *names, count=3):
    for name in names:
        folder = os.path.join(os.fsencode(top), os.fsencode(name))  # noqa: PTH118 - names that are not UTF-8
        os.makedirs(folder)  # noqa: PTH103
        for index in range(count):
            with open(os.path.join(folder, b"%d.png" % index), "wb") as file:  # noqa: PTH118
                file.write(png())
    return top


def said_about(call, *args, **kwargs):
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def read_back(section, folder):
    """The splits of ``section`` and of the lists that are written of it."""
    write_lists(section, folder, [])
    return open_splits(section), open_splits(
        DataSection(train=str(folder / "train_list.txt"), task=section.task)
    )


@pytest.mark.parametrize(
    ("place", "row", "line"),
    [
        (4, 'd.png,"5 inch rose', 5),  # the quote is open to the end of the file
        (4, '"d.png,rose', 5),
        (4, 'd.png,"5" rose', 5),
        (6, 'f.png,"rose', 7),
        (4, f"d.png,{'x' * 200_000}", 5),
    ],
)
def test_a_row_that_is_no_csv_is_named_by_its_line(photos, place, row, line):
    rows = [*CSV_ROWS[:place], row, *CSV_ROWS[place + 1 :]]
    (photos / "d.csv").write_text("\n".join(rows) + "\n")
    message = said_about(load_image_set, photos / "d.csv")
    assert message.startswith(f"{photos / 'd.csv'}:{line}: expected a row of CSV, got one that ")
    assert 'close its quotes, and write a quote in a value as ""' in message


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_values_of_several_lines(photos, end):
    rows = ["path,caption,label", 'a.png,"a big', 'red ""rose""",rose', "", "b.png,,iris"]
    (photos / "d.csv").write_bytes(end.join(rows).encode())
    images = load_image_set(photos / "d.csv")
    assert [images.class_names[record.label] for record in images.records] == ["rose", "iris"]
    assert [record.where for record in images.records] == [
        f"{photos / 'd.csv'}:2",
        f"{photos / 'd.csv'}:5",
    ]


@pytest.mark.parametrize(
    ("rows", "line", "name"),
    [
        (["path,label", "a.png,iris", 'b.png,"red', 'rose"'], 3, r"'red\nrose'"),
        (["path,labels", "a.png,iris", 'b.png,"iris|red', 'rose"'], 3, r"'red\nrose'"),
        (['path,iris,"red', 'rose"', "a.png,0,1", "b.png,1,0"], 1, r"'red\nrose'"),
    ],
)
def test_a_class_name_is_one_line(photos, rows, line, name):
    (photos / "d.csv").write_text("\n".join(rows))
    message = said_about(load_image_set, photos / "d.csv")
    assert message.startswith(
        f"{photos / 'd.csv'}:{line}: expected a class name in one line, got {name}"
    )


@pytest.mark.parametrize("name", ["d.csv", "d.txt"])
def test_a_nul_is_named_by_its_line(photos, name):
    separator = "," if name == "d.csv" else " "
    rows = [f"{photo}.png{separator}{index % 2}" for index, photo in enumerate("abcdef")] * 200
    rows[1000] = f"\0{rows[1000]}"
    (photos / name).write_text("\n".join(rows))
    assert said_about(load_image_set, photos / name).startswith(
        f"{photos / name}:1001: expected text, got a NUL byte; save the file as UTF-8"
    )


def test_a_label_that_several_classes_are_called(photos):
    (photos / "d.csv").write_text("\n".join(CSV_ROWS))
    (photos / "names.txt").write_text("rose\niris\n\niris\nlily\nlily\n")
    expected = (
        "expected a label that one class is called, got 'iris', which stands on the lines 2 and 4 "
        "of "
    )
    message = said_about(load_image_set, photos / "d.csv", labels=photos / "names.txt")
    assert message.startswith(f"{photos / 'd.csv'}:5: {expected}{photos / 'names.txt'}")
    (photos / "m.csv").write_text("path,labels\na.png,rose|iris\n")
    message = said_about(load_image_set, photos / "m.csv", labels=photos / "names.txt")
    assert message.startswith(f"{photos / 'm.csv'}:2: {expected}{photos / 'names.txt'}")
    message = said_about(load_image_set, photos / "d.csv", class_names=("rose", "iris", "iris"))
    assert "got 'iris', which the classes 1 and 2 are called" in message
    # Published names repeat (two of ImageNet's classes are cranes); ids tell them apart, and so do
    # other names.
    (photos / "d.csv").write_text("path,label\na.png,rose\n")
    assert load_image_set(photos / "d.csv", labels=photos / "names.txt").labels().tolist() == [0]
    (photos / "d.txt").write_text("a.png 2\n")
    assert load_image_set(photos / "d.txt", labels=photos / "names.txt").labels().tolist() == [2]


def test_names_that_are_not_utf8(tmp_path):
    class_folders(tmp_path / "photos", b"caf\xe9", b"the")
    splits = open_splits(DataSection(train=str(tmp_path / "photos")))
    assert (len(splits.train), len(splits.val)) == (4, 2)
    message = said_about(
        write_lists, DataSection(train=str(tmp_path / "photos")), tmp_path / "lists", []
    )
    assert r"expected a path of UTF-8 text without tabs, line ends or a space at its end" in message
    assert r"got '../photos/caf\udce9/" in message
    message.encode()
    assert not (tmp_path / "lists").exists()


def test_the_split_hashes_the_bytes_of_a_name(tmp_path):
    class_folders(tmp_path, "图片", "rosé", count=20)
    splits = open_splits(DataSection(train=str(tmp_path)))
    for name in ("图片", "rosé"):
        hashed = sorted(
            range(20), key=lambda index: hashlib.sha256(f"{name}/{index}.png".encode()).digest()
        )
        held_out = {
            int(Path(r.path).stem) for r in splits.val.records if Path(r.path).parent.name == name
        }
        assert held_out == set(hashed[:4])


@pytest.mark.parametrize("output", ["lists", "photos"])
def test_lists_of_odd_names_read_back(tmp_path, output):
    names = ["a\u2028b", "c\x0bd", "e\x85f", "g h", "\u3000g", "\ufeffh"]
    class_folders(tmp_path / "photos", *names)
    section = DataSection(train=str(tmp_path / "photos"))
    plain, back = read_back(section, tmp_path / output)
    for ours, theirs in ((back.train, plain.train), (back.val, plain.val)):
        assert ours.class_names == tuple(name.strip() for name in theirs.class_names)
        assert ours.labels().tolist() == theirs.labels().tolist()
        paths = [
            [os.path.realpath(record.path) for record in images.records]
            for images in (ours, theirs)
        ]
        assert paths[0] == paths[1]


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\tb"])
def test_paths_that_a_list_cannot_hold(tmp_path, name):
    class_folders(tmp_path / "photos", name, "c")
    message = said_about(
        write_lists, DataSection(train=str(tmp_path / "photos")), tmp_path / "lists", []
    )
    assert (
        "expected a path of UTF-8 text without tabs, line ends or a space at its end, got "
        f"{f'../photos/{name}/'!r}"[:-1]
        in message
    )


def test_class_names_that_differ_in_spaces(tmp_path):
    class_folders(tmp_path / "photos", "a", "a ")
    message = said_about(
        write_lists, DataSection(train=str(tmp_path / "photos")), tmp_path / "lists", []
    )
    assert message.startswith(
        "label_list.txt: expected class names that differ in more than spaces at their ends"
    )
    assert "got 'a' and 'a '; rename one" in message
    class_folders(tmp_path / "others", "b", "a ")
    notes = []
    write_lists(DataSection(train=str(tmp_path / "others")), tmp_path / "lists", notes)
    assert "label_list.txt keeps no spaces at the ends of class names: 'a ' is 'a' there." in notes
    assert load_image_set(tmp_path / "lists" / "train_list.txt").class_names == ("a", "b")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("red\nrose", r"got 'red\nrose'"),
        ("caf\udce9", r"got 'caf\udce9'"),
        (" ", "got ' '"),
    ],
)
def test_class_names_that_a_list_cannot_hold(photos, name, said):
    class Odd(Source):
        """A stranger's data set, whose class names can be any text."""

        @classmethod
        def recognises(cls, location):
            return location.endswith("d.odd")

        def load(self):
            images = load_image_set(photos / "d.csv")
            return replace(images, class_names=("iris", name))

    class Stranger:
        @hookimpl
        def register_datasets(self, registry):
            registry.register("Odd", Odd)

    (photos / "d.csv").write_text("\n".join(CSV_ROWS))
    with use_plugin(Stranger()):
        message = said_about(
            write_lists, DataSection(train=str(photos / "d.odd")), photos / "lists", []
        )
    assert (
        f"expected class names of one line of UTF-8 text each, {said}; rename the class" in message
    )


def test_lists_of_several_labels_read_back(photos):
    labels = {"a": "sea|sky", "b": "sea", "c": "", "d": "sky", "e": "sea|sky", "f": ""}
    (photos / "m.csv").write_text(
        "path,labels\n" + "".join(f"{name}.png,{own}\n" for name, own in labels.items())
    )
    section = DataSection(train=str(photos / "m.csv"), val=str(photos / "m.csv"))
    plain, back = read_back(section, photos / "lists")
    assert (photos / "lists" / "train_list.txt").read_text().splitlines() == [
        "../a.png\t0|1",
        "../b.png\t0",
        "../c.png\t",
        "../d.png\t1",
        "../e.png\t0|1",
        "../f.png\t",
    ]
    assert back.val.task == back.train.task == "multilabel"
    assert back.train.class_names == ("sea", "sky")
    for ours, theirs in ((back.train, plain.train), (back.val, plain.val)):
        assert [record.class_ids for record in ours.records] == [
            record.class_ids for record in theirs.records
        ]


def test_photos_of_all_classes_are_no_vectors(photos):
    (photos / "train.csv").write_text("path,labels\na.png,sea|sky\nb.png,sky\n")
    (photos / "val.csv").write_text("path,labels\nc.png,sea|sky\n")
    section = DataSection(train=str(photos / "train.csv"), val=str(photos / "val.csv"))
    _, back = read_back(section, photos / "lists")
    assert [record.class_ids for record in back.val.records] == [(0, 1)]


def test_lists_of_one_label_each_that_may_be_several_say_so(photos):
    (photos / "m.csv").write_text("path,labels\na.png,sea\nb.png,sky\nc.png,\nd.png,sea\n")
    section = DataSection(train=str(photos / "m.csv"), val=str(photos / "m.csv"), task="multilabel")
    notes = []
    write_lists(section, photos / "lists", notes)
    assert (
        "No training photo has two labels: reading the lists takes data.task: multilabel." in notes
    )
    back = open_splits(DataSection(train=str(photos / "lists"), task="multilabel"))
    assert [record.class_ids for record in back.train.records] == [(0,), (1,), (), (0,)]


def test_lists_in_a_folder_that_is_a_link(tmp_path):
    class_folders(tmp_path / "photos", "a", "b")
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "deep")
    plain, back = read_back(DataSection(train=str(tmp_path / "photos")), tmp_path / "link")
    assert all(Path(record.path).is_file() for record in back.train.records)
    # The paths of these lists lead through the link and up again.
    section = DataSection(train=str(tmp_path / "link" / "train_list.txt"))
    _, again = read_back(section, tmp_path / "again")
    found = [os.path.realpath(record.path) for record in again.train.records]
    assert found == [os.path.realpath(record.path) for record in plain.train.records]


def test_links_to_photos_stay_in_the_lists(tmp_path):
    class_folders(tmp_path / "far", "a", "b")
    (tmp_path / "photos").symlink_to(tmp_path / "far")
    write_lists(DataSection(train=str(tmp_path / "photos")), tmp_path, [])
    assert all(
        line.startswith("photos/")
        for line in (tmp_path / "train_list.txt").read_text().splitlines()
    )


@pytest.mark.parametrize(
    ("output", "reason"), [("file", "File exists"), ("file/sub", "Not a directory")]
)
def test_a_file_in_the_place_of_the_folder(tmp_path, output, reason):
    (tmp_path / "file").write_text("mine")
    message = said_about(write_lists, DataSection(), tmp_path / output, [])
    assert message.startswith(
        f"The lists cannot be written to {tmp_path / output} ({reason}); expected a folder"
    )
    assert (tmp_path / "file").read_text() == "mine"


def test_a_list_that_cannot_be_written_leaves_none(tmp_path, monkeypatch):
    import ppclas_data.sources.listing as listing

    whole = listing.write_text

    def write(path, text):
        if path.name == "val_list.txt":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        whole(path, text)

    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.setattr(listing, "write_text", write)
    message = said_about(write_lists, DataSection(), tmp_path, [])
    assert f"The lists cannot be written to {tmp_path} (Permission denied)" in message
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_link_in_the_place_of_a_list_is_kept(tmp_path):
    (tmp_path / "val_list.txt").symlink_to(tmp_path / "nowhere")
    assert "val_list.txt exists already" in said_about(write_lists, DataSection(), tmp_path, [])
    assert (tmp_path / "val_list.txt").is_symlink()


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
    assert said in said_about(write_lists, DataSection(train=str(flowers)), flowers, [])
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
    assert (
        said_about(read_mat, flowers / "setid.mat")
        == f"{flowers / 'setid.mat'}: cannot be read: Is a directory"
    )
