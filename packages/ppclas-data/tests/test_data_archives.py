"""Photos in tar shards, zip and Parquet files: as in a folder; hostile files are refused."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from ppclas_core.config.schema import DataSection
from ppclas_core.errors import DataError, ImageError
from ppclas_data.builtin import builtin_photos
from ppclas_data.loading.loader import Loader
from ppclas_data.loading.pipeline import Pipeline
from ppclas_data.sources.opening import load_image_set
from ppclas_data.sources.splits import open_splits
from ppclas_data.transforms.basic import Resize

PHOTOS = builtin_photos() / "val"


def add(archive, name, data, **facts):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in facts.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(data))


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
    write_shards(
        folder.subset(range(30)),
        base / "val",
        lambda label: ("json", json.dumps({"label": label, "w": 3})),
    )
    (base / "label_list.txt").write_text("\n".join(folder.class_names))
    return base


@pytest.mark.parametrize(
    "pattern", ["train-{000..002}.tar", "train-*.tar", "train-{000,001,002}.tar"]
)
def test_tar_shards_hold_what_the_folder_holds(folder, shards, pattern, samples):
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
    splits = open_splits(
        DataSection(
            train=str(shards / "alone" / "photos.tar"), labels=str(shards / "label_list.txt")
        )
    )
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
def test_archives_of_class_folders(folder, tmp_path, kind, samples):
    files = {
        f"photos/{path.relative_to(PHOTOS).as_posix()}": path.read_bytes()
        for path in PHOTOS.rglob("*.jpg")
    }
    files["photos/read me.txt"] = b"hello"
    files["__MACOSX/photos/._1.jpg"] = b"resource fork"
    archive_of_folders(kind, tmp_path / f"set.{kind}", files)
    images = load_image_set(tmp_path / f"set.{kind}")
    assert samples(images) == samples(folder)
    assert any("left out" in note for note in images.notes)
    known = load_image_set(tmp_path / f"set.{kind}", class_names=(*folder.class_names, "zucchini"))
    assert known.class_names[-1] == "zucchini"


def labelled_tar(path, keys=range(6), extra=(), photo="jpg", label="cls"):
    """Samples of two classes; the photo of sample k is b"photo k"."""
    with tarfile.open(path, "w") as archive:
        for key in keys:
            for name, data in extra:
                add(archive, name.format(key), data)
            add(archive, f"{key}.{photo}", f"photo {key}".encode())
            add(archive, f"{key}.{label}", str(key % 2).encode())
    return path


def photos_of(images):
    return [(images.read(i).decode(), record.label) for i, record in enumerate(images.records)]


SIX = [(f"photo {key}", key % 2) for key in range(6)]


def test_pictures_beside_the_photos_are_left_out(tmp_path):
    extra = [("{}.seg.png", b"mask"), ("{}.txt", b"caption"), ("{}.seg.json", b'{"label": 5}')]
    images = load_image_set(labelled_tar(tmp_path / "s.tar", extra=extra))
    assert photos_of(images) == SIX
    assert images.notes == (
        f"{tmp_path}/s.tar: 12 file(s) that are no photos by their name are left out: 6 .txt, 6 "
        f".json (first: {tmp_path}/s.tar/0.txt, {tmp_path}/s.tar/0.seg.json, "
        f"{tmp_path}/s.tar/1.txt).",
        f"{tmp_path}/s.tar: 6 picture(s) with more than a photo's suffix behind the first dot, as "
        f"masks have, are left out (first: {tmp_path}/s.tar/0.seg.png).",
    )
    only_masks = labelled_tar(tmp_path / "m.tar", photo="left.jpg")
    with pytest.raises(
        DataError,
        match=r"m.tar: expected photos, called like 0001.jpg; found none.*\(first: .*left.jpg",
    ):
        load_image_set(only_masks)


def test_dots_in_names_are_no_matter_in_class_folders(tmp_path):
    archive_of_folders(
        "tar", tmp_path / "f.tar", {"a/1.2.jpg": b"a", "a/1.3.jpg": b"b", "b/x.y.png": b"c"}
    )
    assert photos_of(load_image_set(tmp_path / "f.tar")) == [("a", 0), ("b", 0), ("c", 1)]


def test_names_in_upper_case(tmp_path):
    images = load_image_set(labelled_tar(tmp_path / "S.TAR", photo="JPG", label="CLS"))
    assert photos_of(images) == SIX
    assert photos_of(load_image_set(tmp_path)) == SIX


def test_tars_made_on_a_mac(tmp_path):
    fork = b"\0\5\x16\7Mac OS X\xff\xfe"
    extra = [("._{}.jpg", fork), ("._{}.cls", fork), ("__MACOSX/{}.cls", fork)]
    images = load_image_set(labelled_tar(tmp_path / "mac.tar", extra=extra))
    assert photos_of(images) == SIX
    assert images.notes == ()


def test_tars_behind_one_another(tmp_path):
    first = labelled_tar(tmp_path / "a.tar").read_bytes()
    second = labelled_tar(tmp_path / "b.tar", keys=range(6, 9)).read_bytes()
    (tmp_path / "both.tar").write_bytes(first + second)
    (tmp_path / "same.tar").write_bytes(second + second)  # the same names, but samples of their own
    assert photos_of(load_image_set(tmp_path / "both.tar")) == [
        *SIX,
        ("photo 6", 0),
        ("photo 7", 1),
        ("photo 8", 0),
    ]
    assert photos_of(load_image_set(tmp_path / "same.tar")) == 2 * [
        ("photo 6", 0),
        ("photo 7", 1),
        ("photo 8", 0),
    ]
    (tmp_path / "cut.tar").write_bytes(first + second[:2148])
    with pytest.raises(
        DataError,
        match=r"cut.tar: expected another member .* after 6.cls, but the 100 bytes from there",
    ):
        load_image_set(tmp_path / "cut.tar")


def test_names_that_are_not_utf_8(tmp_path):
    with tarfile.open(tmp_path / "latin.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for key in range(4):
            add(archive, f"caf\udce9/{key}.jpg" if key % 2 else f"tea/{key}.jpg", b"x")
    images = load_image_set(tmp_path / "latin.tar")
    assert images.class_names == (r"caf\xe9", "tea")
    splits = open_splits(DataSection(train=str(tmp_path / "latin.tar")))
    "".join(record.where for record in splits.train.records).encode()


def test_workers_read_every_kind(folder, shards, parquet, tmp_path):
    files = {
        path.relative_to(PHOTOS).as_posix(): path.read_bytes() for path in PHOTOS.rglob("*.jpg")
    }
    archive_of_folders("zip", tmp_path / "s.zip", files)
    for images in (
        load_image_set(shards / "train-*.tar"),
        load_image_set(tmp_path / "s.zip"),
        load_image_set(parquet),
    ):
        there = pickle.loads(pickle.dumps(images.subset([3, 90])))  # how a worker gets it
        assert type(there) is type(images)
        assert [there.read(0), there.read(1)] == [images.read(3), images.read(90)]
    read = []
    for workers in (0, 1):
        with Loader(
            images, Pipeline([Resize(size=32)]), 48, shuffle=True, workers=workers
        ) as loader:
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
    with pytest.raises(
        DataError, match=r"zeros after b/1.jpg, but the file ends within it: it is cut; copy it or"
    ):
        load_image_set(tmp_path / "short.tar")
    info = tarfile.TarInfo("a/1.jpg")
    info.size = 1 << 40
    (tmp_path / "huge.tar").write_bytes(info.tobuf() + bytes(2 * tarfile.BLOCKSIZE))
    with pytest.raises(DataError, match="at most 268,435,456 bytes, got 1,099,511,627,776"):
        load_image_set(tmp_path / "huge.tar")


def offset_of(path, name):
    with tarfile.open(path) as archive:
        return archive.getmember(name).offset


def test_a_damaged_or_cut_tar_is_refused(tmp_path):
    whole = labelled_tar(tmp_path / "s.tar").read_bytes()
    at = offset_of(tmp_path / "s.tar", "3.jpg")
    unread = len(whole) - at
    path = tmp_path / "bad.tar"
    for data, said in [
        (
            whole[:at] + b"\xff" * 8 + whole[at + 8 :],
            f"after 2.cls, but the {unread:,} bytes from there on cannot be read",
        ),
        (
            whole[:at] + bytes(512) + whole[at + 512 :],
            f"after 2.cls, but the {unread - 512:,} bytes from there on cannot",
        ),
        (whole[:at], "after 2.cls, but the file ends there: it is cut; copy it or make it again"),
        (whole[: at + 100], "after 2.cls, but the 100 bytes from there on cannot be read"),
        (whole[: at + 514], "after 3.jpg, but the file ends within it: it is cut"),
        (whole[: at - 510], "after 2.cls, but the file ends within it: it is cut"),
        (
            whole[:-2000] + b"x" * 2000,
            "after 5.cls, but the 2,048 bytes from there on cannot be read",
        ),
    ]:
        path.write_bytes(data)
        with pytest.raises(DataError, match=said) as caught:
            load_image_set(path)
        assert str(caught.value).startswith(
            f"{path}: expected another member or a block of zeros after "
        )
        assert "gunzip" not in str(caught.value)


def test_zeros_at_the_end_of_a_tar(tmp_path):
    whole = labelled_tar(tmp_path / "s.tar").read_bytes().rstrip(b"\0")
    whole += bytes(-len(whole) % 512)
    for zeros in (512, 1024, 1500, 3 << 20):
        (tmp_path / "s.tar").write_bytes(whole + bytes(zeros))
        assert photos_of(load_image_set(tmp_path / "s.tar")) == SIX


def test_tars_that_are_something_else(tmp_path):
    path = tmp_path / "z.tar"
    labelled_tar(tmp_path / "s.tar")
    for data, said in [
        (
            gzip.compress((tmp_path / "s.tar").read_bytes()),
            "compressed with gzip; decompress it: gzip -dc z.tar > plain",
        ),
        (b"", "got an empty file"),
        (b"x" * 3000, r"got something else \(invalid header\); copy it or make it again"),
        (bytes(512) + b"x" * 3000, r"got something else \(invalid header\)"),
    ]:
        path.write_bytes(data)
        with pytest.raises(DataError, match=f"z.tar: expected an uncompressed tar file, .*{said}"):
            load_image_set(path)


def test_a_name_that_comes_twice(tmp_path):
    path = labelled_tar(tmp_path / "s.tar", keys=[0, 1, 0])
    with pytest.raises(
        DataError, match=r"s.tar/0.cls: expected each name once, got it a second time"
    ):
        load_image_set(path)


def test_labels_in_shards(tmp_path):
    def shard(*files):
        with tarfile.open(tmp_path / "s.tar", "w") as archive:
            for name, text in files:
                add(archive, name, text.encode())
        return load_image_set(tmp_path / "s.tar")

    images = shard(
        ("1.jpg", "x"), ("1.cls", "cat\n"), ("2.jpg", "y"), ("2.json", '{"class": "dog", "a": 1}')
    )
    assert [images.class_names[record.label] for record in images.records] == ["cat", "dog"]
    with pytest.raises(
        DataError, match=r"s.tar/2.jpg: expected a .cls or .json file of the same name"
    ):
        shard(("1.jpg", "x"), ("1.cls", "0"), ("2.jpg", "y"))
    with pytest.raises(DataError, match=r"s.tar/1.json: expected JSON"):
        shard(("1.jpg", "x"), ("1.json", "[" * 100_000))
    with pytest.raises(DataError, match="expected a class id or name as the label, got"):
        shard(("1.jpg", "x"), ("1.json", '{"label": {"a": 1}}'))
    with pytest.raises(
        DataError,
        match=r"s.tar/2.jpg: expected labels without gaps, got 2 but no image with label 1",
    ):
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


@pytest.mark.parametrize("start", ["", "fruit-"])
def test_a_folder_with_the_shards_of_two_sets(tmp_path, start):
    for name in ("train-000", "train-001", "val-000"):
        labelled_tar(tmp_path / f"{start}{name}.tar")
    with pytest.raises(
        DataError, match=rf"got those of train, val; give one .*/{start}train\*.tar$"
    ):
        load_image_set(tmp_path)
    labelled_tar(tmp_path / f"{start}val-000.tar").unlink()
    labelled_tar(tmp_path / f"{start}trainers-000.tar")
    assert len(load_image_set(tmp_path)) == 18
