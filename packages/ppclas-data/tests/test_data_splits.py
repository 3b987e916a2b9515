"""Training and validation sets: found side by side or split by rule, and whether they fit."""

import shutil

import numpy as np
import pytest
from ppclas_core.config.schema import DataSection
from ppclas_data.builtin import builtin_photos
from ppclas_data.sources.opening import open_image_set
from ppclas_data.sources.parts import measured_part
from ppclas_data.sources.splits import open_splits


def test_builtin_photos_by_default():
    splits = open_splits(DataSection())
    assert (len(splits.train), len(splits.val)) == (192, 96)
    assert splits.train.class_names == splits.val.class_names
    assert len(splits.train.class_names) == 8
    assert (builtin_photos() / "LICENSE").read_text().startswith("MIT License")
    assert "built-in photos" in splits.notes[0]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test"])
def test_validation_folder_below_or_beside(tmp_path, name, folders):
    folders(tmp_path / "train", a=3, b=3)
    folders(tmp_path / name, a=1, b=1)
    for given in (tmp_path, tmp_path / "train"):
        splits = open_splits(DataSection(train=str(given)))
        assert (len(splits.train), len(splits.val)) == (6, 2)
        assert f"Validation set: {tmp_path / name}." in splits.notes


def test_lists_in_a_folder_and_val_before_test(tmp_path, photo, lines):
    photo(tmp_path / "jpg" / "a.png")
    lines(tmp_path / "train_list.txt", "jpg/a.png 0", "jpg/a.png 1")
    lines(tmp_path / "val_list.txt", "jpg/a.png 0")
    lines(tmp_path / "test_list.txt", "jpg/a.png 0")
    for given in (tmp_path, tmp_path / "train_list.txt"):
        splits = open_splits(DataSection(train=str(given)))
        assert splits.val.origin == str(tmp_path / "val_list.txt")
        assert any("test_list.txt is left alone" in note for note in splits.notes)
    assert open_image_set(tmp_path).origin == str(tmp_path / "val_list.txt")


def test_class_folders_called_test_stay_classes(tmp_path, folders):
    folders(tmp_path, control=5, test=5)
    splits = open_splits(DataSection(train=str(tmp_path)))
    assert splits.train.class_names == ("control", "test")
    assert open_image_set(tmp_path).origin == str(tmp_path)


def test_split_by_rule(tmp_path, folders):
    folders(tmp_path, a=50, b=10, c=2, d=1)
    splits = open_splits(DataSection(train=str(tmp_path)))
    assert np.bincount(splits.val.labels(), minlength=4).tolist() == [10, 2, 1, 0]
    assert np.bincount(splits.train.labels()).tolist() == [40, 8, 1, 1]
    assert not {r.path for r in splits.train.records} & {r.path for r in splits.val.records}
    assert any("13 of 63 images are held out, 20% of each class" in note for note in splits.notes)
    assert any(
        "1 class(es) with a single image stay in training: d" in note for note in splits.notes
    )


def test_split_does_not_depend_on_where_the_data_lies(tmp_path, folders):
    def held_out(top):
        return {
            path[len(str(top)) :]
            for path in (r.path for r in open_splits(DataSection(train=str(top))).val.records)
        }

    here = folders(tmp_path / "here", a=20, b=20)
    there = tmp_path / "deep" / "down" / "there"
    shutil.copytree(here, there)
    before = held_out(here)
    assert held_out(there) == before
    # Another class does not move anything.
    folders(here, c=20)
    assert before < held_out(here)


def test_split_of_a_list_is_stable_under_order(tmp_path, photo, lines):
    for index in range(20):
        photo(tmp_path / f"{index}.png")
    rows = [f"{index}.png {index % 2}" for index in range(20)]
    first = open_splits(DataSection(train=str(lines(tmp_path / "a.txt", *rows))))
    second = open_splits(DataSection(train=str(lines(tmp_path / "b.txt", *reversed(rows)))))
    assert {r.path for r in first.val.records} == {r.path for r in second.val.records}


