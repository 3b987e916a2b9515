"""timm's RandAugment: its ranges by hand, its chances by counting, its pixels by Pillow."""

import numpy as np
import pytest
from PIL import Image
from ppclas_augment import TimmRandAugment, functional
from ppclas_augment.policies import TIMM_OPS, TIMM_PLAIN_RANGES, TIMM_RANGES
from ppclas_core.contracts.data import Draw

# Magnitude 9 of 10, computed by hand from timm's formulas in data/auto_augment.py.
AT_NINE = {
    "Rotate": 27.0,
    "Posterize": 4 - int(3.6),
    "Solarize": 256 - int(0.9 * 256),
    "SolarizeAdd": int(0.9 * 110),
    "Color": 0.81,
    "ShearX": 0.27,
    "TranslateX": 0.405,
}


@pytest.mark.parametrize(("op", "value"), AT_NINE.items())
def test_values_at_magnitude_nine(op, value):
    found = TIMM_RANGES[op].at(0.9)
    # A threshold between two whole numbers inverts the same pixels as the next whole one.
    assert (np.ceil(found) if op == "Solarize" else found) == pytest.approx(value)


@pytest.mark.parametrize(
    ("op", "value"), [("Posterize", int(3.6)), ("Solarize", int(0.9 * 256)), ("Color", 0.72)]
)
def test_values_without_increasing(op, value):
    assert TIMM_PLAIN_RANGES[op].at(0.9) == pytest.approx(value)


def test_how_often_each_operation_is_done():
    rng, change = np.random.default_rng(0), TimmRandAugment()
    drawn = [operation for _ in range(6000) for operation, _ in change.draw_operations(rng)]
    # Two of 15 are drawn, each is done by a half: 400 of 6000, with a deviation of 20.
    counts = [drawn.count(op) for op in TIMM_OPS]
    assert min(counts) > 300
    assert max(counts) < 500


def test_magnitudes_follow_a_normal_distribution_that_is_cut_off():
    rng = np.random.default_rng(0)
    change = TimmRandAugment(magnitude=9, magnitude_std=0.5, operation_probability=1)
    degrees = np.array(
        [
            abs(value)
            for _ in range(9000)
            for op, value in change.draw_operations(rng)
            if op == "Rotate"
        ]
    )
    assert degrees.max() <= 30
    assert np.median(degrees) == pytest.approx(27, abs=0.3)
    assert np.std(degrees) == pytest.approx(1.5, abs=0.2)


def test_a_share_of_images_stays():
    image = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)
    change = TimmRandAugment(probability=0.0)
    assert change(image, Draw(np.random.default_rng(0))) is image


def test_solarize_add_against_pillow():
    image = np.random.default_rng(1).integers(0, 256, (9, 7, 3), np.uint8)
    table = [min(255, value + 99) if value < 128 else value for value in range(256)]
    expected = np.asarray(Image.fromarray(image).point(table * 3))
    np.testing.assert_array_equal(functional.solarize_add(image, 99), expected)
