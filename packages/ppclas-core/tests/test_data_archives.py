"""Photos in tar shards, zip and Parquet files: the same as in a folder, read without unpacking, and nothing hostile."""

import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from ppclas_core.config.schema import DataSection
from ppclas_core.data.archives import expand_shards
from ppclas_core.data.builtin import builtin_photos
from ppclas_core.data.loader import Loader
from ppclas_core.data.pipeline import Pipeline
from ppclas_core.data.sources import load_image_set
from ppclas_core.data.splits import open_splits
from ppclas_core.data.transforms import Resize
from ppclas_core.errors import DataError, ImageError

PHOTOS = builtin_photos() / "val"


@pytest.fixture(scope="module")
def folder():
    return load_image_set(PHOTOS)


def add(archive, name, data, **facts):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in facts.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(data))


def samples(images):
    """What makes two sets the same: bytes, class and class names, whatever the order."""
    return sorted((images.read(i), images.class_names[record.label]) for i, record in enumerate(images.records))


def write_shards(images, base, label, per_shard=40):
    for start in range(0, len(images), per_shard):
        with tarfile.open(f"{base}-{start // per_shard:03d}.tar", "w") as archive:
            for index in range(start, min(start + per_shard, len(images))):
                add(archive, f"{index:06d}.jpg", images.read(index))
                name, text = label(images.records[index].label)
                add(archive, f"{index:06d}.{name}", text.encode())


@pytest.fixture(scope="module")
def shards(folder, tmp_path_factory):
    base = tmp_path_factory.mktemp("shards")
    write_shards(folder, base / "train", lambda label: ("cls", str(label)))
    write_shards(folder.subset(range(30)), base / "val", lambda label: ("json", json.dumps({"label": label, "w": 3})))
    (base / "label_list.txt").write_text("\n".join(folder.class_names))
    return base


@pytest.mark.parametrize("pattern", ["train-{000..002}.tar", "train-*.tar", "train-{000,001,002}.tar"])
def test_tar_shards_hold_what_the_folder_holds(folder, shards, pattern):
    images = load_image_set(shards / pattern)
    assert samples(images) == samples(folder)
    assert images.class_names == folder.class_names
    assert f"{shards / pattern}: 96 photos in 3 shards." in images.notes
    assert images.records[41].where == f"{shards}/train-001.tar/000041.jpg"


def test_shards_train_and_validate(shards):
    splits = open_splits(DataSection(train=str(shards / "train-*.tar")))
    assert (len(splits.train), len(splits.val)) == (96, 30)  # val-*.tar is found beside
    assert splits.val.class_names == splits.train.class_names


def test_archives_are_split_like_folders_by_their_names(shards):
    (shards / "alone").mkdir()
    (shards / "alone" / "photos.tar").write_bytes((shards / "train-001.tar").read_bytes())
    splits = open_splits(DataSection(train=str(shards / "alone" / "photos.tar"), labels=str(shards / "label_list.txt")))
    names = [{record.name for record in part.records} for part in (splits.train, splits.val)]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 40


def archive_of_folders(kind, path, files):
    if kind == "tar":
        with tarfile.open(path, "w") as archive:
            for name, data in files.items():
                add(archive, name, data)
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_archives_of_class_folders(folder, tmp_path, kind):
    files = {f"photos/{path.relative_to(PHOTOS).as_posix()}": path.read_bytes() for path in PHOTOS.rglob("*.jpg")}
    files["photos/read me.txt"] = b"hello"
    files["__MACOSX/photos/._1.jpg"] = b"resource fork"
    archive_of_folders(kind, tmp_path / f"set.{kind}", files)
    images = load_image_set(tmp_path / f"set.{kind}")
    assert samples(images) == samples(folder)
    assert any("left out" in note for note in images.notes)
    known = load_image_set(tmp_path / f"set.{kind}", class_names=(*folder.class_names, "zucchini"))
    assert known.class_names[-1] == "zucchini"


@pytest.fixture(scope="module")
def parquet(folder, tmp_path_factory):
    pa = pytest.importorskip("pyarrow", reason="needs the extra ppclas-core[parquet]")
    import pyarrow.parquet

    path = tmp_path_factory.mktemp("parquet") / "train-00000-of-00001.parquet"
    images = [{"bytes": folder.read(i), "path": f"{i}.jpg"} for i in range(len(folder))]
    features = {"image": {"_type": "Image"}, "label": {"names": list(folder.class_names), "_type": "ClassLabel"}}
    table = pa.table({"image": images, "label": folder.labels().tolist()}).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    pyarrow.parquet.write_table(table, path, row_group_size=10)
    return path


def test_parquet_holds_what_the_folder_holds(folder, parquet):
    images = load_image_set(parquet)
    assert samples(images) == samples(folder)
    assert images.class_names == folder.class_names
    assert [images.read(i) for i in (0, 15, 95)] == [folder.read(i) for i in (0, 15, 95)]
    assert samples(load_image_set(parquet.parent)) == samples(folder)
    assert images.records[15].where == f"{parquet}:row 16"


def test_parquet_without_images_or_bytes(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="needs the extra ppclas-core[parquet]")
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


