"""Several labels per image: every way to write them, refusals, splits that keep rare classes."""

import cv2
import numpy as np
import pytest
from ppclas_core.config.schema import DataSection
from ppclas_core.contracts.data import SEVERAL, ImageSet, Record
from ppclas_core.errors import DataError
from ppclas_data.inspection.check import check_data
from ppclas_data.loading.loader import Loader
from ppclas_data.loading.pipeline import Pipeline
from ppclas_data.sources.multilabel import ManyHot, held_out
from ppclas_data.sources.opening import load_image_set
from ppclas_data.sources.splits import open_splits


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b", "c d"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((8, 8, 3), np.uint8))
    return tmp_path


def load(folder, name, text, **options):
    (folder / name).write_text(text, encoding="utf-8")
    return load_image_set(folder / name, **options)


def classes(images):
    return [record.class_ids for record in images.records]


@pytest.mark.parametrize(
    ("name", "text", "names", "expected"),
    [
        ("ids.txt", "a.png 0,2\nc d.png 1\nb.png 0\n", ("0", "1", "2"), [(0, 2), (1,), (0,)]),
        (
            "names.txt",
            "a.png\tdog|cat\nc d.png\tcat\nb.png\t\n",
            ("cat", "dog"),
            [(0, 1), (0,), ()],
        ),
        ("vectors.txt", "a.png\t0,1,1\nb.png\t0,1,0\n", ("0", "1", "2"), [(1, 2), (1,)]),
        ("names.csv", "path,label\na.png,dog|cat\nb.png,\n", ("cat", "dog"), [(0, 1), ()]),
        (
            "tags.csv",
            "image,tags\na.png,hot dog; cat\nb.png,cat\n",
            ("cat", "hot dog"),
            [(0, 1), (0,)],
        ),
        ("ids.csv", 'path,label\na.png,"0,1"\nb.png,1\n', ("0", "1"), [(0, 1), (1,)]),
        (
            "columns.csv",
            "file,fold,cat,dog\na.png,x,1,0\nb.png,y,1,1\n",
            ("cat", "dog"),
            [(0,), (0, 1)],
        ),
        ("powers.csv", "path,labels\na.png,²|³\nb.png,²\n", ("²", "³"), [(0, 1), (0,)]),
        ("signs.csv", "file,cat,dog\na.png,1,-1\nb.png,-1,-1\n", ("cat", "dog"), [(0,), ()]),
    ],
)
def test_every_way_to_write_labels(folder, name, text, names, expected):
    images = load(folder, name, text)
    assert images.task == "multilabel"
    assert images.class_names == names
    assert classes(images) == expected
    assert "several labels per image" in images.notes[0]


def test_what_was_one_label_stays_so(folder):
    images = load(folder, "plain.txt", "a.png 0\nb.png 1\n")
    assert (images.task, classes(images)) == ("classification", [(0,), (1,)])
    images = load(folder, "plain.csv", 'path,label\na.png,"cat, big"\nb.png,dog\n')
    assert (images.task, images.class_names) == ("classification", ("cat, big", "dog"))


def test_the_task_can_be_said(folder):
    images = load(folder, "plain.txt", "a.png 0\nb.png 1\n", task="multilabel")
    assert (images.task, classes(images)) == ("multilabel", [(0,), (1,)])
    images = load(
        folder, "plain.csv", "path,label\na.png,cat|dog\nb.png,cat\n", task="classification"
    )
    assert (images.task, images.class_names) == ("classification", ("cat", "cat|dog"))
    (folder / "photos" / "x").mkdir(parents=True)
    cv2.imwrite(str(folder / "photos" / "x" / "1.png"), np.zeros((8, 8, 3), np.uint8))
    images = load_image_set(folder / "photos", task="multilabel")
    assert (images.task, classes(images)) == ("multilabel", [(0,)])
    assert "one label per image, trained as images that may have several" in images.notes[-1]


def test_a_validation_set_goes_by_the_training_sets_classes(folder):
    images = load(
        folder,
        "val.csv",
        "path,dog,cat\na.png,1,0\n",
        class_names=("cat", "dog"),
        task="multilabel",
    )
    assert classes(images) == [(1,)]
    (folder / "label_list.txt").write_text("0 sea\n1 sky\n2 sun\n")
    assert load(folder, "ids.txt", "a.png 0,2\nb.png 1\n").class_names == ("sea", "sky", "sun")


