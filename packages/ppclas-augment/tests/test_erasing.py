"""Cutout, HideAndSeek and GridMask against their papers: how much, where and how often."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ppclas_augment.erasing import Cutout, GridMask, HideAndSeek, RandomErasing
from ppclas_core.contracts.data import sample_draw
from ppclas_core.errors import ConfigError, ShapeError
from pydantic import ValidationError


def draw(index=0, epoch=99, epochs=100):
    return sample_draw(5, epoch, index, epochs)


def erased(transform, height, width, count, **draws):
    """[count, height, width], true where an image was changed."""
    image = np.ones((height, width, 1), np.float32)
    return np.array([transform(image, draw(i, **draws))[:, :, 0] != 1 for i in range(count)])


def test_cutout_covers_what_the_specification_says():
    # A square of 112 centred anywhere in 224: (98 / 224)² = 0.191 of it is inside on average.
    changed = erased(Cutout(), 224, 224, 1500)
    assert changed.mean() == pytest.approx(0.191, abs=0.01)
    shares = changed.mean(axis=(1, 2))
    assert shares.max() == pytest.approx(0.25)  # never more than the square
    assert shares.min() < 0.08  # a corner: a quarter of it
    assert (shares == shares.max()).mean() == pytest.approx(
        0.25, abs=0.05
    )  # the centre in the middle half, both ways


@pytest.mark.parametrize("length", [7, 16])
def test_cutout_squares_have_the_length_asked_for(length):
    # The reference lost a pixel of odd lengths.
    changed = erased(Cutout(length=length), 40, 60, 300)
    sizes = {(mask.any(axis=1).sum(), mask.any(axis=0).sum()) for mask in changed}
    assert max(sizes) == (length, length)
    # Every row and column of a non-square image is reached.
    assert changed.any(axis=(0, 1)).all()
    assert changed.any(axis=(0, 2)).all()


def test_cutout_can_have_several_holes():
    changed = erased(Cutout(length=4, holes=3), 100, 100, 200)
    assert changed.sum(axis=(1, 2)).max() == 48


@pytest.mark.parametrize(
    "transform",
    [Cutout(), HideAndSeek(grid_sizes=(4,), hide_probability=1)],
    ids=["Cutout", "HideAndSeek"],
)
def test_probability_is_that_of_erasing(transform):
    image = np.ones((16, 16, 3), np.float32)
    for probability, tolerance in ((0.0, 0), (0.3, 0.05), (1.0, 0)):
        changing = transform.replace(probability=probability)
        changed = np.mean([(changing(image, draw(i)) != 1).any() for i in range(1000)])
        assert changed == pytest.approx(probability, abs=tolerance)


def test_hide_and_seek_hides_half_of_the_cells_of_every_grid():
    for cell in (16, 32, 44, 56):
        assert erased(HideAndSeek(grid_sizes=(cell,)), 224, 224, 300).mean() == pytest.approx(
            0.5, abs=0.03
        )
    assert not erased(HideAndSeek(grid_sizes=(0,)), 224, 224, 5).any()
    # 0 is a fifth of the draws: 0.4 of the pixels over all; the 2020-era code, rightly laid out,
    # hid 0.395.
    changed = erased(HideAndSeek(), 224, 224, 1000)
    assert changed.mean() == pytest.approx(0.4, abs=0.02)
    assert (~changed.any(axis=(1, 2))).mean() == pytest.approx(0.2, abs=0.04)
    assert erased(
        HideAndSeek(grid_sizes=(32,), hide_probability=0.2), 224, 224, 300
    ).mean() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("side", [32, 64, 448])
def test_hide_and_seek_cells_are_the_same_share_of_any_image(side):
    """The paper's pixels, for 224, would hide three in ten photos of 32 pixels as a whole."""
    masks = erased(HideAndSeek(), side, side, 600)
    assert masks.mean() == pytest.approx(0.4, abs=0.03)
    assert masks.all(axis=(1, 2)).mean() < 0.01


def test_hide_and_seek_cells_at_twice_the_papers_size():
    drawn = {side_of_cells(mask) for mask in erased(HideAndSeek(), 448, 448, 60) if mask.any()}
    assert drawn == {32, 64, 88, 112}


def side_of_cells(mask):
    """The largest side of which every cell is hidden or shown as a whole."""

    def whole(cell):
        corners = np.arange(len(mask)) // cell * cell
        return (mask == mask[np.ix_(corners, corners)]).all()

    return max(filter(whole, range(1, 200)))


def test_hide_and_seek_cells_are_in_place_on_wide_images():
    # The reference swapped rows and columns.
    for mask in erased(HideAndSeek(grid_sizes=(32,)), 64, 200, 50):
        assert mask.any(axis=0).any()
        cells = mask[:, :192].reshape(2, 32, 6, 32)
        assert (cells.all(axis=(1, 3)) == cells.any(axis=(1, 3))).all()
        last = mask[:, 192:].reshape(2, 32, 8)
        assert (last.all(axis=(1, 2)) == last.any(axis=(1, 2))).all()


@pytest.mark.parametrize("rotate", [0, 1, 360])
@pytest.mark.parametrize(
    ("remove", "ratio", "kept"),
    [("bars", 0.5, 0.25), ("squares", 0.5, 0.75), ("squares", 0.6, 0.84)],
)
def test_gridmask_keeps_what_the_specification_says(remove, ratio, kept, rotate):
    mask = GridMask(probability=1, ramp=0, remove=remove, ratio=ratio, rotate=rotate)
    assert 1 - erased(mask, 224, 224, 400).mean() == pytest.approx(kept, abs=0.02)
    assert 1 - erased(mask, 160, 260, 200).mean() == pytest.approx(kept, abs=0.03)