def test_workers_read_every_kind(folder, shards, parquet, tmp_path):
    files = {path.relative_to(PHOTOS).as_posix(): path.read_bytes() for path in PHOTOS.rglob("*.jpg")}
    archive_of_folders("zip", tmp_path / "s.zip", files)
    for images in (load_image_set(shards / "train-*.tar"), load_image_set(tmp_path / "s.zip"), load_image_set(parquet)):
        there = pickle.loads(pickle.dumps(images.subset([3, 90])))  # how a worker gets it
        assert type(there) is type(images)
        assert [there.read(0), there.read(1)] == [images.read(3), images.read(90)]
    read = []
    for workers in (0, 1):
        with Loader(images, Pipeline([Resize(size=32)]), 48, shuffle=True, workers=workers) as loader:
            read.append([batch.images for batch in loader.epoch(0)])
    np.testing.assert_array_equal(*map(np.concatenate, read))


# What is refused


def hostile_tar(path, name, **facts):
    with tarfile.open(path, "w") as archive:
        add(archive, "a/1.jpg", b"x")
        add(archive, name, b"", **facts)


@pytest.mark.parametrize(
    ("name", "facts", "said"),
    [
        ("../outside.jpg", {}, "one that points outside"),
        ("/etc/outside.jpg", {}, "one that points outside"),
        ("a/2.jpg", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "got a link or device"),
        ("a/2.jpg", {"type": tarfile.LNKTYPE, "linkname": "a/1.jpg"}, "got a link or device"),
        ("a/2.jpg", {"type": tarfile.CHRTYPE}, "got a link or device"),
        ("a/2.cls", {}, "expected a class id or name, got nothing"),
    ],
)
def test_hostile_or_broken_tars(tmp_path, name, facts, said):
    hostile_tar(tmp_path / "bad.tar", name, **facts)
    with pytest.raises(DataError, match=said) as caught:
        load_image_set(tmp_path / "bad.tar")
    assert str(caught.value).startswith(f"{tmp_path / 'bad.tar'}/{name}: ")


def test_a_tar_that_claims_more_than_it_holds(tmp_path):
    with tarfile.open(tmp_path / "short.tar", "w") as archive:
        add(archive, "a/1.jpg", b"x" * 2000)
        add(archive, "b/1.jpg", b"y" * 2000)
    whole = (tmp_path / "short.tar").read_bytes()
    (tmp_path / "short.tar").write_bytes(whole[:3500])
    with pytest.raises(DataError, match="expected an uncompressed tar file"):
        load_image_set(tmp_path / "short.tar")
    info = tarfile.TarInfo("a/1.jpg")
    info.size = 1 << 40
    (tmp_path / "huge.tar").write_bytes(info.tobuf() + bytes(2 * tarfile.BLOCKSIZE))
    with pytest.raises(DataError, match="at most 268,435,456 bytes, got 1,099,511,627,776"):
        load_image_set(tmp_path / "huge.tar")


def test_labels_in_shards(tmp_path):
    def shard(*files):
        with tarfile.open(tmp_path / "s.tar", "w") as archive:
            for name, text in files:
                add(archive, name, text.encode())
        return load_image_set(tmp_path / "s.tar")

    images = shard(("1.jpg", "x"), ("1.cls", "cat\n"), ("2.left.jpg", "y"), ("2.json", '{"class": "dog", "a": 1}'))
    assert [images.class_names[record.label] for record in images.records] == ["cat", "dog"]
    with pytest.raises(DataError, match=r"s.tar/2.jpg: expected a .cls or .json file of the same name"):
        shard(("1.jpg", "x"), ("1.cls", "0"), ("2.jpg", "y"))
    with pytest.raises(DataError, match=r"s.tar/1.json: expected JSON"):
        shard(("1.jpg", "x"), ("1.json", "[" * 100_000))
    with pytest.raises(DataError, match="expected a class id or name as the label, got"):
        shard(("1.jpg", "x"), ("1.json", '{"label": {"a": 1}}'))
    with pytest.raises(DataError, match=r"s.tar/2.jpg: expected labels without gaps, got 2 but no image with label 1"):
        shard(("1.jpg", "x"), ("1.cls", "0"), ("2.jpg", "y"), ("2.cls", "2"))
    with pytest.raises(DataError, match="or the photo in a folder named after its class"):
        shard(("1.jpg", "x"))


def test_zip_members_are_checked(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("a/1.jpg", b"a" * 100)
        archive.writestr("b/1.jpg", b"b" * 100)
    data = bytearray((tmp_path / "z.zip").read_bytes())
    data[data.index(b"a" * 100) + 3] = 0
    (tmp_path / "z.zip").write_bytes(data)
    images = load_image_set(tmp_path / "z.zip")
    with pytest.raises(ImageError, match=r"z.zip/a/1.jpg: damaged zip file: Bad CRC-32"):
        images.read(0)
    assert images.read(1) == b"b" * 100
    (tmp_path / "no.zip").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="expected a zip file"):
        load_image_set(tmp_path / "no.zip")


def test_patterns(tmp_path):
    for name in ("a-0.tar", "a-1.tar"):
        (tmp_path / name).write_bytes(b"")
    assert expand_shards(f"{tmp_path}/a-{{0..1}}.tar") == [f"{tmp_path}/a-0.tar", f"{tmp_path}/a-1.tar"]
    with pytest.raises(DataError, match=r"expected the file .*a-2.tar, found none"):
        expand_shards(f"{tmp_path}/a-{{0..2}}.tar")
    with pytest.raises(DataError, match="fewer than 1,000,000 files"):
        expand_shards(f"{tmp_path}/a-{{0..999999999}}.tar")
