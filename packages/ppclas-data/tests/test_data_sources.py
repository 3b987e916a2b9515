"""Folders, lists and CSVs as users have them, and what is said about the mistakes in them."""

import os
import re
import sys

import pytest
from ppclas_core.config.schema import DataSection
from ppclas_data.sources.labels import read_class_names
from ppclas_data.sources.opening import load_image_set, open_image_set
from ppclas_data.sources.splits import open_splits

# Folders


def test_a_folder_called_as_two_classes_are_is_refused(tmp_path, folders, lines, said_about):
    folders(tmp_path / "photos", crane=1, iris=1)
    names = lines(tmp_path / "names.txt", "crane", "iris", "crane")
    said = said_about(open_image_set, tmp_path / "photos", labels=names)
    assert (
        "crane: expected a label that one class is called, got 'crane', which stands on the lines "
        "1 and 3" in said
    )


def test_folder_of_class_folders(tmp_path, photo, folders):
    folders(tmp_path, rose=2, iris=3)
    photo(tmp_path / "rose" / "deeper" / "x.JPG")
    image_set = open_image_set(tmp_path)
    assert image_set.class_names == ("iris", "rose")
    assert image_set.labels().tolist() == [0, 0, 0, 1, 1, 1]
    assert image_set.records[5].path == str(tmp_path / "rose" / "deeper" / "x.JPG")
    assert image_set.read(0) == (tmp_path / "iris" / "000.png").read_bytes()
    assert not image_set.notes


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are text there")
def test_a_class_is_called_in_text(tmp_path, photo, said_about):
    for name in (b"caf\xe9", "thé".encode()):
        photo(tmp_path / os.fsdecode(name) / "1.png")
    images = load_image_set(tmp_path)
    # As in a tar; bundles, exports and label lists can hold that.
    assert images.class_names == (r"caf\xe9", "thé")
    assert images.read(0)
    assert load_image_set(tmp_path, class_names=images.class_names).labels().tolist() == [0, 1]
    photo(tmp_path / r"caf\xe9" / "1.png")
    assert "got two for 'caf\\\\xe9'; rename one" in said_about(load_image_set, tmp_path)


def test_a_root_changes_nothing_for_a_folder_and_that_is_said(tmp_path, folders):
    folders(tmp_path / "photos", rose=10, tulip=10)
    plain, rooted = (
        open_splits(DataSection(train=str(tmp_path / "photos"), root=root))
        for root in (None, "else")
    )
    assert [r.path for r in rooted.val.records] == [r.path for r in plain.val.records]
    assert (
        "data.root (else) is for the paths in lists and CSVs; it changes nothing in "
        f"{tmp_path / 'photos'}." in (rooted.notes)
    )
    assert not any("data.root" in note for note in plain.notes)


def test_what_is_left_out_of_a_folder_is_said(tmp_path, photo, folders, lines):
    folders(tmp_path, a=1, b=1)
    lines(tmp_path / "a" / "notes.txt", "hello")
    lines(tmp_path / ".ipynb_checkpoints" / "x.png")
    lines(tmp_path / "a" / ".DS_Store")
    (tmp_path / "empty").mkdir()
    photo(tmp_path / "loose.png")
    image_set = open_image_set(tmp_path)
    assert image_set.class_names == ("a", "b")
    assert len(image_set.notes) == 4
    for words in (
        "empty holds no photos",
        f"1 file(s) that are no photos by their name are left out (first: {tmp_path}/a/notes.txt)",
        f"waste baskets), are left out (first: {tmp_path}/.ipynb_checkpoints)",
        "1 photo(s) directly in",
    ):
        assert any(words in note for note in image_set.notes)


def test_a_folder_keeps_the_known_classes(tmp_path, folders, said_about):
    folders(tmp_path, b=1, c=1)
    image_set = open_image_set(tmp_path, class_names=("a", "b", "c"))
    assert image_set.labels().tolist() == [1, 2]
    assert "no photos of 1 of 3 classes: a" in image_set.notes[0]
    assert "expected a folder of a known class (a, b), got 'c'" in said_about(
        open_image_set, tmp_path, class_names=("a", "b")
    )


def test_folders_without_classes_or_photos(tmp_path, photo, said_about):
    assert "it holds no photo at all (0 other file(s))" in said_about(open_image_set, tmp_path)
    photo(tmp_path / "x.png")
    assert "it holds 1 photo(s) without class folders; put each in a folder" in said_about(
        open_image_set, tmp_path
    )


