"""AugMix against the paper (Hendrycks et al. 2019) and its authors' code."""

from collections import Counter

import numpy as np
import pytest
from ppclas_augment.automatic import AugMix
from ppclas_core.contracts.data import sample_draw
from scipy import stats


def operations(count, **params):
    """The operations of ``count`` chains."""
    transform = AugMix(**params)
    return [transform.draw_operations(np.random.default_rng((0, index))) for index in range(count)]


def chain_shares(transform, count):
    """How much of an image each chain is: [how much is the image itself, chain, chain, ...],
    ``count`` times.

    The image is a white column on black, which each chain shifts elsewhere.
    """
    image = np.zeros((1, 901, 3), np.uint8)
    image[:, 450] = 255
    for index in range(count):
        row = transform(image, sample_draw(0, 0, index))[0, :, 0] / 255
        own = row[450]
        row[450] = 0
        yield [own, *row[row > 0]]


@pytest.mark.parametrize(("width", "alpha"), [(3, 1.0), (2, 1.0), (5, 1.0), (3, 4.0)])
def test_chains_are_weighted_by_dirichlet_and_the_image_by_beta(width, alpha):
    transform = AugMix(
        ops=("TranslateX",), depth=1, severity=10, width=width, alpha=alpha, fill=(0, 0, 0)
    )
    shares = list(chain_shares(transform, 500))
    assert max(len(row) for row in shares) == 1 + width
    owns = np.array([row[0] for row in shares])
    assert stats.kstest(owns, "beta", (alpha, alpha)).pvalue > 1e-3
    # Of Dirichlet's weights (alpha, ..., alpha), the squares sum up to (alpha + 1) / (width · alpha
    # + 1) on average.
    weights = [np.array(row[1:]) / sum(row[1:]) for row in shares if row[0] < 0.7]
    expected = (alpha + 1) / (width * alpha + 1)
    assert np.mean([(row**2).sum() for row in weights]) == pytest.approx(expected, abs=0.03)


def test_depth_is_the_length_of_a_chain():
    assert {len(chain) for chain in operations(20, depth=5)} == {5}
    # Two inversions are none.
    image = np.full((3, 3, 3), 100, np.uint8)
    for depth, changed in ((1, True), (2, False), (3, True)):
        mixed = AugMix(ops=("Invert",), depth=depth)(image, sample_draw(0, 0, 0))
        assert (mixed != image).any() == changed


def test_operations_are_the_papers_and_equally_likely():
    # Not brightness, contrast, colour and sharpness, which the corruptions of ImageNet-C resemble.
    names = ("AutoContrast", "Equalize", "Posterize", "Rotate", "Solarize")
    names += ("ShearX", "ShearY", "TranslateX", "TranslateY")
    counts = Counter(op for chain in operations(1500) for op, _ in chain)
    assert set(counts) == set(names)
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


def values(op, severity):
    return np.array(
        [value for ((_, value),) in operations(800, ops=(op,), depth=1, severity=severity)]
    )


# The authors' code: a level is uniform in 0.1 .. severity, of 10.
@pytest.mark.parametrize("severity", [3, 10])
@pytest.mark.parametrize(
    ("op", "strongest"),
    [
        ("ShearX", 0.3),
        ("ShearY", 0.3),
        ("TranslateX", 1 / 3),
        ("TranslateY", 1 / 3),
        ("Rotate", 30),
    ],
)
def test_shifts_are_uniform_up_to_the_severity_both_ways(op, strongest, severity):
    levels = values(op, severity) / strongest * 10
    assert stats.kstest(np.abs(levels), "uniform", (0.1, severity - 0.1)).pvalue > 1e-3
    assert (levels > 0).mean() == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("severity", [3, 10])
def test_thresholds_and_bits_fall_up_to_the_severity(severity):
    levels = (256 - values("Solarize", severity)) / 25.6
    assert stats.kstest(levels, "uniform", (0.1, severity - 0.1)).pvalue > 1e-3
    # 4 - int(4 · level / 10) bits: one less at every 2.5 levels.
    bits = Counter(values("Posterize", severity))
    borders = np.clip([0.1, 2.5, 5, 7.5, 10], 0.1, severity)
    shares = {
        4 - index: share for index, share in enumerate(np.diff(borders) / (severity - 0.1)) if share
    }
    assert set(bits) == set(shares)
    assert (
        stats.chisquare(
            [bits[number] for number in shares], [800 * share for share in shares.values()]
        ).pvalue
        > 1e-4
    )


@pytest.mark.parametrize("resampling", [None, "nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("op", ["ShearX", "ShearY", "Rotate"])
def test_resampling_is_bilinear_unless_asked_otherwise(op, resampling):
    # Of noise in black and white, nearest pixels make four mixtures of two images at most; others
    # make many.
    params = {} if resampling is None else {"resampling": resampling}
    noise = (
        np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (40, 50, 1)).repeat(3, axis=2)
    )
    mixed = AugMix(ops=(op,), width=1, depth=1, severity=10, **params)(noise, sample_draw(0, 0, 3))
    assert (len(np.unique(mixed)) <= 4) == (resampling == "nearest")


def test_what_an_image_does_not_reach_is_black_unless_asked_otherwise():
    white = np.full((30, 40, 3), 255, np.uint8)
    for params, darkest in (({}, 0), ({"fill": (128, 128, 128)}, 128)):
        transform = AugMix(ops=("TranslateX",), width=1, severity=10, **params)
        seen = [transform(white, sample_draw(0, 0, index)).min().item() for index in range(100)]
        assert min(seen) == pytest.approx(darkest, abs=10)  # of 100 shares in 0..1, one is near 1


def test_any_layout_in_memory():
    # As transposing and turning leave it.
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    for same in (np.asfortranarray(image), np.rot90(np.rot90(image, 3).copy())):
        np.testing.assert_array_equal(same, image)
        np.testing.assert_array_equal(
            AugMix()(same, sample_draw(0, 0, 3)), AugMix()(image, sample_draw(0, 0, 3))
        )
