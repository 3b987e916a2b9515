"""Lists, statistics and look-alikes: numbers by hand, files of another program, damaged photos."""

import errno
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from ppclas_core.config.schema import DataSection
from ppclas_core.contracts.data import Source
from ppclas_core.hookspecs import hookimpl
from ppclas_core.testing import use_plugin
from ppclas_data.sources.listing import write_lists
from ppclas_data.sources.opening import load_image_set
from ppclas_data.sources.splits import open_splits


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
def test_a_row_that_is_no_csv_is_named_by_its_line(photos, place, row, line, said_about):
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
def test_a_class_name_is_one_line(photos, rows, line, name, said_about):
    (photos / "d.csv").write_text("\n".join(rows))
    message = said_about(load_image_set, photos / "d.csv")
    assert message.startswith(
        f"{photos / 'd.csv'}:{line}: expected a class name in one line, got {name}"
    )


@pytest.mark.parametrize("name", ["d.csv", "d.txt"])
def test_a_nul_is_named_by_its_line(photos, name, said_about):
    separator = "," if name == "d.csv" else " "
    rows = [f"{photo}.png{separator}{index % 2}" for index, photo in enumerate("abcdef")] * 200
    rows[1000] = f"\0{rows[1000]}"
    (photos / name).write_text("\n".join(rows))
    assert said_about(load_image_set, photos / name).startswith(
        f"{photos / name}:1001: expected text, got a NUL byte; save the file as UTF-8"
    )


def test_a_label_that_several_classes_are_called(photos, said_about):
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


def test_names_that_are_not_utf8(tmp_path, said_about):
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
def test_paths_that_a_list_cannot_hold(tmp_path, name, said_about):
    class_folders(tmp_path / "photos", name, "c")
    message = said_about(
        write_lists, DataSection(train=str(tmp_path / "photos")), tmp_path / "lists", []
    )
    assert (
        "expected a path of UTF-8 text without tabs, line ends or a space at its end, got "
        f"{f'../photos/{name}/'!r}"[:-1]
        in message
    )


def test_class_names_that_differ_in_spaces(tmp_path, said_about):
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
def test_class_names_that_a_list_cannot_hold(photos, name, said, said_about):
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
def test_a_file_in_the_place_of_the_folder(tmp_path, output, reason, said_about):
    (tmp_path / "file").write_text("mine")
    message = said_about(write_lists, DataSection(), tmp_path / output, [])
    assert message.startswith(
        f"The lists cannot be written to {tmp_path / output} ({reason}); expected a folder"
    )
    assert (tmp_path / "file").read_text() == "mine"


def test_a_list_that_cannot_be_written_leaves_none(tmp_path, monkeypatch, said_about):
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


def test_a_link_in_the_place_of_a_list_is_kept(tmp_path, said_about):
    (tmp_path / "val_list.txt").symlink_to(tmp_path / "nowhere")
    assert "val_list.txt exists already" in said_about(write_lists, DataSection(), tmp_path, [])
    assert (tmp_path / "val_list.txt").is_symlink()
