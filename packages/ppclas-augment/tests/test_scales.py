"""Batches of several sizes, against means in NumPy."""

import numpy as np
import pytest
from ppclas_augment.scales import MultiScale
from ppclas_core.contracts.data import sample_draw
from ppclas_core.contracts.training import Targets

paddle = pytest.importorskip("paddle")

PIXELS = np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)


def scaled(transform: MultiScale, step: int = 0) -> np.ndarray:
    targets = Targets(paddle.to_tensor([0, 1]))
    images, same = transform(paddle.to_tensor(PIXELS), targets, sample_draw(0, 0, step))
    assert same is targets
    return images.numpy()


def test_half_the_size_is_the_mean_of_two_by_two():
    expected = PIXELS.reshape(2, 3, 6, 2, 6, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(scaled(MultiScale(sizes=(6,))), expected, atol=1e-6)


def test_the_size_of_the_crops_changes_nothing():
    np.testing.assert_array_equal(scaled(MultiScale(sizes=(12,))), PIXELS)


def test_height_comes_first_and_larger_is_bilinear():
    larger = scaled(MultiScale(sizes=((12, 24),)))
    assert larger.shape == (2, 3, 12, 24)
    # Half-pixel centres: between two pixels stand 3/4 of the nearer one and 1/4 of the other.
    inside = 0.75 * PIXELS[..., 4] + 0.25 * PIXELS[..., 5]
    np.testing.assert_allclose(larger[..., 9], inside, atol=1e-6)


def test_each_size_comes_as_often():
    sizes = (4, 6, 8)
    seen = [scaled(MultiScale(sizes=sizes), step).shape[-1] for step in range(300)]
    assert all(70 < seen.count(size) < 130 for size in sizes)  # 100 each, 4 standard deviations