def test_a_folder_of_parts_is_not_taken_for_classes(tmp_path, folders, said_about):
    folders(tmp_path / "train", a=1, b=1)
    folders(tmp_path / "val", a=1, b=1)
    assert "got a data set with the parts train, val; give one of them" in said_about(
        load_image_set, tmp_path
    )
    image_set = open_image_set(tmp_path)
    assert image_set.origin == str(tmp_path / "val")
    assert image_set.notes == (f"Validation set: {tmp_path / 'val'}.",)


def test_a_list_is_preferred_to_a_folder_of_loose_photos(tmp_path, photo, lines):
    # As imagenet-sample is laid out: val/*.jpg and val_list.txt.
    photo(tmp_path / "val" / "a.png")
    lines(tmp_path / "val_list.txt", "val/a.png 0")
    assert open_image_set(tmp_path).origin == str(tmp_path / "val_list.txt")


def test_a_class_called_train_is_a_class(tmp_path, photo, folders):
    folders(tmp_path, bus=3, car=3, train=3)
    photo(tmp_path / "train" / "steam" / "s.png")
    photo(tmp_path / "train" / "diesel" / "d.png")
    (tmp_path / "empty").mkdir()
    said = (
        f"{tmp_path / 'train'} is taken for a class like the other folders in {tmp_path} (bus, car)"
    )
    splits = open_splits(DataSection(train=str(tmp_path)))
    assert splits.train.class_names == ("bus", "car", "train")
    assert splits.notes[0].startswith(said)
    folders(tmp_path, test=2)
    image_set = open_image_set(tmp_path)
    assert image_set.class_names == ("bus", "car", "test", "train")
    assert image_set.notes[0].startswith(said)


@pytest.mark.parametrize("beside", ["val", "dev"])
def test_train_stays_a_part_beside_another_part_and_loose_photos(tmp_path, beside, folders, lines):
    folders(tmp_path / "train", a=3, b=3)
    folders(tmp_path / beside, a=1, b=1)
    folders(tmp_path, extra=2)
    lines(tmp_path / "annotations" / "a.xml", "<a/>")
    splits = open_splits(DataSection(train=str(tmp_path)))
    assert splits.train.class_names == ("a", "b")
    assert f"Training set: {tmp_path / 'train'}." in splits.notes


def test_links_to_folders_are_followed_once(tmp_path, photo, folders):
    elsewhere = tmp_path / "elsewhere"
    for name in ("0.png", "deep/1.png"):
        photo(elsewhere / name)
    top = folders(tmp_path / "photos", a=1, b=1)
    photo(top / "a" / "real" / "2.png")
    (top / "a" / "more").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(elsewhere)
    (top / "a" / "again").symlink_to(top / "a" / "real")
    (top / "a" / "up").symlink_to(top)
    (top / "a" / "itself").symlink_to(top / "a")
    image_set = open_image_set(top)
    assert [record.path for record in image_set.records] == [
        str(top / name)
        for name in ("a/000.png", "a/more/0.png", "a/more/deep/1.png", "a/real/2.png", "b/000.png")
    ]


def test_folders_that_cannot_be_read_are_named(tmp_path, monkeypatch, photo, folders, said_about):
    folders(tmp_path, a=1, b=1)
    locked = tmp_path / "a" / "locked"
    photo(locked / "x.png")
    scan = os.scandir

    def refuse(path):
        if str(path) == str(locked):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert said_about(open_image_set, tmp_path) == (
        f"{locked}: expected a folder that can be read: Permission denied; change its permissions, "
        "or take it out of the data set"
    )


# Lists


@pytest.mark.parametrize("delimiter", [" ", "\t", "  ", " \t"])
def test_list_with_spaces_and_chinese_in_paths(tmp_path, delimiter, photo, lines):
    names = ["my photos/a b.png", "图片/向日葵 1.png", "plain.png"]
    for name in names:
        photo(tmp_path / name)
    path = lines(
        tmp_path / "列表 1.txt", *(f"{name}{delimiter}{label}" for label, name in enumerate(names))
    )
    image_set = open_image_set(path)
    assert [record.path for record in image_set.records] == [str(tmp_path / name) for name in names]
    assert image_set.labels().tolist() == [0, 1, 2]
    assert image_set.class_names == ("0", "1", "2")
    assert image_set.records[1].where == f"{path}:2"
    assert image_set.read(1)