def test_gridmask_periods_and_angles():
    # Straight bars: the gaps between them tell the period, from 96 to 224 at 224 pixels.
    changed = erased(
        GridMask(probability=1, ramp=0, remove="bars", period=(10, 20), rotate=0), 100, 100, 400
    )
    periods = Counter()
    for mask in changed:
        row = mask[~mask.all(axis=1)][0]
        starts = np.flatnonzero(np.diff(row.astype(int)) == 1)
        periods[int(np.diff(starts)[0])] += 1
    assert set(periods) == set(range(10, 21))
    assert min(periods.values()) > 15  # 36 expected
    # Bars of about 9 pixels fill a row of 100 where they are within 5 degrees of straight: 11 % of
    # the angles.
    turned = erased(GridMask(probability=1, ramp=0, remove="bars", period=(10, 20)), 100, 100, 100)
    assert np.mean([mask.all(axis=1).any() for mask in turned]) < 0.2


def test_gridmask_comes_with_the_epochs():
    # Linear to 0.8 at epoch 240 of 300, then constant (the paper).
    image = np.ones((8, 8, 3), np.float32)
    for epoch, expected in ((0, 0.0), (60, 0.2), (120, 0.4), (240, 0.8), (299, 0.8)):
        applied = [GridMask()(image, draw(i, epoch, 300)) is not image for i in range(600)]
        assert np.mean(applied) == pytest.approx(expected, abs=0.05), epoch
    applied = [
        GridMask(ramp=0, probability=0.5)(image, draw(i, 0, 1)) is not image for i in range(600)
    ]
    assert np.mean(applied) == pytest.approx(0.5, abs=0.06)


ALL = [
    Cutout(),
    RandomErasing(probability=1),
    HideAndSeek(grid_sizes=(5,)),
    GridMask(probability=1, ramp=0),
]
NAMES = [type(transform).__name__ for transform in ALL]


@pytest.mark.parametrize("transform", ALL, ids=NAMES)
def test_what_is_erased_is_the_mean_before_and_zero_after_normalisation(transform):
    pixels = transform(np.zeros((48, 64, 3), np.uint8), draw(1))
    floats = transform(np.ones((48, 64, 3), np.float32), draw(1))
    assert (pixels.dtype, floats.dtype) == (np.uint8, np.float32)
    gone = pixels.any(axis=2)
    assert 0.02 < gone.mean() < 0.8
    assert (pixels[gone] == (124, 116, 104)).all()
    np.testing.assert_array_equal(
        floats, np.where(gone[:, :, None], 0, np.ones(3))
    )  # the same draw, the same pixels


@pytest.mark.parametrize("transform", ALL, ids=NAMES)
def test_another_colour_and_another_layout(transform):
    red = transform.replace(color=(200.0, 10.0, 0.0))(np.full((30, 30, 3), 90, np.uint8), draw(2))
    assert {tuple(pixel) for pixel in red.reshape(-1, 3).tolist()} == {(90, 90, 90), (200, 10, 0)}
    with pytest.raises(ConfigError, match="color has 3 values and the image 1 channels"):
        transform.replace(color=(1.0, 2.0, 3.0))(np.zeros((30, 30, 1), np.float32), draw(2))
    with pytest.raises(
        ShapeError, match=r"takes an image \[H, W, C\].* got \[3, 224, 224\]. Place it before"
    ):
        transform(np.zeros((3, 224, 224), np.float32), draw())


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(ALL),
    st.integers(1, 80),
    st.integers(1, 80),
    st.sampled_from([np.uint8, np.float32]),
    st.sampled_from([1, 3, 4]),
    st.integers(0, 999),
)
def test_odd_images(transform, height, width, dtype, channels, index):
    image = np.ones((height, width, channels), dtype)
    image.flags.writeable = False
    out = transform.replace(color=(7.0,) * channels)(image, draw(index))
    assert (out.shape, out.dtype) == (image.shape, dtype)
    assert set(np.unique(out)) <= {1, 7}


@pytest.mark.parametrize("transform", ALL, ids=NAMES)
def test_large_and_thin_images(transform):
    for shape in ((2, 5000, 3), (5000, 2, 3), (3000, 2000, 3)):
        assert transform(np.zeros(shape, np.uint8), draw(4)).shape == shape


def test_a_cell_larger_than_the_image_is_all_of_it():
    seen = {
        tuple(
            np.unique(
                HideAndSeek(grid_sizes=(10**9,), color=(7.0,) * 3)(
                    np.zeros((30, 40, 3), np.uint8), draw(i)
                )
            )
        )
        for i in range(20)
    }
    assert seen == {(0,), (7,)}


def test_wrong_parameters_are_refused():
    for wrong, said in (
        ({"period": (20, 10)}, "the smaller limit comes first"),
        ({"period": (1, 4)}, "greater than or equal to 2"),  # of 1 there is no square to remove
        ({"ratio": 1.0}, "less than 1"),
        ({"remove": "lines"}, "squares"),
    ):
        with pytest.raises(ValidationError, match=said):
            GridMask(**wrong)
    with pytest.raises(ValidationError, match="grid_sizes"):
        HideAndSeek(grid_sizes=())
