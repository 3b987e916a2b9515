"""Photos in both sets, photos with two labels, and columns that say which rows train."""

from __future__ import annotations

import pytest
from ppclas_core.config.schema import DataSection
from ppclas_core.errors import DataError
from ppclas_data.sources import leaks
from ppclas_data.sources.leaks import same_bytes
from ppclas_data.sources.opening import open_image_set
from ppclas_data.sources.splits import open_splits


@pytest.fixture
def images(tmp_path, photo):
    """Sixteen photos in a folder ``img``."""
    for number in range(16):
        photo(tmp_path / "img" / f"{number:02}.png", number)
    return tmp_path


def _paths(images):
    return [record.path.rsplit("/", 1)[1] for record in images.records]


@pytest.mark.parametrize("times", [2, 3, 7])
@pytest.mark.parametrize("again", ["img/{}", "./img/{}", "img/../img/{}"])
def test_a_photo_named_several_times_is_on_one_side(images, lines, times, again):
    rows = [f"img/{n:02}.png {n % 2}" for n in range(16)]
    more = [f"{again.format(f'{n:02}.png')} {n % 2}" for n in range(16)] * (times - 1)
    splits = open_splits(
        DataSection(train=str(lines(images / "train_list.txt", *rows, *more)), val_fraction=0.3)
    )
    train, val = set(_paths(splits.train)), set(_paths(splits.val))
    assert not train & val
    assert len(val) == 4  # 0.3 of 8 photos, rounded, of each class
    assert len(splits.train) + len(splits.val) == 16 * times


def test_repeating_lines_changes_no_split(images, lines):
    rows = [f"img/{n:02}.png {n % 2}" for n in range(16)]
    once, twice = lines(images / "once.txt", *rows), lines(images / "twice.txt", *rows, *rows)
    held_out = [set(_paths(open_splits(DataSection(train=str(f))).val)) for f in (once, twice)]
    assert held_out[0] == held_out[1]


def test_two_labels_for_a_photo_are_said(images, lines):
    rows = [f"img/{n:02}.png {n % 2}" for n in range(16)]
    listed = lines(images / "train_list.txt", *rows, "img/03.png 0")
    splits = open_splits(DataSection(train=str(listed)))
    assert not set(_paths(splits.train)) & set(_paths(splits.val))
    assert any(
        "1 photo(s) are listed with different labels, of which one must be wrong" in note
        and f"{listed}:4 says 1, {listed}:17 says 0" in note
        for note in splits.notes
    )


def test_links_to_a_training_photo_are_seen(images, lines):
    (images / "link.png").symlink_to(images / "img" / "00.png")
    train = lines(images / "train.txt", *(f"img/{n:02}.png {n % 2}" for n in range(8)))
    val = lines(images / "check.txt", "link.png 0", "img/09.png 1")
    notes = open_splits(DataSection(train=str(train), val=str(val))).notes
    assert any("1 of 2 validation images are also trained on" in note for note in notes)


def test_equal_bytes_under_other_names_are_said(images, photo, lines):
    photo(images / "copy.png", 0)  # the bytes of 00.png
    train = lines(images / "train.txt", *(f"img/{n:02}.png {n % 2}" for n in range(8)))
    val = lines(images / "check.txt", "copy.png 1", "img/09.png 1", "missing.png 0")
    splits = open_splits(DataSection(train=str(train), val=str(val)))
    leaked, contradicting = same_bytes(splits.train, splits.val)
    assert "1 of 3 validation images have the bytes of a training image" in leaked
    assert f"(first: {val}:1 and {train}:1)" in leaked
    assert f"{train}:1 says 0, {val}:1 says 1" in contradicting


def test_files_that_differ_in_their_middle_alone_are_no_copies(tmp_path, folders):
    folders(tmp_path / "train", a=1, b=1)
    folders(tmp_path / "val", a=1, b=1)
    ends = bytes(5000)
    (tmp_path / "train/a/000.png").write_bytes(ends + b"1" + ends)
    (tmp_path / "val/a/000.png").write_bytes(ends + b"2" + ends)
    (tmp_path / "train/b/000.png").write_bytes(ends + b"3" + ends)
    (tmp_path / "val/b/000.png").write_bytes(ends + b"4" + ends)
    splits = open_splits(DataSection(train=str(tmp_path)))
    assert same_bytes(splits.train, splits.val) == []


def test_large_sets_are_not_compared(images, folders, monkeypatch):
    folders(images / "photos", a=3, b=3)
    splits = open_splits(DataSection(train=str(images / "photos")))
    monkeypatch.setattr(leaks, "MAX_COMPARED", 5)
    assert "'ppclas data check' does" in same_bytes(splits.train, splits.val)[0]