def test_byte_order_mark_and_windows_line_ends(tmp_path, photo):
    photo(tmp_path / "a.png")
    photo(tmp_path / "b.png")
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa.png 0\r\n\r\nb.png 1\r\n")
    image_set = open_image_set(tmp_path / "list.txt")
    assert [record.path for record in image_set.records] == [
        str(tmp_path / "a.png"),
        str(tmp_path / "b.png"),
    ]
    assert image_set.records[1].where.endswith("list.txt:3")
    assert image_set.notes == (f"1 blank line(s) in {tmp_path / 'list.txt'} are skipped.",)


def test_root_and_names_beside_the_list(tmp_path, photo, lines, said_about):
    photo(tmp_path / "data" / "a.png")
    photo(tmp_path / "data" / "b.png")
    path = lines(tmp_path / "lists" / "train_list.txt", "a.png 0", "b.png 1")
    lines(tmp_path / "lists" / "label_list.txt", "0 red rose", "1 iris")
    image_set = open_image_set(path, root=tmp_path / "data")
    assert image_set.class_names == ("red rose", "iris")
    assert image_set.notes == (f"Class names come from {tmp_path / 'lists' / 'label_list.txt'}.",)
    assert "nor any of the others; give the folder they are relative to as data.root" in said_about(
        open_image_set, path
    )
    assert "data.root is wrong" in said_about(open_image_set, path, root=tmp_path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("b.png", "expected 'path label' with a whole number as the label, got only 'b.png'"),
        ("b.png rose", "got the label 'rose'; class names as labels go in a CSV"),
        ("b.png 1.5", "got the label '1.5'"),
        ("b.png -1", "expected a label of 0 or more, got -1"),
        ("b.png 2", "expected labels without gaps, got 2 but no image with label 1"),
    ],
)
def test_bad_lines_are_named_by_file_and_line(tmp_path, row, said, photo, lines, said_about):
    photo(tmp_path / "b.png")
    path = lines(tmp_path / "list.txt", "b.png 0", "", row)
    message = said_about(open_image_set, path)
    assert message.startswith(f"{path}:3: ")
    assert said in message


def test_labels_from_one(tmp_path, photo, lines, said_about):
    photo(tmp_path / "a.png")
    path = lines(tmp_path / "list.txt", "a.png 3", "a.png 1", "a.png 2")
    assert said_about(open_image_set, path) == (
        f"{path}:2: expected labels that start at 0, got 1 as the smallest; subtract 1 from every "
        "label"
    )
    names = lines(tmp_path / "names.txt", "rose", "iris", "lily")
    message = said_about(open_image_set, path, labels=names)
    assert message.startswith(
        f"{path}:1: expected a label from 0 to 2 for 3 classes, got 3; the labels run from 1"
    )


def test_gaps_are_fine_where_the_classes_are_known(tmp_path, photo, lines):
    photo(tmp_path / "a.png")
    path = lines(tmp_path / "list.txt", "a.png 2", "a.png 0")
    assert open_image_set(path, class_names=("x", "y", "z")).labels().tolist() == [2, 0]


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_empty_list(tmp_path, text, said_about):
    (tmp_path / "list.txt").write_text(text)
    assert "expected a line 'path label' an image, got an empty file" in said_about(
        open_image_set, tmp_path / "list.txt"
    )


def test_not_utf8(tmp_path, said_about):
    (tmp_path / "list.txt").write_bytes("a.png 0\n花.png 1\n".encode("gb18030"))
    message = said_about(open_image_set, tmp_path / "list.txt")
    assert re.search(
        r"list.txt:2: expected UTF-8 text, got the byte 0x[0-9a-f]+; save the file as UTF-8",
        message,
    )


def test_windows_separators(tmp_path, photo, lines, said_about):
    photo(tmp_path / "jpg" / "a.png")
    path = lines(tmp_path / "list.txt", "jpg\\a.png 0", "jpg\\a.png 1")
    assert "write the paths with / instead of \\" in said_about(open_image_set, path)


def test_locations_that_are_nothing_of_the_kind(tmp_path, photo, folders, said_about):
    folders(tmp_path / "flowers", a=1, b=1)
    assert f"there is nothing. Did you mean {tmp_path / 'flowers'}?" in said_about(
        open_image_set, tmp_path / "flower"
    )
    assert "Nor is there a folder" in said_about(open_image_set, tmp_path / "x" / "y")
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b")
    assert "this is a compressed archive: unpack it first" in said_about(
        open_image_set, tmp_path / "a.tar.gz"
    )
    assert "this is a single photo" in said_about(open_image_set, photo(tmp_path / "one.png"))
    (tmp_path / "blob").write_bytes(bytes(100))
    assert "this is a binary file" in said_about(open_image_set, tmp_path / "blob")


