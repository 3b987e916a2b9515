"""The loader: the same batches whatever reads them; whatever goes wrong ends it plainly."""

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from ppclas_core.contracts.data import ImageSet, Record, Transform
from ppclas_core.errors import DataError, TrainingError
from ppclas_data.decoding.decode import decode
from ppclas_data.loading.loader import Loader, allowed_bad
from ppclas_data.loading.pipeline import Pipeline
from ppclas_data.loading.sampling import count_batches, cut, epoch_order
from ppclas_data.transforms.basic import Normalize, Resize


class Grows(Transform):
    """The pixel says which epoch it is and what was drawn."""

    def __call__(self, image, draw):
        return np.full((1, 1, 3), (draw.epoch, draw.epochs, draw.rng.integers(256)), np.uint8)


def test_draws_that_come_again_leave_the_epoch_as_it_is(photos):
    with Loader(
        photos.subset(range(4)), Pipeline([Grows()]), 4, epochs=5, repeat_draws_after=2
    ) as loader:
        seen = np.stack([next(loader.epoch(epoch)).images[:, 0, 0] for epoch in range(5)])
    assert (seen[..., 0] == np.arange(5)[:, None]).all()
    assert (seen[..., 1] == 5).all()
    np.testing.assert_array_equal(seen[0, :, 2], seen[2, :, 2])
    np.testing.assert_array_equal(seen[1, :, 2], seen[3, :, 2])
    assert (seen[0, :, 2] != seen[1, :, 2]).any()


def contents(batches):
    return [
        (b.position, b.images.tobytes(), b.labels.tolist(), b.indices.tolist()) for b in batches
    ]


# Order


