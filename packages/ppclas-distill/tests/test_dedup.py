"""Validation photos hidden in a pool are found, and photos that are none are left alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from ppclas_core.errors import DataError, ImageError
from ppclas_data.builtin import builtin_photos
from ppclas_distill.dedup import DedupOptions, LookAlikes
from ppclas_distill.dedup_report import dedup

FLOWERS = Path(__file__).parents[4] / "shared" / "data" / "flowers14"
RNG = np.random.default_rng(0)


def crop(photo, least, most):
    """A random part of the photo with that share of its area."""
    height, width = photo.shape[:2]
    area, ratio = RNG.uniform(least, most), RNG.uniform(0.85, 1.18)
    rows = min(height, int(height * np.sqrt(area / ratio)))
    columns = min(width, int(width * np.sqrt(area * ratio)))
    top, left = RNG.integers(0, height - rows + 1), RNG.integers(0, width - columns + 1)
    return photo[top : top + rows, left : left + columns]


def brighter(photo):
    changed = photo.astype(float) * RNG.uniform(0.6, 1.5) + RNG.uniform(-30, 30)
    return np.clip(changed, 0, 255).astype(np.uint8)


DISGUISES = {
    "mirrored": lambda photo: photo[:, ::-1],
    "cropped": lambda photo: crop(photo, 0.5, 0.9),
    "recompressed": lambda photo: photo,
    "brighter": brighter,
    "smaller": lambda photo: cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "squeezed": lambda photo: cv2.resize(crop(photo, 0.7, 1.0), (160, 160)),
    "all at once": lambda photo: brighter(crop(photo, 0.5, 0.9)[:, ::-1]),
}


def plant(photo, disguise, folder):
    changed = np.ascontiguousarray(DISGUISES[disguise](cv2.imread(str(photo))))
    path = folder / f"{disguise.replace(' ', '_')}_{Path(photo).stem}.jpg"
    quality = 30 if disguise in ("recompressed", "all at once") else 90
    assert cv2.imwrite(str(path), changed, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


def test_planted_photos_are_found_and_written_down(tmp_path):
    photos = sorted((builtin_photos() / "train").rglob("*.jpg"))
    validation, others = photos[::16], photos[5::16]
    for folder in ("val", "pool", "planted"):
        (tmp_path / folder).mkdir()
    for photo in validation:
        (tmp_path / "val" / f"{photo.parent.name}_{photo.name}").write_bytes(photo.read_bytes())
    for photo in others:
        (tmp_path / "pool" / f"{photo.parent.name}_{photo.name}").write_bytes(photo.read_bytes())
    hidden = {}
    for number, disguise in enumerate(DISGUISES):
        known = sorted((tmp_path / "val").iterdir())[number]
        hidden[str(plant(known, disguise, tmp_path / "pool"))] = str(known)
    (tmp_path / "pool" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photo")
    report = dedup(str(tmp_path / "pool"), str(tmp_path / "val"), tmp_path / "out")
    found = {match.pool: match.validation for match in report.matches}
    assert found.items() <= hidden.items()
    assert len(found) >= len(hidden) - 1
    assert {Path(m.pool).stem.split("_")[0] for m in report.matches if m.mirrored} <= {
        "mirrored",
        "all",
    }
    assert (report.photos, report.against) == (len(others) + len(hidden) + 1, len(validation))
    assert len(report.unreadable) == 1
    kept = (tmp_path / "out" / "kept.txt").read_text().splitlines()
    assert set(kept) == {str(path) for path in (tmp_path / "pool").iterdir()} - found.keys() - {
        str(tmp_path / "pool" / "broken.jpg")
    }
    rows = list(csv.DictReader((tmp_path / "out" / "removed.csv").read_text().splitlines()))
    assert {row["pool"]: row["validation"] for row in rows} == found
    assert len(json.loads((tmp_path / "out" / "removed.json").read_text())["removed"]) == len(found)
    sheet = cv2.imread(str(tmp_path / "out" / "removed.png"))
    pairs_a_row = 4
    assert sheet.shape[1] == pairs_a_row * (2 * 180 + 4 + 14) + 14
    assert sheet.shape[0] > 2 * 180  # a second row


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Two validation photos and a pool of four, of which the first is a known part of the first."""
    folder = tmp_path_factory.mktemp("few")
    photos = sorted((builtin_photos() / "train").rglob("*.jpg"))
    for name, chosen in (("val", photos[:20:10]), ("pool", photos[5:60:20])):
        (folder / name).mkdir()
        for number, photo in enumerate(chosen):
            (folder / name / f"{number}.jpg").write_bytes(photo.read_bytes())
    known = cv2.imread(str(folder / "val" / "0.jpg"))
    height, width = known.shape[:2]
    part = known[height // 4 :, : width * 3 // 4, :][:, ::-1]
    assert cv2.imwrite(str(folder / "pool" / "00.jpg"), part)
    return folder


def test_names_that_are_not_utf8_lose_nothing(tmp_path):
    photo = next((builtin_photos() / "train").rglob("*.jpg"))
    for name in ("val/caf\udce9.jpg", "pool/cafe.jpg", "pool/caf\udce8.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(photo.read_bytes())
    report = dedup(str(tmp_path / "pool"), str(tmp_path / "val"), tmp_path / "out")
    assert [Path(match.pool).name for match in report.matches] == ["cafe.jpg"]
    assert ["caf\udce8.jpg: its name is not UTF-8" in text for text in report.unreadable] == [True]
    assert "val/caf\\udce9.jpg" in (tmp_path / "out" / "removed.csv").read_text()
    assert (tmp_path / "out" / "removed.png").stat().st_size > 1000


def test_the_outline_is_where_the_photo_was_cut(few):
    (match,) = (
        m
        for p in sorted((few / "pool").iterdir())
        if (m := LookAlikes([str(few / "val" / "0.jpg")]).find(str(p)))
    )
    assert Path(match.pool).name == "00.jpg"
    assert match.mirrored
    # The left three quarters of its lower three, mirrored: its top left corner is their top right
    # one.
    np.testing.assert_allclose(
        match.outline, [(0.75, 0.25), (0.0, 0.25), (0.0, 1.0), (0.75, 1.0)], atol=0.03
    )


def test_each_list_has_a_root_of_its_own(few, tmp_path):
    (tmp_path / "pool.txt").write_text("00.jpg\n")
    (tmp_path / "val.txt").write_text("0.jpg 3\n1.jpg 4\n")
    lists = str(tmp_path / "pool.txt"), str(tmp_path / "val.txt")
    report = dedup(*lists, tmp_path / "out", root=str(few / "pool"), against_root=str(few / "val"))
    assert [Path(match.validation).name for match in report.matches] == ["0.jpg"]


def test_a_stopped_comparison_goes_on(few, tmp_path):
    def run(folder, **given):
        said: list[str] = []
        dedup(str(few / "pool"), str(few / "val"), folder, threads=1, note=said.append, **given)
        return said

    run(tmp_path / "whole")
    looked = 0

    def stop(count):
        nonlocal looked
        looked += count
        if looked == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", on_photo=stop)
    progress = tmp_path / "stopped" / "progress.jsonl"
    with open(progress, "a") as file:
        file.write('["half a li')  # what a kill leaves
    left = progress.read_bytes()
    rest: list[int] = []
    assert "going on after 2 photos of the pool" in run(tmp_path / "stopped", on_photo=rest.append)
    assert len(rest) == 2
    names = ("kept.txt", "removed.csv", "removed.json", "removed.png")
    assert sorted(path.name for path in (tmp_path / "stopped").iterdir()) == sorted(names)
    for name in names:
        assert (tmp_path / "stopped" / name).read_bytes() == (
            tmp_path / "whole" / name
        ).read_bytes()
    # What was found with other options is of no use.
    progress.write_bytes(left)
    said = run(tmp_path / "stopped", options=DedupOptions(inliers=20))
    assert any("other photos or with other options: starting anew" in line for line in said)


def test_what_cannot_be_compared_is_an_error(tmp_path):
    (tmp_path / "val").mkdir()
    with pytest.raises(DataError, match="expected validation photos, found none"):
        dedup(str(tmp_path), str(tmp_path / "val"), tmp_path / "out")
    (tmp_path / "val" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photo")
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        dedup(str(tmp_path), str(tmp_path / "val"), tmp_path / "out")


def flowers(part):
    if not FLOWERS.is_dir():
        pytest.skip(f"needs the photos in {FLOWERS}, which are not part of the repository")
    return [
        str(FLOWERS / line.split()[0])
        for line in (FLOWERS / f"{part}_list.txt").read_text().splitlines()
    ]


REAL = {
    ("image_00816", "image_00850"),
    ("image_01870", "image_01840"),
    ("image_00824", "image_00850"),
    ("image_01488", "image_01404"),
    ("image_01937", "image_01923"),
}
"""Looked at: other crops of a validation photo (of 00850 two), and one flower at two zooms of one
moment (01870)."""


@pytest.mark.slow
def test_recall_on_real_photos(tmp_path):
    validation = flowers("val")[::7]
    look_alikes = LookAlikes(validation)
    found = []
    for number, photo in enumerate(validation):
        path = plant(photo, list(DISGUISES)[number % len(DISGUISES)], tmp_path)
        match = look_alikes.find(str(path))
        found.append(match is not None and match.validation == photo)
    assert np.mean(found) >= 0.95


@pytest.mark.sweep
def test_no_false_removal_on_real_photos():
    look_alikes = LookAlikes(flowers("val"))
    matches = [look_alikes.find(path) for path in (*flowers("train"), *flowers("extra"))]
    pairs = {(Path(m.pool).stem, Path(m.validation).stem) for m in matches if m is not None}
    assert pairs <= REAL