def test_a_model_without_names_takes_those_of_the_data(tmp_path, photo, folders, lines):
    photo(tmp_path / "a.png")
    path = lines(tmp_path / "list.txt", "a.png 2")
    ids = ("0", "1", "2")
    assert open_image_set(path, class_names=ids).class_names == ids
    lines(tmp_path / "label_list.txt", "0 rose", "1 iris", "2 lily")
    assert open_image_set(path, class_names=ids).class_names == ("rose", "iris", "lily")
    folders(tmp_path / "set", n01=1, n02=1, n03=1)
    assert open_image_set(tmp_path / "set", class_names=ids).class_names == ("n01", "n02", "n03")
    folders(tmp_path / "numbers", **{"2": 1, "0": 1})
    assert open_image_set(tmp_path / "numbers", class_names=ids).labels().tolist() == [0, 2]


# CSV


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("d.csv", ["image,label", "a.png,rose", "b.png,iris"]),
        ("d.csv", ["id,Label,Path", "7,rose,a.png", "8,iris,b.png"]),
        ("d.csv", ["file;class", "a.png;rose", "b.png;iris"]),
        ("d.tsv", ["image\tlabel", "a.png\trose", "b.png\tiris"]),
        ("d.csv", ["a.png,rose", "", "b.png,iris"]),
        ("d.csv", ['"a.png","rose"', '"b.png","iris"']),
    ],
)
def test_csv_forms(tmp_path, name, rows, photo, lines):
    photo(tmp_path / "a.png")
    photo(tmp_path / "b.png")
    path = lines(tmp_path / name, *rows)
    image_set = open_image_set(path)
    assert image_set.class_names == ("iris", "rose")
    assert [(record.path, record.label) for record in image_set.records] == [
        (str(tmp_path / "a.png"), 1),
        (str(tmp_path / "b.png"), 0),
    ]
    assert image_set.records[1].where == f"{path}:{len(rows)}"
    assert image_set.notes


def test_csv_with_ids(tmp_path, photo, lines, said_about):
    photo(tmp_path / "a.png")
    path = lines(tmp_path / "d.csv", "path,label", "a.png,1", "a.png,0")
    assert open_image_set(path).labels().tolist() == [1, 0]
    assert open_image_set(path, class_names=("x", "y")).class_names == ("x", "y")
    message = said_about(open_image_set, lines(path, "path,label", "a.png,1", "a.png,2"))
    assert message.startswith(f"{path}:2: expected labels that start at 0")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            ["photo,kind", "a.png,rose"],
            ":1: expected a header with a path column (path, image, file) and a label column",
        ),
        (["path,label", "a.png"], ":2: expected a path and a label, got 'a.png'"),
        (["path,label", "a.png,"], ":2: expected a path and a label, got 'a.png,'"),
        (["path,label"], ": expected rows below the header, got none"),
        ([""], ": expected rows of a path and a label, got an empty file"),
        (
            ["path,label", "a.png,irsi"],
            ":2: expected one of the classes iris, rose, got 'irsi'. Did you mean 'iris'?",
        ),
    ],
)
def test_csv_mistakes(tmp_path, rows, said, photo, lines, said_about):
    photo(tmp_path / "a.png")
    path = lines(tmp_path / "d.csv", *rows)
    assert f"{path}{said}" in said_about(open_image_set, path, class_names=("iris", "rose"))


# Class names


def test_class_name_files(tmp_path, lines, said_about):
    assert read_class_names(lines(tmp_path / "a", "1 iris", "0 red rose")) == ("red rose", "iris")
    assert read_class_names(lines(tmp_path / "b", "red rose", "iris", "")) == ("red rose", "iris")
    assert read_class_names(lines(tmp_path / "c", "7 spot ladybird", "iris")) == (
        "7 spot ladybird",
        "iris",
    )
    assert "expected each id once, got 0 a second time" in said_about(
        read_class_names, lines(tmp_path / "d", "0 a", "0 b")
    )
    assert "expected the ids 0 to 1 for 2 names, got 1 and no 0" in said_about(
        read_class_names, lines(tmp_path / "e", "1 a", "2 b")
    )
    assert "the file is empty" in said_about(read_class_names, lines(tmp_path / "f", ""))
