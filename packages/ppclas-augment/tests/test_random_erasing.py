"""Shares and shapes against the paper's distributions; the fills pixel by pixel."""

import numpy as np
import pytest
from ppclas_augment.erasing import RandomErasing
from ppclas_augment.functional import erase
from ppclas_core.contracts.data import Draw, sample_draw
from ppclas_core.errors import ConfigError, ShapeError
from pydantic import ValidationError

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def draw(index=0):
    return sample_draw(seed=1, epoch=0, index=index)


def boxes(transform, height, width, count):
    """Top, left, height, width of ``count`` erased rectangles, each full and inside."""
    image, found = np.zeros((height, width, 1), np.float32), []
    for i in range(count):
        changed = transform(image, draw(i))[:, :, 0] == 9
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        found.append((rows[0], columns[0], len(rows), len(columns)))
    return np.array(found)


def test_erase_fills_the_rectangle_and_nothing_else():
    image = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    before = image.copy()
    erased = erase(image, top=1, left=0, height=2, width=2, fill=[200, 201])
    assert (erased[1:3, 0:2] == [200, 201]).all()
    erased[1:3, 0:2] = image[1:3, 0:2]
    assert (erased == image).all()
    assert (image == before).all()


def test_erased_share_on_square_photos():
    # The 2020-era code, forced on, erases 0.196 of a 224x224 image in the mean and at most 0.4.
    found = boxes(RandomErasing(probability=1.0, color=(9.0,)), 224, 224, 2000)
    shares = found[:, 2] * found[:, 3] / 224**2
    assert shares.mean() == pytest.approx(0.196, abs=0.01)
    assert shares.min() > 0.019
    assert shares.max() < 0.402


def test_area_and_aspect_are_uniform_where_every_rectangle_fits():
    transform = RandomErasing(probability=1.0, area=(0.02, 0.1), color=(9.0,))
    found = boxes(transform, 300, 400, 2000)
    shares, aspects = found[:, 2] * found[:, 3] / (300 * 400), found[:, 2] / found[:, 3]
    # Mean and quartiles of U(0.02, 0.1) and U(0.3, 3.333).
    assert np.quantile(shares, [0.25, 0.5, 0.75]) == pytest.approx([0.04, 0.06, 0.08], abs=0.004)
    assert np.quantile(aspects, [0.25, 0.5, 0.75]) == pytest.approx([1.058, 1.817, 2.575], abs=0.12)


def test_log_aspect_is_as_often_upright_as_flat():
    found = boxes(
        RandomErasing(probability=1.0, area=(0.02, 0.1), log_aspect=True, color=(9.0,)),
        300,
        400,
        1000,
    )
    assert (found[:, 2] > found[:, 3]).mean() == pytest.approx(0.5, abs=0.05)


def test_the_place_reaches_every_border_of_a_non_square_image():
    found = boxes(RandomErasing(probability=1.0, area=(0.02, 0.05), color=(9.0,)), 20, 30, 2000)
    assert found[:, :2].min(axis=0).tolist() == [0, 0]
    assert (found[:, :2] + found[:, 2:]).max(axis=0).tolist() == [20, 30]


def test_probability_is_that_of_erasing():
    image = np.zeros((32, 32, 3), np.uint8)
    for probability, expected in ((0.0, 0.0), (0.3, 0.3), (1.0, 1.0)):
        transform = RandomErasing(probability=probability)
        erased = np.mean([transform(image, draw(i)) is not image for i in range(1000)])
        assert erased == pytest.approx(expected, abs=0.04 if expected == 0.3 else 0)


def test_default_colour_is_zero_after_normalisation():
    black = np.zeros((32, 48, 3), np.uint8)
    pixels = RandomErasing(probability=1.0)(black, draw())
    colour = pixels[pixels.any(axis=2)][0]
    assert colour.tolist() == [124, 116, 104]
    assert np.abs((colour / 255 - MEAN) / STD).max() < 0.01  # half a grey level is 0.0087
    erased = RandomErasing(probability=1.0)(np.ones((32, 48, 3), np.float32), draw())
    assert erased.dtype == np.float32
    assert set(np.unique(erased)) == {0.0, 1.0}


def test_noise_differs_from_pixel_to_pixel():
    half = RandomErasing(probability=1.0, area=(0.25, 0.25), fill="pixels")
    pixels = half(np.zeros((200, 200, 3), np.uint8), draw())
    values = pixels[pixels.any(axis=2)]
    assert pixels.dtype == np.uint8
    assert values.mean() == pytest.approx(127.5, abs=2)
    assert values.std() == pytest.approx(256 / np.sqrt(12), abs=1)
    noise = half(np.full((200, 200, 3), 9.0, np.float32), draw())
    values = noise[(noise != 9).all(axis=2)]
    assert (values.mean(), values.std()) == pytest.approx((0, 1), abs=0.02)


def test_the_input_is_not_written_to_and_the_draw_decides():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    image.flags.writeable = False
    transform = RandomErasing(probability=1.0, fill="pixels")
    assert (transform(image, draw(3)) == transform(image, draw(3))).all()
    assert (transform(image, draw(3)) != transform(image, draw(4))).any()


def test_an_image_too_small_for_any_rectangle_stays():
    image = np.zeros((1, 1, 3), np.uint8)
    assert RandomErasing(probability=1.0)(image, Draw(np.random.default_rng(0))) is image


def test_the_wrong_layout_is_refused():
    with pytest.raises(
        ShapeError, match=r"\[H, W, C\] with C up to 4; got \[3, 224, 224\]. Place it before"
    ):
        RandomErasing()(np.zeros((3, 224, 224), np.float32), draw())


def test_a_colour_is_one_of_the_image():
    grey = np.zeros((32, 32, 1), np.uint8)
    with pytest.raises(
        ConfigError, match=r"RandomErasing\.color has 3 values and the image 1 channels"
    ):
        RandomErasing(probability=1.0, color=(1, 2, 3))(grey, draw())
    for color in ((300,), (-1,), (0.485,)):  # what uint8 would turn into another colour
        with pytest.raises(
            ConfigError, match=r"RandomErasing.color: expected whole numbers in 0..255 for .* got"
        ):
            RandomErasing(probability=1.0, color=color)(grey, draw())
    assert set(np.unique(RandomErasing(probability=1.0)(grey, draw()))) == {
        0,
        115,
    }  # the mean of 124, 116 and 104
    assert (
        RandomErasing(probability=1.0, color=(-0.5,))(grey.astype(np.float32), draw()).min() == -0.5
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"area": (0.4, 0.02)}, "the smaller limit comes first"),
        ({"probability": 1.5}, "probability"),
        ({"fill": "pixels", "color": (0.0, 0.0, 0.0)}, "takes no color"),
        ({"EPSILON": 0.5}, "EPSILON"),
    ],
)
def test_wrong_parameters_are_refused(params, message):
    with pytest.raises(ValidationError, match=message):
        RandomErasing(**params)
