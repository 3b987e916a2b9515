"""What a folder of photos contains: one rule, whoever asks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from ppclas_core.errors import DataError
from ppclas_data.decoding.formats import reads_heic
from ppclas_data.decoding.web import read_file
from ppclas_data.sources.opening import open_image_set
from ppclas_data.sources.photo_files import LeftOut, image_files
from ppclas_data.sources.unlabelled import load_unlabelled

SYSTEM = (
    "@eaDir/IMG_0.jpg/SYNOPHOTO_THUMB_M.jpg",
    "$RECYCLE.BIN/$R1.jpg",
    "#recycle/old.jpg",
    "@Recycle/old.jpg",
    ".@__thumb/s800.jpg",
    "System Volume Information/x.png",
    "lost+found/x.png",
    ".hidden/x.png",
    "__MACOSX/._x.jpg",
    "._0.jpg",
)
"""Where NAS systems, Windows, macOS and Linux put files with a photo's suffix."""


@pytest.fixture
def no_heic(monkeypatch):
    """An installation without pillow-heif."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    reads_heic.cache_clear()
    yield
    reads_heic.cache_clear()


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_of_systems_hold_no_photo_and_are_no_class(tmp_path):
    mine = [tmp_path / name / f"{number}.jpg" for name in ("a", "b", "c") for number in range(5)]
    _touch(*mine, *(tmp_path / path for path in SYSTEM))
    _touch(*(tmp_path / "a" / path for path in SYSTEM), *(tmp_path / "b/x" / p for p in SYSTEM))
    images = open_image_set(tmp_path)
    assert images.class_names == ("a", "b", "c")
    assert [record.path for record in images.records] == sorted(map(str, mine))
    said = " ".join(images.notes)
    assert "27 hidden folder(s), or folders of a system" in said  # 9 in each of 3 places
    assert (
        "2 hidden photo(s), which are side files of a system, are left out "
        f"(first: {tmp_path}/a/._0.jpg)" in said
    )


@pytest.mark.parametrize("marks", [("config.yaml", "metrics.jsonl"), ("bundle.json",)])
@pytest.mark.parametrize("place", ["runs/resnet-1", "run", "a/runs/resnet-1", "exported"])
def test_own_output_is_no_data(tmp_path, place, marks):
    _touch(*(tmp_path / name / "0.jpg" for name in ("a", "b")))
    _touch(*(tmp_path / place / mark for mark in marks), tmp_path / place / "confusion.png")
    _touch(tmp_path / place / "pictures" / "curves.png")
    images = open_image_set(tmp_path)
    assert images.class_names == ("a", "b")
    assert len(images) == 2
    assert any("folder(s) that ppclas wrote" in note and "runs" in note for note in images.notes)


SYSTEMS = [
    "@eaDir", "#recycle", ".@__thumb", "@Recycle", "@snapshot", "~snapshot", "@sharebin",
    "@__thumb", ".Trash-1000", "$RECYCLE.BIN", "RECYCLER", "FOUND.000", ".thumbnails",
    "Thumbnails", "__MACOSX", ".AppleDouble", "Temporary Items", "System Volume Information",
    "lost+found", ".ipynb_checkpoints", "__pycache__", "Photos Library.photoslibrary",
    "Lightroom Previews.lrdata",
]  # fmt: skip


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("place", ["{}", "rose/{}"])
def test_each_systems_folders_are_left_out_and_named(tmp_path, photo, name, place):
    for path in ("rose/0.png", "tulip/0.png", f"{place.format(name)}/rose.jpg/THUMB_M.jpg"):
        photo(tmp_path / path)
    left_out = LeftOut()
    found = image_files(tmp_path, left_out)
    assert [os.path.relpath(path, tmp_path) for path in found] == ["rose/0.png", "tulip/0.png"]
    assert name in " ".join(left_out.notes(tmp_path))


@pytest.mark.parametrize("name", ["trash", "thumbs", "recycling", "snapshots", "found", "@anna"])
def test_what_may_be_a_class_stays(tmp_path, photo, name):
    photo(tmp_path / name / "0.png")
    assert len(image_files(tmp_path)) == 1


@pytest.mark.parametrize(
    ("name", "form", "words"),
    [
        ("photo.1", ".jpg", "a JPEG"),
        ("photo.jpg.crdownload", ".jpg", "a JPEG"),
        ("photo.bin", ".png", "a PNG"),
        ("photo.tga", ".tiff", "a TIFF"),
        ("photo.img", ".webp", "a WebP"),
    ],
)
def test_a_photo_under_another_suffix_is_known_by_its_content(tmp_path, name, form, words):
    content = cv2.imencode(form, np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        (tmp_path / place / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"the first is {words} by its content, .* rename it"):
        open_image_set(tmp_path)


@pytest.mark.parametrize(
    "marks",
    [
        ("folds.json", "command.txt"),
        ("search.json", "trials.csv"),
        ("explain.json", "sheet.png"),
        ("audit.json", "audit.html"),
        ("removed.json", "kept.txt"),
        ("selected.csv", "selected.txt"),
    ],
)
@pytest.mark.parametrize("place", ["out", "a/out"])
def test_the_output_of_other_commands_is_no_data(tmp_path, photo, marks, place):
    for path in ("a/0.png", "b/0.png", f"{place}/page.png", f"{place}/below/page.png"):
        photo(tmp_path / path)
    for mark in marks:
        if not mark.endswith(".png"):
            (tmp_path / place / mark).write_text("")
        else:
            photo(tmp_path / place / mark)
    images = open_image_set(tmp_path)
    assert images.class_names == ("a", "b")
    assert len(images) == 2
    assert any("that ppclas wrote" in note for note in images.notes)


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_link_back_is_no_class(tmp_path, photo, target):
    top = tmp_path / "deep" / "photos"
    for path in ("a/0.png", "b/0.png"):
        photo(top / path)
    (top / "again").symlink_to(target)
    images = open_image_set(top)
    assert images.class_names == ("a", "b")
    assert len(images) == 2
    assert any("link(s) back" in note for note in images.notes)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_a_pipe_among_photos_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(OSError, match="a pipe or a device, not a file"):
        read_file(str(tmp_path / "a.jpg"))


def test_a_class_may_be_called_runs_and_have_a_config_in_it(tmp_path):
    _touch(tmp_path / "runs/0.jpg", tmp_path / "walks/0.jpg", tmp_path / "walks/config.yaml")
    assert open_image_set(tmp_path).class_names == ("runs", "walks")


def test_linked_folders_count_for_everybody(tmp_path):
    _touch(tmp_path / "elsewhere/3.jpg", tmp_path / "pool/a/1.jpg")
    (tmp_path / "pool/link").symlink_to(tmp_path / "elsewhere")
    wanted = [f"{tmp_path}/pool/a/1.jpg", f"{tmp_path}/pool/link/3.jpg"]
    assert image_files(tmp_path / "pool") == wanted
    assert [record.path for record in load_unlabelled(str(tmp_path / "pool"), None, [])] == wanted


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ("a/1.HEIC", "b/2.heic"),
            "2 other file(s): 2 .heic); they are HEIC photo(s), which pip install "
            "'ppclas-data[heic]' makes readable",
        ),
        (
            ("a/1.NEF", "a/2.jpg.txt"),
            "they are camera raw photo(s), to be exported as JPEG or TIFF first",
        ),
        (("a/1.jxl",), "they are JPEG XL photo(s), to be converted to PNG or JPEG first"),
        (("a/1", "b/2"), "2 other file(s): 2 without a suffix); a photo is known by its suffix"),
        (("a/1.jpg_large",), "1 .jpg_large); a photo is known by its suffix, so rename"),
        (("@eaDir/1.jpg",), "(0 other file(s)); 1 hidden folder(s)"),
    ],
)
def test_a_folder_without_photos_says_what_it_holds(tmp_path, no_heic, names, said):
    _touch(*(tmp_path / name for name in names))
    for ask in (open_image_set, lambda path: load_unlabelled(str(path), None, [])):
        with pytest.raises(DataError) as raised:
            ask(tmp_path)
        assert said in str(raised.value)


def test_what_is_left_out_is_counted_by_kind_and_suffix(tmp_path, no_heic):
    _touch(tmp_path / "a.jpg", tmp_path / "c.HEIC", tmp_path / ".d.jpg")
    _touch(*(tmp_path / name for name in ("e.txt", "f.mp4", "g.txt", "h")))
    left_out = LeftOut()
    assert image_files(tmp_path, left_out) == [f"{tmp_path}/a.jpg"]
    assert left_out.notes("here") == [
        "here: 1 hidden photo(s), which are side files of a system, are left out "
        f"(first: {tmp_path}/.d.jpg).",
        "here: 1 HEIC photo(s), which pip install 'ppclas-data[heic]' makes readable, are left out "
        f"(first: {tmp_path}/c.HEIC).",
        "here: 4 file(s) that are no photos by their name are left out: 2 .txt, 1 .mp4, 1 without "
        f"a suffix (first: {tmp_path}/e.txt, {tmp_path}/f.mp4, {tmp_path}/g.txt).",
    ]


def test_with_their_reader_heic_photos_are_photos(tmp_path):
    pytest.importorskip("pillow_heif")
    _touch(tmp_path / "a.jpg", tmp_path / "c.HEIC")
    assert image_files(tmp_path) == [f"{tmp_path}/a.jpg", f"{tmp_path}/c.HEIC"]
