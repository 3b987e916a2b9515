"""Photos in Parquet files: the same as in a folder, whatever the columns are called."""

import json
import pickle

import pytest
from ppclas_core.errors import DataError, ImageError
from ppclas_data.sources.opening import load_image_set


def photos_of(images):
    return [(images.read(i).decode(), record.label) for i, record in enumerate(images.records)]


def test_parquet_holds_what_the_folder_holds(folder, parquet, samples):
    images = load_image_set(parquet)
    assert samples(images) == samples(folder)
    assert images.class_names == folder.class_names
    assert [images.read(i) for i in (0, 15, 95)] == [folder.read(i) for i in (0, 15, 95)]
    assert samples(load_image_set(parquet.parent)) == samples(folder)
    assert images.records[15].where == f"{parquet}:row 16"


def test_parquet_without_images_or_bytes(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="needs the extra ppclas-data[parquet]")
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table({"text": ["a"], "label": [0]}), tmp_path / "text.parquet")
    with pytest.raises(DataError, match=r"expected a column of images .* got text, label"):
        load_image_set(tmp_path / "text.parquet")
    (tmp_path / "no.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match="expected a Parquet file"):
        load_image_set(tmp_path / "no.parquet")
    links = pa.table({"image": [{"bytes": None, "path": "/etc/passwd"}], "label": [0]})
    pyarrow.parquet.write_table(links, tmp_path / "links.parquet")
    with pytest.raises(ImageError, match="expected the bytes of an image in 'image', got none"):
        load_image_set(tmp_path / "links.parquet").read(0)


def write_parquet(path, columns, features=None):
    pa = pytest.importorskip("pyarrow", reason="needs the extra ppclas-data[parquet]")
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if features is not None:
        classes = {
            name: {"names": names, "_type": "ClassLabel"} for name, names in features.items()
        }
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": classes}})}
        )
    pyarrow.parquet.write_table(table, path)
    return path


def test_parquet_files_that_number_classes_otherwise(tmp_path):
    write_parquet(
        tmp_path / "a-0.parquet",
        {"image": [b"0", b"1"], "label": [0, 2]},
        {"label": ["a", "b", "c"]},
    )
    write_parquet(
        tmp_path / "a-1.parquet",
        {"image": [b"2", b"3"], "label": [0, 1]},
        {"label": ["c", "b", "a"]},
    )
    images = load_image_set(tmp_path)
    assert [images.class_names[record.label] for record in images.records] == ["a", "c", "c", "b"]
    assert images.notes == (
        f"1 file(s) number the classes otherwise than {tmp_path}/a-0.parquet (first: "
        f"{tmp_path}/a-1.parquet); labels are taken by name.",
    )
    write_parquet(
        tmp_path / "a-2.parquet", {"image": [b"4"], "label": [0]}, {"label": ["a", "b", "d"]}
    )
    with pytest.raises(
        DataError,
        match=r"a-2.parquet: expected the classes of .*a-0.parquet \(a, b, c\), got a, b, d",
    ):
        load_image_set(tmp_path)
    write_parquet(tmp_path / "a-2.parquet", {"image": [b"4"], "label": [0]})
    with pytest.raises(
        DataError,
        match=r"a-2.parquet: expected class names in the metadata as in .*a-0.parquet, found",
    ):
        load_image_set(tmp_path)


def test_classes_of_the_same_name_are_not_told_apart_by_it(tmp_path):
    names = ["crane", "crane", "owl"]
    write_parquet(
        tmp_path / "a-0.parquet", {"image": [b"0", b"1"], "label": [0, 1]}, {"label": names}
    )
    write_parquet(tmp_path / "a-1.parquet", {"image": [b"2"], "label": [2]}, {"label": names})
    assert photos_of(load_image_set(tmp_path)) == [("0", 0), ("1", 1), ("2", 2)]
    write_parquet(tmp_path / "a-1.parquet", {"image": [b"2"], "label": [0]}, {"label": names[::-1]})
    with pytest.raises(
        DataError,
        match=r"a-1.parquet: expected the classes in the order of .*a-0.parquet, as two of",
    ):
        load_image_set(tmp_path)


def test_parquet_files_with_columns_of_their_own(tmp_path):
    write_parquet(tmp_path / "a-0.parquet", {"image": [b"0", b"1"], "label": [0, 1]})
    write_parquet(tmp_path / "a-1.parquet", {"Label": [1, 0], "img": [b"2", b"3"]})
    images = pickle.loads(pickle.dumps(load_image_set(tmp_path)))
    assert photos_of(images) == [("0", 0), ("1", 1), ("2", 1), ("3", 0)]


@pytest.mark.parametrize(
    ("columns", "marked", "taken"),
    [
        (["labels"], [], "labels"),
        (["class_name"], [], "class_name"),
        (["fine_label", "coarse_label"], ["fine_label"], "fine_label"),
        (["target", "kind"], ["kind"], "kind"),
        (["kind", "Label"], ["kind"], "Label"),
    ],
)
def test_the_label_column_of_parquet_files(tmp_path, columns, marked, taken):
    values = {column: [0, 1] if column == taken else [7, 7] for column in columns}
    path = write_parquet(
        tmp_path / "s.parquet",
        {"image": [b"0", b"1"], **values},
        {column: ["a", "b"] for column in marked},
    )
    images = load_image_set(path)
    assert photos_of(images) == [("0", 0), ("1", 1)]
    assert images.notes == (f"{path}: labels from column {taken!r}.",)


def test_parquet_files_with_several_columns_to_choose_from(tmp_path):
    labels = {"fine_label": [0], "coarse_label": [0]}
    path = write_parquet(
        tmp_path / "s.parquet", {"img": [b"0"], **labels}, {name: ["a"] for name in labels}
    )
    with pytest.raises(
        DataError, match=r"one column of labels, got fine_label, coarse_label; rename .* to 'label'"
    ):
        load_image_set(path)
    write_parquet(path, {"img": [b"0"], **labels})
    with pytest.raises(
        DataError,
        match=r"got img, fine_label, coarse_label; rename the columns to 'image' and 'label'",
    ):
        load_image_set(path)
    write_parquet(path, {"mask": [b"0"], "shot": [b"1"], "label": [0]})
    with pytest.raises(
        DataError, match="one column of images, got mask, shot; rename the one to use to 'image'"
    ):
        load_image_set(path)


def test_the_folder_of_a_data_set_of_the_hub(tmp_path):
    for name in ("train", "validation", "test"):
        write_parquet(
            tmp_path / "data" / f"{name}-00000-of-00001.parquet", {"image": [b"0"], "label": [0]}
        )
    (tmp_path / "README.md").write_text("hello")
    (tmp_path / ".cache").mkdir()
    with pytest.raises(
        DataError,
        match=r"got them in its folder\(s\) data; give .*/data, or .*/data/train\*.parquet",
    ):
        load_image_set(tmp_path)
    with pytest.raises(
        DataError, match=r"got those of test, train, validation; give .*/data/train\*.parquet"
    ):
        load_image_set(tmp_path / "data")


def test_damaged_parquet_labels(tmp_path):
    path = write_parquet(tmp_path / "s.parquet", {"image": [b"0"] * 50, "label": list(range(50))})
    data = bytearray(path.read_bytes())
    data[4:-600] = b"\xff" * (len(data) - 604)
    path.write_bytes(data)
    with pytest.raises(
        DataError, match=r"s.parquet: damaged Parquet file: .*; copy it or make it again"
    ):
        load_image_set(path)
