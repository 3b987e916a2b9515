"""Which photos an export is proven on."""

import tarfile

import cv2
import numpy as np
import pytest
from ppclas_core.errors import DataError
from ppclas_deploy.photos import choose_photos


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / "photos" / name / f"{index}.png"), pixels)
    return tmp_path / "photos"


def test_built_in_photos_are_spread_over_their_classes(bundle):
    photos = choose_photos(bundle, None, 16)
    assert photos.origin == "the built-in photos"
    assert len({path.parent.name for path in photos.paths}) == 8
    assert len(photos.paths) == 16


def test_photos_that_are_named(bundle, folder):
    photos = choose_photos(bundle, str(folder), 4)
    assert photos.names() == ["a/0.png", "a/2.png", "b/0.png", "b/2.png"]
    assert choose_photos(bundle, str(folder / "b" / "1.png"), 4).names() == ["b/1.png"]
    assert len(choose_photos(bundle, str(folder), 100).paths) == 8


def test_an_unreadable_photo_is_passed_over_and_named(bundle, folder):
    (folder / "a" / "2.png").write_bytes(b"no photo")
    photos = choose_photos(bundle, str(folder), 4)
    assert photos.names() == ["a/0.png", "a/3.png", "b/0.png", "b/2.png"]
    assert len(photos.notes) == 1
    assert "2.png" in photos.notes[0]


def test_no_readable_photo_is_an_error(bundle, folder):
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="expected at least one readable photo, found none of 8"):
        choose_photos(bundle, str(folder), 4)


def test_a_run_knows_its_validation_photos(make_bundle, folder, tmp_path):
    bundle = make_bundle(tmp_path / "run" / "bundle")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(f"data: {{train: {folder}, val: {folder}}}\n")
    photos = choose_photos(bundle, None, 4)
    assert photos.origin == "the run's validation photos"
    assert {path.parent.parent for path in photos.paths} == {folder}


def test_a_run_whose_photos_are_gone_says_so(make_bundle, tmp_path):
    bundle = make_bundle(tmp_path / "run" / "bundle")
    (tmp_path / "run" / "config.yaml").write_text(f"data: {{train: {tmp_path / 'gone'}}}\n")
    photos = choose_photos(bundle, None, 4)
    assert photos.origin == "the built-in photos"
    assert "validation photos cannot be used" in photos.notes[0]


def test_an_unreadable_stretch_is_left_out(bundle, folder):
    """Two photos to choose from in a stretch, and neither can be read."""
    for name in ("0.png", "1.png"):
        (folder / "a" / name).write_bytes(b"no photo")
    photos = choose_photos(bundle, str(folder), 4)
    assert photos.names() == ["a/2.png", "b/0.png", "b/2.png"]
    assert [note.split(":")[0].rsplit("/", 1)[1] for note in photos.notes] == ["0.png", "1.png"]


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (1, ["a/0.png"]),
        (2, ["a/0.png", "b/0.png"]),
        (3, ["a/0.png", "a/2.png", "b/1.png"]),  # stretches begin at 0, 8/3 and 16/3
        (8, [f"{folder}/{index}.png" for folder in "ab" for index in range(4)]),
    ],
)
def test_they_are_spread_evenly(bundle, folder, count, names):
    assert choose_photos(bundle, str(folder), count).names() == names


def test_a_list_of_files(bundle, folder):
    (folder / "list.txt").write_text("b/3.png 0\na/1.png 1\n")
    assert choose_photos(bundle, str(folder / "list.txt"), 9).names() == ["b/3.png", "a/1.png"]


def test_where_there_is_nothing(bundle, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        choose_photos(bundle, str(tmp_path / "empty"), 4)


def test_a_run_in_archives_takes_the_built_in_ones_and_says_why(make_bundle, folder, tmp_path):
    bundle = make_bundle(tmp_path / "run" / "bundle")
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(folder, arcname="photos")
    config = f"data: {{train: {tmp_path / 'photos.tar'}, val: {tmp_path / 'photos.tar'}}}\n"
    (tmp_path / "run" / "config.yaml").write_text(config)
    photos = choose_photos(bundle, None, 4)
    assert photos.origin == "the built-in photos"
    assert len(photos.notes) == 1
    assert "cannot be used" in photos.notes[0]
