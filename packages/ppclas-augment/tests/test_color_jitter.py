"""ColorJitter: each amount, read off an image on which it shows, is uniform."""

import colorsys

import numpy as np
import pytest
from ppclas_augment.automatic import ColorJitter
from ppclas_core.contracts.data import sample_draw
from scipy import stats

HALVES = np.repeat(np.array([50, 150], np.uint8), 6).reshape(4, 1, 3)
"""Two grey levels, 50 and 150; the mean is 100."""
NONE = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def jittered(image, count, **params):
    jitter = ColorJitter(**{**NONE, **params})
    return (jitter(image, sample_draw(0, 0, index)).astype(float) for index in range(count))


def test_contrast_moves_away_from_the_mean_by_an_even_factor():
    images = list(jittered(HALVES, 1500, contrast=0.5))
    assert all(image.mean() == pytest.approx(100, abs=0.6) for image in images)
    factors = [(image.max() - image.min()) / 100 for image in images]
    assert stats.kstest(factors, "uniform", (0.5, 1.0)).pvalue > 1e-3


def test_saturation_moves_away_from_grey_by_an_even_factor():
    red = np.full((2, 2, 3), (180, 80, 80), np.uint8)
    images = list(jittered(red, 1500, saturation=0.5))
    # 0.299 of red and 0.701 of the others: the grey level stays.
    assert all(
        image[0, 0] @ (0.299, 0.587, 0.114) == pytest.approx(109.9, abs=1) for image in images
    )
    factors = [(image[0, 0, 0] - image[0, 0, 1]) / 100 for image in images]
    assert stats.kstest(factors, "uniform", (0.5, 1.0)).pvalue > 1e-3


def test_hue_turns_both_ways_evenly():
    cyan = np.full((2, 2, 3), (30, 200, 200), np.uint8)
    turns = [colorsys.rgb_to_hsv(*image[0, 0])[0] - 0.5 for image in jittered(cyan, 1500, hue=0.25)]
    assert stats.kstest(turns, "uniform", (-0.25, 0.5)).pvalue > 1e-3


def test_the_order_changes_from_image_to_image():
    # Of black and white halves, b + w > 255 only where the contrast shrinks first (b = 255 - w) and
    # the brightness then
    # grows: in half of the orders and a quarter of the factors.
    halves = np.repeat(np.array([0, 255], np.uint8), 6).reshape(4, 1, 3)
    images = jittered(halves, 1500, brightness=0.9, contrast=0.9)
    assert np.mean([image.min() + image.max() > 257 for image in images]) == pytest.approx(
        1 / 8, abs=0.03
    )