def test_one_class_is_refused(tmp_path, folders, said_about):
    folders(tmp_path, only=3)
    assert "expected images of two classes or more, got one class (only)" in said_about(
        open_splits, DataSection(train=str(tmp_path))
    )


def test_one_image_a_class_cannot_be_split(tmp_path, folders, said_about):
    folders(tmp_path, a=1, b=1)
    assert "expected two images or more of some class" in said_about(
        open_splits, DataSection(train=str(tmp_path))
    )


def test_validation_classes_that_training_lacks(tmp_path, photo, folders, lines, said_about):
    folders(tmp_path / "train", a=2, b=2)
    folders(tmp_path / "val", a=1, c=1)
    assert "expected a folder of a known class (a, b), got 'c'" in said_about(
        open_splits, DataSection(train=str(tmp_path))
    )
    photo(tmp_path / "x.png")
    train = lines(tmp_path / "t.txt", "x.png 0", "x.png 1")
    val = lines(tmp_path / "v.txt", "x.png 0", "x.png 2")
    message = said_about(open_splits, DataSection(train=str(train), val=str(val)))
    assert message.startswith(f"{val}:2: expected a label from 0 to 1 for 2 classes, got 2")
    names = lines(tmp_path / "names.txt", "a", "b", "c")
    message = said_about(
        open_splits, DataSection(train=str(train), val=str(val), labels=str(names))
    )
    assert message.startswith(f"{val}:2: expected a class of the training set, got 'c'")


def test_validation_names_in_another_order(tmp_path, photo, lines, said_about):
    photo(tmp_path / "x.png")
    train = lines(tmp_path / "t" / "list.txt", "../x.png 0", "../x.png 1")
    val = lines(tmp_path / "v" / "list.txt", "../x.png 0", "../x.png 1")
    lines(tmp_path / "t" / "label_list.txt", "0 rose", "1 iris")
    lines(tmp_path / "v" / "label_list.txt", "0 iris", "1 rose")
    message = said_about(open_splits, DataSection(train=str(train), val=str(val)))
    assert (
        "expected class 0 to be 'rose' as in the training set, got 'iris': the same names in "
        "another order" in message
    )


def test_shared_files_are_warned_about(tmp_path, folders):
    folders(tmp_path, a=3, b=3)
    splits = open_splits(DataSection(train=str(tmp_path), val=str(tmp_path)))
    assert any(
        note.startswith("warning: 6 of 6 validation images are also trained on")
        for note in splits.notes
    )


def test_the_part_that_is_measured(tmp_path, folders, lines):
    folders(tmp_path / "val", a=1, b=1)
    notes = []
    assert measured_part(str(tmp_path), notes) == str(tmp_path)
    assert not notes
    path = lines(tmp_path / "val_list.txt", "val/a/000.png 0", "val/b/000.png 1")
    assert measured_part(str(tmp_path), notes) == str(path)
    assert notes == [f"{tmp_path} has no training part; its validation part is taken: {path}."]
    folders(tmp_path / "train", a=1, b=1)
    assert measured_part(str(tmp_path), notes) == str(tmp_path / "train")


def test_two_roots_one_for_each_list(tmp_path, photo, lines):
    for part in ("train", "val"):
        photo(tmp_path / part / "a.png")
        photo(tmp_path / part / "b.png")
        lines(tmp_path / f"{part}_list.txt", "a.png 0", "b.png 1")
    roots = (str(tmp_path / "train"), str(tmp_path / "val"))
    train, val = (str(tmp_path / f"{part}_list.txt") for part in ("train", "val"))
    splits = open_splits(DataSection(train=train, val=val, root=roots))
    assert [record.path for record in splits.train.records] == [
        f"{roots[0]}/a.png",
        f"{roots[0]}/b.png",
    ]
    assert [record.path for record in splits.val.records] == [
        f"{roots[1]}/a.png",
        f"{roots[1]}/b.png",
    ]
