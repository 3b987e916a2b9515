"""Names of classes: numbers in one order everywhere and read in one way; one Unicode form."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import pytest
from ppclas_core.config.schema import DataSection
from ppclas_core.contracts.data import SEVERAL, ImageSet, Record
from ppclas_core.errors import DataError
from ppclas_data.sources.labels import in_class_order, read_class_names, with_class_order
from ppclas_data.sources.listing import write_lists
from ppclas_data.sources.opening import open_image_set
from ppclas_data.sources.splits import open_splits

TWELVE = tuple(str(number) for number in range(12))
BY_TEXT = tuple(sorted(TWELVE))


@pytest.fixture
def numbered(tmp_path, folders):
    """Folders 0 … 11 with two photos each."""
    folders(tmp_path / "train", **dict.fromkeys(TWELVE, 2))
    return tmp_path / "train"


def _name_of_each(images: ImageSet) -> list[str]:
    return [images.class_names[record.label] for record in images.records]


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["10", "9", "0"], ("0", "9", "10")),
        (["010", "9", "08"], ("08", "9", "010")),
        (["-1", "1", "0"], ("-1", "0", "1")),
        (["10", "9", "cat"], ("10", "9", "cat")),
        (["1.10", "1.9"], ("1.10", "1.9")),
        (["²", "10", "9"], ("10", "9", "²")),
        ([], ()),
    ],
)
def test_whole_numbers_go_by_value_and_other_names_as_text(names, order):
    assert in_class_order(names) == order


@pytest.mark.parametrize("ending", ["csv", "txt"])
def test_ids_of_a_list_are_the_numbers_of_the_folders(tmp_path, numbered, photo, lines, ending):
    for number in TWELVE:
        photo(tmp_path / f"v{number}.png")
    rows = [f"v{n}.png,{n}" if ending == "csv" else f"v{n}.png {n}" for n in TWELVE]
    val = lines(tmp_path / f"val.{ending}", *(["path,label"] if ending == "csv" else []), *rows)
    splits = open_splits(DataSection(train=str(numbered), val=str(val)))
    assert splits.train.class_names == TWELVE
    assert _name_of_each(splits.val) == list(TWELVE)


def test_every_source_has_the_same_order(tmp_path, numbered):
    for kind in ("zip", "tar"):
        archive = shutil.make_archive(str(tmp_path / "photos"), kind, numbered)
        assert open_image_set(archive).class_names == TWELVE
    write_lists(DataSection(train=str(numbered)), tmp_path / "lists", [])
    assert read_class_names(tmp_path / "lists" / "label_list.txt") == TWELVE


def test_several_labels_go_by_value_too(tmp_path, photo, lines):
    photo(tmp_path / "a.png")
    table = lines(tmp_path / "all.csv", "path,labels", "a.png,x|y", "a.png,y")
    assert open_image_set(table).class_names == ("x", "y")
    known = (*tuple("123456789"), "10")
    table = lines(tmp_path / "val.csv", "path,labels", "a.png,10|9", "a.png,1")
    images = open_image_set(table, class_names=known, task="multilabel")
    assert [record.classes for record in images.records] == [(8, 9), (0,)]


def test_names_from_one_on_are_matched_by_name(tmp_path, photo, lines):
    known = tuple(str(number) for number in range(1, 11))
    photo(tmp_path / "a.png")
    val = lines(tmp_path / "val.csv", "path,label", "a.png,10", "a.png,1")
    images = open_image_set(val, class_names=known)
    assert _name_of_each(images) == ["10", "1"]
    assert any("labels are the names of the classes" in note for note in images.notes)


def test_a_number_with_two_meanings_is_refused_and_both_are_shown(tmp_path, photo, lines):
    photo(tmp_path / "a.png")
    val = lines(tmp_path / "val.txt", "a.png 0", "a.png 2")
    with pytest.raises(DataError) as raised:  # the bundle of a run from before this rule
        open_image_set(val, class_names=BY_TEXT)
    assert f"{val}:2: the label 2 can be the class called '2' (class 4 of" in str(raised.value)
    assert "or the class with the id 2, which is called '10'" in str(raised.value)


@pytest.mark.parametrize("ending", ["csv", "txt"])
def test_two_names_of_one_number_leave_a_list_of_numbers_unclear(tmp_path, photo, lines, ending):
    photo(tmp_path / "a.png")
    rows = ("path,label", "a.png,1") if ending == "csv" else ("a.png 1",)
    val = lines(tmp_path / f"val.{ending}", *rows)
    with pytest.raises(DataError, match="two classes have the same one: '01' and '1'; rename"):
        open_image_set(val, class_names=("01", "1", "2"))


def test_a_file_of_names_says_what_ids_mean(tmp_path, photo, lines):
    photo(tmp_path / "a.png")
    lines(tmp_path / "label_list.txt", *BY_TEXT)
    val = lines(tmp_path / "val.txt", "a.png 2")
    images = open_image_set(val, class_names=BY_TEXT)
    assert _name_of_each(images) == ["10"]


def test_folders_fit_the_bundle_of_an_older_run(numbered):
    images = open_image_set(numbered, class_names=BY_TEXT)
    assert images.class_names == BY_TEXT
    assert all(record.path.split("/")[-2] == BY_TEXT[record.label] for record in images.records)


def test_an_older_runs_photos_are_brought_into_its_order(numbered):
    images = with_class_order(open_image_set(numbered), BY_TEXT)
    assert all(record.path.split("/")[-2] == BY_TEXT[record.label] for record in images.records)
    several = ImageSet((Record("a", SEVERAL, "a", (0, 2)),), ("x", "y", "z"), "here")
    assert with_class_order(several, ("z", "y", "x")).records[0].classes == (0, 2)
    assert with_class_order(several, ("y", "z", "x")).records[0].classes == (1, 2)
    with pytest.raises(DataError, match="expected photos of the model's classes"):
        with_class_order(several, ("x", "y", "w"))


@pytest.mark.parametrize("known", ["NFC", "NFD", None])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_that_differ_in_their_unicode_form_alone_are_one(
    tmp_path, folders, lines, form, known
):
    names = ("caf\u00e9", "th\u00e9")
    written = [unicodedata.normalize(form, name) for name in names]
    other = [unicodedata.normalize("NFC" if form == "NFD" else "NFD", name) for name in names]
    folders(tmp_path / "photos", **dict.fromkeys(written, 1))
    names_known = known and tuple(unicodedata.normalize(known, name) for name in names)
    images = open_image_set(tmp_path / "photos", class_names=names_known)
    assert images.class_names == (names_known or names)
    assert images.labels().tolist() == [0, 1]
    rows = [f"photos/{name}/000.png,{name}" for name in other]
    listed = open_image_set(
        lines(tmp_path / "list.csv", "path,label", *rows), class_names=names_known or names
    )
    assert listed.labels().tolist() == [0, 1]
    assert all(Path(record.path).is_file() for record in listed.records)
