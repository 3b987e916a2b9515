"""Which photos calibrate and which judge: of a run, of an export, of both at once."""

import numpy as np
import pytest
from PIL import Image
from ppclas_core.bundle import Bundle
from ppclas_core.errors import DataError
from ppclas_data.loading.pipeline import bundle_pipeline
from ppclas_deploy.quantize.photos import choose, read


def write_photos(folder, count, seed=0):
    """``count`` photos of each of the classes a and b."""
    rng = np.random.default_rng(seed)
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{index:02}.png")
    return folder


@pytest.fixture
def run(tmp_path, make_export):
    """A bundle inside a run with 10 photos to train on and 6 to validate, and their folders."""
    pytest.importorskip("onnx", reason="needs the extra [onnx]")
    train, val = write_photos(tmp_path / "train", 5), write_photos(tmp_path / "val", 3, seed=1)
    bundle = make_export(tmp_path / "run" / "bundle")
    (tmp_path / "run" / "config.yaml").write_text(f"data: {{train: {train}, val: {val}}}\n")
    return Bundle.load(bundle.folder), train, val


def paths(images):
    return [record.path for record in images.records]


class TestChoose:
    def test_a_run_calibrates_on_its_training_photos_and_is_judged_by_the_others(self, run):
        bundle, train, val = run
        chosen = choose(bundle, None, None, count=4, judged=3)
        assert (len(chosen.calibrate), len(chosen.pool), len(chosen.judge)) == (4, 10, 3)
        assert all(path.startswith(str(train)) for path in paths(chosen.pool))
        assert all(path.startswith(str(val)) for path in paths(chosen.judge))
        assert set(paths(chosen.calibrate)) <= set(paths(chosen.pool))
        assert {record.label for record in chosen.calibrate.records} == {0, 1}  # spread
        assert chosen.labelled
        assert chosen.notes == ()

    def test_what_is_named_comes_before_the_runs_own(self, run, tmp_path):
        bundle, train, val = run
        other = write_photos(tmp_path / "other", 2, seed=2)
        named = choose(bundle, str(other), None, count=99, judged=99)
        assert (len(named.calibrate), len(named.judge)) == (4, 6)
        assert all(path.startswith(str(val)) for path in paths(named.judge))
        judged = choose(bundle, None, str(other), count=99, judged=99)
        assert all(path.startswith(str(train)) for path in paths(judged.calibrate))
        assert all(path.startswith(str(other)) for path in paths(judged.judge))
        assert judged.labelled

    def test_photos_of_the_judgement_never_calibrate(self, run):
        """The training photos are named for judging: only the five of class a are left."""
        bundle, train, _ = run
        (train / "list.txt").write_text("".join(f"b/{index:02}.png 1\n" for index in range(5)))
        chosen = choose(bundle, None, str(train / "list.txt"), count=99, judged=99)
        assert sorted(paths(chosen.calibrate)) == sorted(map(str, (train / "a").iterdir()))
        assert len(chosen.judge) == 5

    def test_the_same_folder_by_another_name_is_the_same(self, run, tmp_path):
        bundle, train, _ = run
        (tmp_path / "link").symlink_to(train)
        chosen = choose(bundle, str(train), str(tmp_path / "link"), count=99, judged=99)
        assert (len(chosen.calibrate), len(chosen.judge)) == (2, 8)  # a fifth calibrates
        assert "share" in chosen.notes[0]

    def test_without_labels_what_is_left_over_judges(self, run):
        bundle, train, _ = run
        (bundle.folder.parent / "config.yaml").unlink()
        chosen = choose(bundle, str(train), None, count=2, judged=99)
        assert not chosen.labelled
        assert not set(paths(chosen.calibrate)) & set(paths(chosen.judge))
        assert chosen.notes[0].startswith("No labelled photos (--data)")

    def test_one_photo_cannot_do_both(self, run):
        bundle, train, _ = run
        (bundle.folder.parent / "config.yaml").unlink()
        with pytest.raises(
            DataError, match=r"no photo is left to judge by\. Name some with --data"
        ):
            choose(bundle, str(train / "a" / "00.png"), None, count=2, judged=99)


class TestRead:
    def test_pixels_and_labels_in_order(self, run):
        bundle, _, _ = run
        chosen = choose(bundle, None, None, count=99, judged=99)
        seen = []
        pixels, labels = read(chosen.judge, bundle_pipeline(bundle), lambda: seen.append(1))
        assert pixels.shape == (6, 4, 5, 3)
        assert pixels.dtype == np.uint8
        assert labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert seen == [1]  # one batch

    def test_photos_of_which_none_can_be_read(self, run):
        bundle, _, val = run
        for path in val.rglob("*.png"):
            path.write_bytes(b"no photo")
        with pytest.raises(DataError):
            read(choose(bundle, None, None, count=9, judged=9).judge, bundle_pipeline(bundle))