def test_every_image_once_an_epoch_in_another_order_each():
    orders = [
        np.concatenate(
            cut(epoch_order(103, shuffle=True, seed=seed, epoch=epoch), 10, drop_last=False)
        ).tolist()
        for seed, epoch in [(0, 0), (0, 1), (1, 0)]
    ]
    assert all(sorted(order) == list(range(103)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    plain = cut(epoch_order(103, shuffle=False, seed=0, epoch=5), 10, drop_last=False)
    assert np.concatenate(plain).tolist() == list(range(103))


@pytest.mark.parametrize(
    ("images", "batch", "drop_last", "count"),
    [
        (100, 10, True, 10),
        (105, 10, True, 10),
        (105, 10, False, 11),
        (7, 10, True, 1),
        (7, 10, False, 1),
        (0, 10, True, 0),
    ],
)
def test_number_of_batches(images, batch, drop_last, count):
    assert count_batches(images, batch, drop_last=drop_last) == count
    batches = cut(epoch_order(images, shuffle=True, seed=0, epoch=0), batch, drop_last=drop_last)
    assert len(batches) == count


# Contents


def test_the_same_batches_with_any_number_of_workers(photos, pipeline):
    seen = []
    for workers in (0, 1, 2):
        with Loader(photos, pipeline, 8, shuffle=True, seed=5, epochs=2, workers=workers) as loader:
            seen.append([contents(loader.epoch(epoch)) for epoch in (0, 1)])
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0] != seen[0][1]
    assert [position for position, *_ in seen[0][0]] == list(range(7))
    assert sorted(i for _, _, _, indices in seen[0][0] for i in indices) == list(range(50))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_be_entered_anywhere(photos, pipeline, workers):
    with Loader(photos, pipeline, 8, shuffle=True, workers=workers) as loader:
        whole = contents(loader.epoch(3))
        assert contents(loader.epoch(3, start=4)) == whole[4:]
        assert contents(loader.epoch(3, start=7)) == []


def test_batches_hold_what_they_say(photos):
    pipeline = Pipeline([Resize(size=100)])
    with Loader(photos, pipeline, 20, workers=1) as loader:
        batches = list(loader.epoch(0))
    assert [len(batch.labels) for batch in batches] == [20, 20, 10]
    assert batches[0].images.shape == (20, 100, 100, 3)
    assert batches[0].images.dtype == np.uint8
    assert batches[0].labels.dtype == batches[0].indices.dtype == np.int64
    for batch in batches:
        assert batch.labels.tolist() == photos.labels()[batch.indices].tolist()
        assert batch.wait_seconds >= 0
    image = cv2.resize(decode(photos.read(27), "photo"), (100, 100))
    np.testing.assert_array_equal(batches[1].images[7], image)


def test_float_images_from_a_normalising_list(photos):
    with Loader(photos, Pipeline([Resize(size=8), Normalize()]), 50, workers=1) as loader:
        (batch,) = loader.epoch(0)
    assert batch.images.dtype == np.float32
    assert -2.2 < batch.images.min() < batch.images.max() < 2.7


def test_transforms_learn_the_epoch(photos, outside):
    with Loader(photos, Pipeline([outside.Epoch()]), 50, epochs=9, workers=1) as loader:
        assert [next(loader.epoch(epoch)).images[0, 0, 0, 0] for epoch in (0, 4)] == [9, 49]


def test_an_abandoned_epoch_leaves_nothing_in_the_next(photos, pipeline):
    with Loader(photos, pipeline, 4, shuffle=True, workers=2) as loader:
        for _ in range(3):
            next(loader.epoch(0))
        got = contents(loader.epoch(1))
    with Loader(photos, pipeline, 4, shuffle=True) as loader:
        assert got == contents(loader.epoch(1))


def test_two_epochs_at_a_time_are_refused(photos, pipeline):
    # Each would take the other's answers and wait for ever.
    with Loader(photos, pipeline, 8, workers=1) as loader:
        first = loader.epoch(0)
        next(first)
        next(loader.epoch(1))
        with pytest.raises(TrainingError, match="expected one epoch at a time"):
            list(first)
        assert len(list(loader.epoch(2))) == 7


def test_a_photo_that_takes_long_does_not_fill_the_memory(tmp_path, outside):
    records = []
    for index in range(60):
        path = tmp_path / f"{index}.png"
        path.write_bytes(cv2.imencode(".png", np.full((8, 8, 3), not index, np.uint8))[1].tobytes())
        records.append(Record(str(path), 0, str(path)))
    (tmp_path / "read").mkdir()
    pipeline = Pipeline([outside.Waits(folder=str(tmp_path / "read"), trial=os.getpid())])
    with Loader(ImageSet(tuple(records), ("a",), "memory"), pipeline, 1, workers=2) as loader:
        batches = list(loader.epoch(0))
    # The first photo says how many were read while it was waited for.
    assert 0 < batches[0].images.max() <= 12
    assert [batch.position for batch in batches] == list(range(60))


def test_transforms_may_print(photos, outside, capfd):
    with Loader(photos, Pipeline([Resize(size=8), outside.Talks()]), 25, workers=1) as loader:
        assert len(list(loader.epoch(0))) == 2
    assert "hello from a transform" in capfd.readouterr().err


def test_a_reader_of_archives_can_subclass_the_image_set(outside, tmp_path):
    # What a worker reads goes through ImageSet.read, wherever the bytes are.
    (tmp_path / "inline_set.py").write_text(
        "from ppclas_core.contracts.data import ImageSet\n"
        "class Inline(ImageSet):\n"
        "    def read(self, index):\n"
        "        return bytes.fromhex(self.records[index].path)\n"
        "class Lost(ImageSet):\n"
        "    def read(self, index):\n"
        "        raise KeyError('no such member')\n"
    )
    import inline_set

    encoded = cv2.imencode(".png", np.full((4, 4, 3), 9, np.uint8))[1].tobytes().hex()
    image_set = inline_set.Inline((Record(encoded, 0, "here"),) * 3, ("a",), "memory")
    with Loader(image_set, Pipeline([]), 3, workers=1) as loader:
        (batch,) = loader.epoch(0)
    assert (batch.images == 9).all()

    loader = Loader(
        inline_set.Lost(image_set.records, ("a",), "memory"), Pipeline([]), 3, workers=1
    )
    with (
        loader,
        pytest.raises(
            TrainingError, match="a loader worker failed: KeyError: 'no such member'"
        ) as caught,
    ):
        list(loader.epoch(0))
    assert "in read" in str(caught.value.__cause__)
    del sys.modules["inline_set"]


# Bad images


@pytest.fixture
def spoilt(tmp_path):
    """40 images of which number 5 is text and number 11 is missing."""
    records = []
    for index in range(40):
        path = tmp_path / f"{index}.png"
        path.write_bytes(cv2.imencode(".png", np.full((8, 8, 3), index, np.uint8))[1].tobytes())
        records.append(Record(str(path), index % 2, f"list.txt:{index + 1}"))
    Path(records[5].path).write_text("no image")
    Path(records[11].path).unlink()
    return ImageSet(tuple(records), ("a", "b"), "list.txt")


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_images_are_left_out_and_reported_once(spoilt, workers):
    told = []
    with Loader(
        spoilt, Pipeline([]), 10, workers=workers, max_bad_fraction=0.05, on_bad=told.append
    ) as loader:
        sizes = [len(batch.labels) for _ in range(2) for batch in loader.epoch(0)]
    assert sizes == [9, 9, 10, 10] * 2
    assert [(bad.index, bad.where, bad.reason) for bad in told] == [
        (5, "list.txt:6", f"{spoilt.records[5].path}: not an image: it looks like text"),
        (11, "list.txt:12", f"{spoilt.records[11].path}: No such file or directory"),
    ]
    assert loader.bad_images == told


@pytest.mark.parametrize("workers", [0, 1])
def test_more_bad_images_than_allowed(spoilt, workers):
    loader = Loader(spoilt, Pipeline([]), 10, workers=workers, max_bad_fraction=0.04)
    with loader, pytest.raises(DataError) as caught:
        list(loader.epoch(0))
    assert str(caught.value).startswith(
        "expected at most 4.0% unreadable images in list.txt, got 2 of 40 so far: "
        f"list.txt:6: {spoilt.records[5].path}: not an image: it looks like text; list.txt:12: "
    )
    assert "\n" not in str(caught.value)


def test_a_batch_of_bad_images_is_passed_over(spoilt):
    with Loader(spoilt, Pipeline([]), 1, max_bad_fraction=0.1) as loader:
        positions = [batch.position for batch in loader.epoch(0)]
    assert positions == [i for i in range(40) if i not in (5, 11)]


@pytest.mark.parametrize(
    ("fraction", "total", "allowed"),
    [(0.01, 500, 5), (0.01, 20, 1), (0.01, 1, 0), (0.0, 20, 0), (1.0, 20, 19)],
)
def test_a_small_set_may_have_one_unreadable_photo(fraction, total, allowed):
    assert allowed_bad(fraction, total)[0] == allowed
