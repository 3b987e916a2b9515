"""Data sets as their authors publish them: fetched, checked, unpacked, listed."""

import hashlib
import io
import shutil
import tarfile

import numpy as np
import pytest
from ppclas_core.config.schema import DataSection
from ppclas_core.errors import DataError, WeightsError
from ppclas_data.builtin import builtin_photos
from ppclas_data.published import FLOWERS102, PublishedFile, PublishedSet, fetch_flowers
from ppclas_data.sources.splits import open_splits
from scipy.io import savemat

PHOTO = next(builtin_photos().rglob("*.jpg")).read_bytes()
NAMES = [f"jpg/image_{number:05d}.jpg" for number in range(1, 6)]


def archive(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def published(folder, members=None):
    """A set of five photos, as the three files of flowers102."""
    folder.mkdir()
    archive(folder / "102flowers.tgz", members or [(name, PHOTO) for name in NAMES])
    savemat(folder / "imagelabels.mat", {"labels": np.uint8([[1, 2, 1, 2, 1]])})
    savemat(folder / "setid.mat", {"trnid": [1, 2], "valid": [3], "tstid": [4, 5]})
    files = [
        PublishedFile(name, hashlib.md5((folder / name).read_bytes()).hexdigest(), 10**6)
        for name in ("102flowers.tgz", "imagelabels.mat", "setid.mat")
    ]
    return PublishedSet(folder.as_uri(), *files, photos=5)


def copying(url, target, check, most):
    """In place of a network: an address of files."""
    shutil.copy(url.removeprefix("file://"), target)
    check(target)


def test_the_lists_are_ready_for_training_and_for_distillation(tmp_path):
    notes = []
    source = published(tmp_path / "there")
    written = fetch_flowers(tmp_path / "here", copying, notes, published=source)
    lines = {one.path.rpartition("/")[2]: one.num_lines for one in written}
    assert lines == {
        "train_list.txt": 2,
        "val_list.txt": 1,
        "test_list.txt": 2,
        "extra_list.txt": 2,
    }
    assert (tmp_path / "here" / "jpg" / "image_00003.jpg").read_bytes() == PHOTO
    assert (tmp_path / "here" / "extra_list.txt").read_text() == "".join(
        f"{name}\n" for name in NAMES[3:]
    )
    splits = open_splits(DataSection(train=str(tmp_path / "here" / "train_list.txt")))
    assert [record.label for record in splits.train.records] == [0, 1]
    # Again: nothing is fetched, nothing changes.
    again = fetch_flowers(tmp_path / "here", None, notes, published=source)
    assert again == []
    assert "are kept" in notes[-1]


def test_a_mirror_takes_the_place_of_the_address(tmp_path):
    source = published(tmp_path / "there")
    moved = (tmp_path / "there").rename(tmp_path / "mirror")
    asked = []

    def fetch(url, *others):
        asked.append(url)
        copying(url, *others)

    fetch_flowers(tmp_path / "here", fetch, [], mirror=moved.as_uri() + "/", published=source)
    assert asked[0] == f"{moved.as_uri()}/imagelabels.mat"


def test_another_file_than_the_published_one_is_refused(tmp_path):
    source = published(tmp_path / "there")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "setid.mat").write_bytes(b"mine")
    with pytest.raises(WeightsError, match=r"setid\.mat has the MD5 .* instead of"):
        fetch_flowers(tmp_path / "here", copying, [], published=source)
    assert (tmp_path / "here" / "setid.mat").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([("jpg/image_00006.jpg", PHOTO)], "is one more"),
        ([], "expected 5 photos in jpg/, found 4"),
        ([("jpg/image_00005.jpg", bytes(5 << 20))], "5,242,880"),
        ([("../image_00005.jpg", PHOTO)], "found 4"),
        ([("jpg/../../image_00005.jpg", PHOTO)], "found 4"),
        ([("/tmp/image_00005.jpg", PHOTO)], "found 4"),
        ([("jpg/image_00005.jpg", "/etc/passwd")], "found 4"),
    ],
)
def test_an_archive_with_something_else_in_it(tmp_path, more, said):
    members = [(name, PHOTO) for name in NAMES[: 5 if said == "is one more" else 4]]
    source = published(tmp_path / "there", members + more)
    with pytest.raises(DataError, match=said):
        fetch_flowers(tmp_path / "here", copying, [], published=source)
    found = {path.name for path in tmp_path.rglob("*.jpg")}
    assert found <= {name.rpartition("/")[2] for name in NAMES}
    assert all(path.parent.name == "jpg" for path in tmp_path.rglob("*.jpg"))


def test_a_damaged_archive_is_one_line(tmp_path):
    source = published(tmp_path / "there")
    (tmp_path / "here").mkdir()
    whole = (tmp_path / "there" / "102flowers.tgz").read_bytes()
    cut = PublishedFile("102flowers.tgz", hashlib.md5(whole[:-99]).hexdigest(), 10**6)
    (tmp_path / "there" / "102flowers.tgz").write_bytes(whole[:-99])
    damaged = PublishedSet(source.address, cut, source.labels, source.split, 5)
    with pytest.raises(DataError, match=r"cannot be unpacked|found"):
        fetch_flowers(tmp_path / "here", copying, [], published=damaged)


def test_the_published_set_is_that_of_the_paper():
    # Nilsback & Zisserman 2008: 8189 images, 102 classes.
    assert FLOWERS102.photos == 8189
    assert FLOWERS102.archive.size == 344_862_509
