"""Statistics by hand, and photos that look alike."""

import json

import cv2
import numpy as np
import pytest
from ppclas_core.config.schema import DataSection
from ppclas_data.builtin import builtin_photos
from ppclas_data.decoding.decode import decode
from ppclas_data.inspection.check import check_data
from ppclas_data.inspection.likeness import alike, picture_hash
from ppclas_data.inspection.statistics import measure
from ppclas_data.sources.opening import load_image_set


def test_statistics_by_hand(tmp_path):
    for name, values in {"a/1": (0, 0, 255), "a/2": (51, 0, 255), "b/1": (255, 0, 255)}.items():
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = np.zeros((10, 20, 3), np.uint8)
        pixels[:, :10] = values  # half of it; the other half is black
        path.write_bytes(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())
    (tmp_path / "b" / "bad.png").write_text("text")
    found = measure(load_image_set(tmp_path))
    assert (found.num_images, found.num_unreadable) == (4, 1)
    assert found.class_counts == {"0 a": 2, "1 b": 2}
    assert found.mean == pytest.approx((1.2 / 6, 0, 0.5), abs=1e-4)
    assert found.std == pytest.approx((np.sqrt((0.04 + 1) / 6 - 0.04), 0, 0.5), abs=1e-4)
    assert (found.height.median, found.width.median) == (10, 20)
    assert json.loads(json.dumps(found.to_dict()))["mean"] == list(found.mean)


@pytest.fixture(scope="module")
def pictures():
    return [
        decode(path.read_bytes(), "photo") for path in sorted(builtin_photos().rglob("*.jpg"))[::6]
    ]


def recompressed(image):
    return cv2.imdecode(
        cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR
    )


@pytest.mark.parametrize(
    "change",
    [
        recompressed,
        lambda image: cv2.resize(image, (90, 90), interpolation=cv2.INTER_AREA),
        lambda image: cv2.resize(image, (400, 300)),
        lambda image: image[:, ::-1].copy(),
        lambda image: (image * 0.7 + 20).astype(np.uint8),
    ],
    ids=["recompressed", "smaller", "stretched", "mirrored", "darker"],
)
def test_copies_are_found(pictures, change):
    originals = [picture_hash(image) for image in pictures]
    found = {
        (query, other)
        for query, other, _ in alike([picture_hash(change(image)) for image in pictures], originals)
    }
    assert len(found & {(i, i) for i in range(len(pictures))}) >= 0.9 * len(pictures)
    assert all(query == other for query, other in found)


def test_other_photos_are_not_alike(pictures):
    hashes = [picture_hash(image) for image in pictures]
    half = len(hashes) // 2
    assert not list(alike(hashes[:half], hashes[half:]))
    assert picture_hash(np.full((50, 50, 3), 90, np.uint8)) == b""
    assert not list(alike([b"", hashes[0]], [b""]))


def test_the_check_names_copies_across_sets(tmp_path):
    files = sorted(builtin_photos().rglob("*.jpg"))[::24]
    for part, chosen in (("train", files[:8]), ("val", files[8:])):
        for index, file in enumerate(chosen):
            path = tmp_path / part / "ab"[index % 2] / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read_bytes())
    assert not check_data(DataSection(train=str(tmp_path))).lookalikes
    original = tmp_path / "train" / "a" / files[2].name
    leaked = recompressed(decode(original.read_bytes(), "photo")[:, ::-1].copy())
    (tmp_path / "val" / "b" / "leaked.png").write_bytes(
        cv2.imencode(".png", leaked[..., ::-1])[1].tobytes()
    )
    report = check_data(DataSection(train=str(tmp_path)))
    assert [(one.train, one.val) for one in report.lookalikes] == [
        (str(original), str(tmp_path / "val" / "b" / "leaked.png"))
    ]
    assert any(
        "1 validation photo(s) show what a training photo shows" in text for text in report.warnings
    )
    assert report.ok