@pytest.mark.parametrize(
    ("header", "train", "val", "test"),
    [
        ("split", "train", "val", "test"),
        ("Split", "TRAIN", "Validation", "Test"),
        ("subset", "training", "dev", "testing"),
        ("Usage", "Training", "PublicTest", "PrivateTest"),
    ],
)
def test_a_split_column_says_which_rows_train(images, lines, header, train, val, test):
    parts = [*[train] * 8, *[val] * 4, *[test] * 4]
    rows = [f"img/{n:02}.png,class{n % 2},{part}" for n, part in enumerate(parts)]
    table = lines(images / "all.csv", f"path,label,{header}", *rows)
    splits = open_splits(DataSection(train=str(table)))
    assert _paths(splits.train) == [f"{n:02}.png" for n in range(8)]
    assert _paths(splits.val) == [f"{n:02}.png" for n in range(8, 12)]
    assert any("which rows train (train 8, val 4, test 4)" in note for note in splits.notes)
    assert _paths(open_image_set(table)) == [f"{n:02}.png" for n in range(8, 12)]


@pytest.mark.parametrize(("header", "trains", "validates"), [("is_valid", "False", "True"),
    ("is_train", "1", "0"), ("is_test", "no", "yes")])  # fmt: skip
def test_a_column_of_true_and_false_does_too(images, lines, header, trains, validates):
    rows = [
        f"img/{n:02}.png,class{n % 2},{validates if n in (3, 6) else trains}" for n in range(16)
    ]
    table = lines(images / "all.csv", f"path,label,{header}", *rows)
    splits = open_splits(DataSection(train=str(table)))
    assert _paths(splits.val) == ["03.png", "06.png"]
    assert len(splits.train) == 14


@pytest.mark.parametrize(
    "header", ["tvt", "type", "Set Name", "mode", "train/val/test", "data_split"]
)
@pytest.mark.parametrize("words", [("train", "val", "test"), ("TRAINING", "dev", "hold-out")])
def test_a_column_that_says_parts_is_known_by_what_it_says(images, lines, header, words):
    train, val, test = words
    parts = [*[train] * 8, *[val] * 4, *[test] * 4]
    rows = [f"img/{n:02}.png,class{n % 2},{part}" for n, part in enumerate(parts)]
    splits = open_splits(
        DataSection(train=str(lines(images / "all.csv", f"path,label,{header}", *rows)))
    )
    assert (len(splits.train), len(splits.val)) == (8, 4)
    assert any(f"the column {header!r} is its split column" in note for note in splits.notes)


def test_so_is_one_without_a_header(images, lines):
    parts = ["train"] * 8 + ["val"] * 4 + ["test"] * 4
    rows = [f"img/{n:02}.png,class{n % 2},{part}" for n, part in enumerate(parts)]
    splits = open_splits(DataSection(train=str(lines(images / "all.csv", *rows))))
    assert (len(splits.train), len(splits.val)) == (8, 4)
    assert any("the column 3 is its split column" in note for note in splits.notes)


def test_classes_may_be_called_like_parts(images, lines):
    rows = [
        f"img/{n:02}.png,{('train', 'test')[n % 2]},{('train', 'bus')[n % 2]}" for n in range(16)
    ]
    table = lines(images / "all.csv", "path,label,kind", *rows)
    assert open_image_set(table).class_names == ("test", "train")
    assert len(open_image_set(table)) == 16


def test_rows_of_the_test_part_are_never_trained_on(images, lines):
    rows = [f"img/{n:02}.png,class{n % 2},{'test' if n > 11 else 'train'}" for n in range(16)]
    table = lines(images / "all.csv", "path,label,split", *rows)
    val = lines(images / "other.csv", "path,label", "img/12.png,class0")
    splits = open_splits(DataSection(train=str(table), val=str(val)))
    assert _paths(splits.train) == [f"{n:02}.png" for n in range(12)]
    assert not any("also trained on" in note for note in splits.notes)


def test_a_split_column_that_cannot_be_used_is_refused(images, lines):
    rows = [f"img/{n:02}.png,class{n % 2},{n % 3}" for n in range(16)]
    table = lines(images / "all.csv", "path,label,split", *rows)
    with pytest.raises(DataError, match=r"all.csv:2: expected train, val or test .* got '0'"):
        open_splits(DataSection(train=str(table)))
    table = lines(images / "folds.csv", "path,label,fold", *rows)
    notes = open_splits(DataSection(train=str(table))).notes
    assert any("the column 'fold' is not used: it says '0'" in note for note in notes)


def test_several_labels_have_split_columns_too(images, lines):
    rows = [f"img/{n:02}.png,a|b,{'val' if n > 11 else 'train'}" for n in range(15)]
    table = lines(images / "all.csv", "path,labels,split", *rows, "img/15.png,a,val")
    splits = open_splits(DataSection(train=str(table)))
    assert (len(splits.train), len(splits.val)) == (12, 4)
