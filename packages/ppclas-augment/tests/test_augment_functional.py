"""Each operation against Pillow, which defines it; shapes, dtypes and inputs on odd images."""

from unittest import mock

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from ppclas_augment import functional

GREY = (128, 128, 128)
RESAMPLING = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}


def noise(height, width, channels=3, seed=0):
    """Smooth colours with some noise: not a photo, but with a photo's histogram of many levels."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(
        height, width, 3
    )
    image = np.clip(smooth.astype(int) + rng.integers(-9, 10, (height, width, 3)), 0, 255).astype(
        np.uint8
    )
    return image[:, :, :channels]


PHOTO = noise(93, 120)
PILLOW = Image.fromarray(PHOTO)


def difference(pillow, ours):
    return np.abs(np.asarray(pillow).astype(int) - ours.astype(int))


def test_operations_without_strength_are_pillows_exactly():
    for image in (PHOTO, PHOTO // 64 + 100, np.full((7, 9, 3), 31, np.uint8)):
        pillow = Image.fromarray(image)
        assert difference(ImageOps.invert(pillow), functional.invert(image)).max() == 0
        assert difference(ImageOps.equalize(pillow), functional.equalize(image)).max() == 0
        assert difference(ImageOps.autocontrast(pillow), functional.autocontrast(image)).max() <= 1


@pytest.mark.parametrize("threshold", [0, 28.4, 113.8, 128, 255, 256])
def test_solarize_is_pillows(threshold):
    assert (
        difference(
            ImageOps.solarize(PILLOW, threshold), functional.solarize(PHOTO, threshold)
        ).max()
        == 0
    )


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize_is_pillows(bits):
    assert (
        difference(ImageOps.posterize(PILLOW, bits), functional.posterize(PHOTO, bits)).max() == 0
    )


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.55, 1.0, 1.45, 1.9])
def test_factors_are_pillows_within_two_levels(factor):
    for enhance, ours in (
        (ImageEnhance.Brightness, functional.brightness),
        (ImageEnhance.Contrast, functional.contrast),
        (ImageEnhance.Color, functional.saturation),
        (ImageEnhance.Sharpness, functional.sharpness),
    ):
        assert difference(enhance(PILLOW).enhance(factor), ours(PHOTO, factor)).max() <= 2, (
            enhance.__name__
        )


def test_hue_turns_the_circle_as_pillows_hsv_does():
    hsv = np.array(PILLOW.convert("HSV"))
    hsv[:, :, 0] += np.uint8(64)
    expected = Image.fromarray(hsv, "HSV").convert("RGB")
    assert (
        np.percentile(difference(expected, functional.hue(PHOTO, 0.25)), 99) <= 8
    )  # both round to 256 hues
    red = np.array([[[200, 30, 30]]], np.uint8)
    assert functional.hue(red, 1 / 3)[0, 0].tolist() == pytest.approx([30, 200, 30], abs=3)
    assert functional.hue(red, -1 / 3)[0, 0].tolist() == pytest.approx(
        [30, 30, 200], abs=4
    )  # of 1/256


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("amount", [-0.3, -0.05, 0.17, 0.3])
def test_geometry_is_pillows(resampling, amount):
    # Pixels on an edge between two that are equally near may fall to either side, and the borders
    # are blended with the fill in one library and cut in the other: less than 2 % of all values.
    size, mode = PILLOW.size, RESAMPLING[resampling]
    pairs = (
        (
            PILLOW.transform(
                size, Image.Transform.AFFINE, (1, amount, 0, 0, 1, 0), mode, fillcolor=GREY
            ),
            functional.shear_x(PHOTO, amount, GREY, resampling),
        ),
        (
            PILLOW.transform(
                size, Image.Transform.AFFINE, (1, 0, 0, amount, 1, 0), mode, fillcolor=GREY
            ),
            functional.shear_y(PHOTO, amount, GREY, resampling),
        ),
        (
            PILLOW.rotate(100 * amount, mode, fillcolor=GREY),
            functional.rotate(PHOTO, 100 * amount, GREY, resampling),
        ),
    )
    for expected, ours in pairs:
        assert (difference(expected, ours) > 1).mean() < 0.02


@pytest.mark.parametrize("slope", [-1.4, -0.3, -0.004, 0.0, 0.17, 0.99])
def test_rows_sheared_by_the_nearest_pixel_are_pillows_exactly(slope):
    for image in (PHOTO, noise(1, 1), noise(3, 90), noise(90, 3)):
        pillow = Image.fromarray(image)
        expected = pillow.transform(
            pillow.size, Image.Transform.AFFINE, (1, slope, 0, 0, 1, 0), fillcolor=(1, 2, 3)
        )
        assert difference(expected, functional.shear_x(image, slope, (1, 2, 3))).max() == 0


@pytest.mark.parametrize(
    ("right", "down"), [(7, 0), (-7, 0), (0, 12), (0, -12), (5, -9), (500, 0), (0, -500)]
)
def test_translate_shifts_and_fills(right, down):
    shifted = functional.translate(PHOTO, right, down, (1, 2, 3))
    expected = PILLOW.transform(
        PILLOW.size, Image.Transform.AFFINE, (1, 0, -right, 0, 1, -down), fillcolor=(1, 2, 3)
    )
    assert difference(expected, shifted).max() == 0


def test_a_quarter_turn_of_a_square_is_exact():
    square = noise(31, 31)
    np.testing.assert_array_equal(functional.rotate(square, 90, GREY), np.rot90(square))


def test_every_colour_survives_a_turn():
    """Pixels are moved as floats, many of which are no numbers."""
    for value in range(256):
        image = np.full((9, 12, 3), value, np.uint8)
        np.testing.assert_array_equal(functional.rotate(image, 33, (value, value, value)), image)
        np.testing.assert_array_equal(functional.shear_y(image, 0.3, (value, value, value)), image)


def test_keep_where_fills_the_rest():
    image = noise(5, 7).astype(np.float32)
    mask = np.zeros((5, 7), np.uint8)
    mask[1:3, 2:6] = 1
    kept = functional.keep_where(image, mask, (1.5, -2.0, 3.0))
    np.testing.assert_array_equal(kept[mask == 1], image[mask == 1])
    assert (kept[mask == 0] == (1.5, -2.0, 3.0)).all()


def test_cells_are_squares_and_the_last_ones_are_cut():
    cells = np.array([[1, 0, 1], [0, 1, 0]], np.uint8)
    mask = functional.cell_mask(cells, 3, 5, 8)
    assert mask.shape == (5, 8)
    assert all(mask[y, x] == cells[y // 3, x // 3] for y in range(5) for x in range(8))


def test_grid_by_hand():
    # Bars of 2 in every 3 pixels, starting at 1 down and 0 right: squares of one pixel.
    mask = functional.grid_mask(7, 6, period=3, bar=2, offset=(1, 0))
    assert np.argwhere(mask).tolist() == [[y, x] for y in (0, 3, 6) for x in (2, 5)]


def test_a_turned_grid_covers_the_whole_image():
    # No corner is without grid: by rows of every angle the share of squares is that of the straight
    # grid.
    for degrees in (0, 10, 45, 90, 133, 270):
        mask = functional.grid_mask(60, 240, period=10, bar=5, offset=(3, 4), degrees=degrees)
        assert mask.mean() == pytest.approx(0.25, abs=0.02)
        for corner in (mask[:30, :30], mask[:30, -30:], mask[-30:, :30], mask[-30:, -30:]):
            assert corner.mean() == pytest.approx(0.25, abs=0.08)


def test_a_turned_grid_of_a_long_image_is_made_in_parts():
    whole = functional.grid_mask(300, 500, period=60, bar=30, offset=(3, 4), degrees=33)
    with mock.patch.object(functional, "_TILE", 128):
        assert (
            functional.grid_mask(300, 500, period=60, bar=30, offset=(3, 4), degrees=33) == whole
        ).all()
    long = functional.grid_mask(3, 50_000, period=10, bar=5, offset=(3, 4), degrees=30)
    assert long.mean() == pytest.approx(0.25, abs=0.01)


def test_a_single_value_stays_in_more_pixels_than_float32_counts():
    assert (functional.equalize(np.full((4097, 4097, 1), 200, np.uint8)) == 200).all()


COLOURS = {
    "invert": functional.invert,
    "solarize": lambda image: functional.solarize(image, 100.5),
    "posterize": lambda image: functional.posterize(image, 3),
    "autocontrast": functional.autocontrast,
    "equalize": functional.equalize,
    "brightness": lambda image: functional.brightness(image, 1.7),
    "contrast": lambda image: functional.contrast(image, 0.2),
    "saturation": lambda image: functional.saturation(image, 1.8),
    "sharpness": lambda image: functional.sharpness(image, 1.9),
    "hue": lambda image: functional.hue(image, -0.3),
    "shear_x": lambda image: functional.shear_x(image, 0.3, GREY),
    "shear_y": lambda image: functional.shear_y(image, -0.3, GREY, "bicubic"),
    "translate": lambda image: functional.translate(image, 5, -2, GREY),
    "rotate": lambda image: functional.rotate(image, 37, GREY, "bilinear"),
}


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(sorted(COLOURS)),
    st.integers(1, 40),
    st.integers(1, 40),
    st.booleans(),
    st.integers(0, 99),
)
def test_shape_and_dtype_are_kept_and_the_input_is_not_written_to(
    name, height, width, mirrored, seed
):
    image = noise(height, width, seed=seed)
    image = image[:, ::-1] if mirrored else image  # a view with negative strides
    image.flags.writeable = False
    result = COLOURS[name](image)
    assert (result.shape, result.dtype) == (image.shape, np.uint8)


@pytest.mark.parametrize("name", sorted(COLOURS))
def test_large_images(name):
    for shape in ((3, 20_000, 3), (20_000, 3, 3)):
        result = COLOURS[name](np.zeros(shape, np.uint8))
        assert result.shape == shape
