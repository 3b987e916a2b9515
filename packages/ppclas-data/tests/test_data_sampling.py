"""Balanced, weighted and repeated sampling: counts by hand, and the same whatever reads."""

from collections import Counter

import numpy as np
import pytest
from ppclas_core.config.schema import SamplingConfig
from ppclas_core.contracts.data import SEVERAL, ImageSet, Record, sample_draw
from ppclas_core.errors import ConfigError
from ppclas_data.builtin import builtin_photos
from ppclas_data.loading.loader import Loader
from ppclas_data.loading.pipeline import Pipeline
from ppclas_data.loading.sampling import count_earlier, epoch_order, image_shares
from ppclas_data.sources.opening import load_image_set
from ppclas_data.transforms.basic import RandomResizedCrop

SIZES = (400, 80, 15, 5)


@pytest.fixture
def uneven():
    labels = [label for label, size in enumerate(SIZES) for _ in range(size)]
    records = tuple(Record(f"{i}.jpg", label, f"{i}.jpg") for i, label in enumerate(labels))
    return ImageSet(records, ("rose", "iris", "lily", "aster"), "memory")


def shown(images, sampling, epoch=0, seed=0):
    order = epoch_order(
        len(images), shuffle=True, seed=seed, epoch=epoch, shares=image_shares(images, sampling)
    )
    assert len(order) == len(images)
    return order, np.bincount(images.labels()[order], minlength=len(images.class_names)).tolist()


def test_balance_by_hand(uneven):
    assert shown(uneven, SamplingConfig())[1] == list(SIZES)
    order, counts = shown(uneven, SamplingConfig(balance=1.0))
    assert all(abs(count - 125) <= 1 for count in counts)
    # 5 images in 125 places: each 25 times, to within one.
    assert {count for image, count in Counter(order.tolist()).items() if image >= 495} <= {
        24,
        25,
        26,
    }
    roots = np.sqrt(SIZES)
    expected = 500 * roots / roots.sum()  # 299.7, 134.0, 58.0, 33.5
    assert np.abs(shown(uneven, SamplingConfig(balance=0.5))[1] - expected).max() <= 1


def test_weights_by_hand(uneven):
    weights = {"aster": 20.0, "rose": 0.5}
    expected = 500 * np.array([200, 80, 15, 100]) / 395
    assert np.abs(shown(uneven, SamplingConfig(weights=weights))[1] - expected).max() <= 1
    with pytest.raises(
        ConfigError,
        match=r"data.sampling.weights: memory has no class 'roses'. Did you mean 'rose'",
    ):
        image_shares(uneven, SamplingConfig(weights={"roses": 2.0}))


@pytest.mark.parametrize("factor", [1e-300, 1.0, 1.7e308])
def test_equal_weights_of_any_size_change_nothing(uneven, factor):
    weights = dict.fromkeys(uneven.class_names, factor)
    assert shown(uneven, SamplingConfig(weights=weights))[1] == list(SIZES)


def test_another_draw_each_epoch_and_every_image_in_time(uneven):
    epochs = [shown(uneven, SamplingConfig(balance=1.0), epoch)[0] for epoch in range(40)]
    assert len({tuple(order) for order in epochs}) == 40
    assert set(np.concatenate(epochs).tolist()) == set(range(500))
    np.testing.assert_array_equal(epochs[3], shown(uneven, SamplingConfig(balance=1.0), 3)[0])


def test_images_with_several_labels_follow_their_rarest():
    records = tuple(
        Record(f"{i}", SEVERAL, f"{i}", classes=classes)
        for i, classes in enumerate([(0,)] * 90 + [(0, 1)] * 10)
    )
    images = ImageSet(records, ("common", "rare"), "memory", task="multilabel")
    shares = image_shares(images, SamplingConfig(balance=1.0))
    assert shares.weights[:90].sum() == pytest.approx(90 / 100 / (90 / 100 + 1))
    assert shares.weights[90:].sum() == pytest.approx(1 / (90 / 100 + 1))


def test_repeats():
    order = epoch_order(96, shuffle=True, seed=0, epoch=0, repeats=3)
    assert len(order) == 96
    assert set(Counter(order.tolist()).values()) == {3}
    assert all(len(set(batch)) == 4 for batch in order.reshape(-1, 12).tolist())
    assert count_earlier(order).tolist() == [0, 1, 2] * 32
    assert count_earlier(np.array([5, 2, 5, 5, 2, 0])).tolist() == [0, 0, 1, 2, 1, 0]


@pytest.mark.parametrize("repeats", [2, 4])
def test_repeats_of_a_balanced_set_are_balanced(uneven, repeats):
    shares = image_shares(uneven, SamplingConfig(balance=1.0))
    order = epoch_order(500, shuffle=True, seed=0, epoch=0, shares=shares, repeats=repeats)
    counts = np.bincount(uneven.labels()[order], minlength=4)
    assert np.abs(counts - 125).max() <= repeats


def test_repeats_are_augmented_otherwise_and_the_same_whatever_reads():
    photos = load_image_set(builtin_photos() / "val").subset(range(0, 96, 4))
    pipeline, sampling = (
        Pipeline([RandomResizedCrop(size=32)]),
        SamplingConfig(repeats=2, balance=0.5),
    )
    read = []
    for workers in (0, 1):
        with Loader(
            photos, pipeline, 8, shuffle=True, workers=workers, sampling=sampling
        ) as loader:
            read.append([(batch.images, batch.indices) for batch in loader.epoch(1)])
            late = next(loader.epoch(1, start=2))
            np.testing.assert_array_equal(late.images, read[-1][2][0])
    for (images, indices), (again, _) in zip(*read, strict=True):
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(indices[::2], indices[1::2])
        assert all((images[i] != images[i + 1]).any() for i in range(0, len(images), 2))


def test_a_batch_may_cut_an_images_repeats():
    photos = load_image_set(builtin_photos() / "val").subset(range(0, 96, 4))
    pipeline = Pipeline([RandomResizedCrop(size=32)])
    with Loader(
        photos, pipeline, 8, shuffle=True, workers=0, sampling=SamplingConfig(repeats=3)
    ) as loader:
        batches = [(batch.images, batch.indices) for batch in loader.epoch(0)]
    indices = np.concatenate([each for _, each in batches]).reshape(-1, 3)
    assert len(batches) == 3
    assert (indices == indices[:, :1]).all()
    # The third of the row that the first batch cuts is in the second, augmented otherwise.
    (first, before), (second, after) = batches[:2]
    assert before[-2] == before[-1] == after[0]
    for earlier in first[-2:]:
        assert (earlier != second[0]).any()


def test_draws_are_streams_of_their_own():
    places = [
        (seed, epoch, index, repeat)
        for seed in (0, 7)
        for epoch in (0, 1)
        for index in (0, 1, 1 << 32)
        for repeat in (0, 1)
    ]
    numbers = {
        sample_draw(seed, epoch, index, repeat=repeat).rng.random()
        for seed, epoch, index, repeat in places
    }
    assert len(numbers) == len(places)
    uniform = np.array([sample_draw(0, 0, index).rng.random() for index in range(4000)])
    assert abs(uniform.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 4000)
    assert abs(np.corrcoef(uniform[:-1], uniform[1:])[0, 1]) < 4 / np.sqrt(4000)