@pytest.mark.parametrize(
    ("name", "text", "options", "said"),
    [
        ("l.txt", "a.png 0,1\nb.png\n", {}, r"l.txt:2: expected 'path labels' .* got only 'b.png'"),
        ("l.txt", "a.png 1,2\nb.png 1\n", {}, r"l.txt:1: expected labels that start at 0, got 1"),
        (
            "l.txt",
            "a.png\tcat|dgo\n",
            {"class_names": ("cat", "dog")},
            r"l.txt:1: .* got 'dgo'. Did you mean 'dog'",
        ),
        (
            "l.txt",
            "a.png 0,5\n",
            {"class_names": ("cat", "dog")},
            r"l.txt:1: expected a label from 0 to 1",
        ),
        (
            "l.txt",
            "a.png\t0,1,0\nb.png\t1,1,1\n",
            {"class_names": ("x", "y")},
            "each of the 2 classes, got 3 a line",
        ),
        (
            "c.csv",
            "path,height\na.png,170\n",
            {},
            r"c.csv:1: expected a column of labels .* or columns of 0 and 1",
        ),
        ("c.csv", "path,cat,dog\na.png,1\n", {}, r"c.csv:2: expected 3 values, got a.png, 1"),
        (
            "c.csv",
            "path,cat\na.png,1\n",
            {"class_names": ("cat", "dog")},
            "a column for each of the classes cat, dog",
        ),
        ("c.csv", "path,labels\na.png,\nb.png,\n", {}, "got 2 photos and not one label among them"),
    ],
)
def test_mistakes(folder, name, text, options, said):
    with pytest.raises(DataError, match=said):
        load(folder, name, text, **options)


def test_what_needs_one_label_says_so(folder):
    with pytest.raises(DataError, match="expected one label per image, got images with several"):
        load(folder, "l.txt", "a.png 0,1\nb.png 0\n").labels()


def test_batches_carry_ones_and_zeros(folder):
    images = load(folder, "l.txt", "a.png\tdog|cat\nb.png\tcat\nc d.png\t\n")
    assert ManyHot(images)[np.array([2, 0])].tolist() == [[0, 0], [1, 1]]
    with Loader(images, Pipeline(()), 2) as loader:
        batches = [batch.labels for batch in loader.epoch(0)]
    assert [batch.tolist() for batch in batches] == [[[1, 1], [1, 0]], [[0, 0]]]
    assert batches[0].dtype == np.float32


def several(rows, num_classes):
    records = tuple(Record(f"{i}.png", SEVERAL, f"l:{i}", tuple(row)) for i, row in enumerate(rows))
    return ImageSet(records, tuple(map(str, range(num_classes))), "l", task="multilabel")


def test_a_split_holds_out_the_same_share_of_every_class():
    rng = np.random.default_rng(0)
    there = rng.random((2000, 6)) < [0.5, 0.2, 0.1, 0.03, 0.01, 0.002]
    images = several([np.flatnonzero(row).tolist() for row in there], 6)
    chosen = held_out(images, 0.2, rng.permutation(2000).tolist())
    shares = there[sorted(chosen)].sum(axis=0) / there.sum(axis=0)
    assert shares == pytest.approx([0.2] * 6, abs=0.06)
    assert len(chosen) == pytest.approx(400, rel=0.05)


def test_a_split_never_takes_all_of_a_class():
    images = several([[0, 1], [0], [0], [0], [2, 0], [2]], 3)
    for order in ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [4, 0, 5, 1, 3, 2]):
        chosen = held_out(images, 0.5, order)
        assert 0 not in chosen  # the only image of class 1
        assert len(chosen & {4, 5}) == 1


def test_splits_and_the_report_on_a_data_set(folder):
    rows = []
    for index in range(20):
        image = np.random.default_rng(index).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), image)
        rows.append(f"{index}.png\t{'red|blue' if index % 2 else 'red'}")
    (folder / "l.txt").write_text("\n".join(rows))
    splits = open_splits(DataSection(train=str(folder / "l.txt"), val_fraction=0.2))
    assert (len(splits.train), len(splits.val), splits.val.task) == (16, 4, "multilabel")
    assert sum(0 in record.class_ids for record in splits.val.records) == 2
    again = open_splits(DataSection(train=str(folder / "l.txt"), val_fraction=0.2))
    assert again.val.records == splits.val.records
    report = check_data(DataSection(train=str(folder / "l.txt")))
    assert report.ok
    assert report.train.class_counts == {"0 blue": 8, "1 red": 16}
