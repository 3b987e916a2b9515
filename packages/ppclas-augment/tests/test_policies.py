"""What the policies' operations do to an image, against Pillow at the papers' strengths."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from ppclas_augment.automatic import AugMix, AutoAugment, RandAugment, TrivialAugment
from ppclas_augment.policies import Step
from ppclas_core.contracts.data import sample_draw
from scipy import stats

WIDTH, HEIGHT = 80, 60


def photo():
    """Colours that differ from place to place and from channel to channel, in all of 0..255."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    smooth = np.stack([x * 2, 200 - y * 2, 60 + x + y], axis=-1) + rng.integers(
        -40, 41, (HEIGHT, WIDTH, 3)
    )
    smooth[5, 5], smooth[6, 6] = 0, 255
    return np.clip(smooth, 0, 255).astype(np.uint8)


PHOTO = photo()


def affine(image, matrix, look):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, **look)


PILLOW = {
    "Identity": lambda image, _, **look: image,
    "AutoContrast": lambda image, _, **look: ImageOps.autocontrast(image),
    "Equalize": lambda image, _, **look: ImageOps.equalize(image),
    "Invert": lambda image, _, **look: ImageOps.invert(image),
    "Posterize": lambda image, bits, **look: ImageOps.posterize(image, bits),
    "Solarize": lambda image, threshold, **look: ImageOps.solarize(image, threshold),
    "Color": lambda image, more, **look: ImageEnhance.Color(image).enhance(1 + more),
    "Contrast": lambda image, more, **look: ImageEnhance.Contrast(image).enhance(1 + more),
    "Brightness": lambda image, more, **look: ImageEnhance.Brightness(image).enhance(1 + more),
    "Sharpness": lambda image, more, **look: ImageEnhance.Sharpness(image).enhance(1 + more),
    "ShearX": lambda image, slope, **look: affine(image, (1, slope, 0, 0, 1, 0), look),
    "ShearY": lambda image, slope, **look: affine(image, (1, 0, 0, slope, 1, 0), look),
    "TranslateX": lambda image, share, **look: affine(
        image, (1, 0, -round(share * WIDTH), 0, 1, 0), look
    ),
    "TranslateY": lambda image, share, **look: affine(
        image, (1, 0, 0, 0, 1, -round(share * HEIGHT)), look
    ),
    "Rotate": lambda image, degrees, **look: image.rotate(degrees, **look),
}
WITHOUT_STRENGTH = ("Identity", "AutoContrast", "Equalize", "Invert")
COLOURS = ("Color", "Contrast", "Brightness", "Sharpness")
SHIFTS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")


def pillows(op, value, fillcolor=(128, 128, 128), **look):
    return np.asarray(PILLOW[op](Image.fromarray(PHOTO), value, fillcolor=fillcolor, **look))


def same(image, expected):
    """Colours within two grey levels; 2 % may differ: pixels equally near to two."""
    return (np.abs(image.astype(int) - expected.astype(int)) > 2).mean() < 0.02


def outcomes(transform, expected, count=100, image=PHOTO):
    """How often each of ``expected``, images by name, comes out; nothing else may."""
    found = Counter()
    for index in range(count):
        changed = transform(image, sample_draw(0, 0, index))
        names = [name for name, candidate in expected.items() if same(changed, candidate)]
        assert len(names) == 1
        found[names[0]] += 1
    return [found[name] for name in expected]


def both_signs(op, value, **look):
    return {sign: pillows(op, sign * value, **look) for sign in (1, -1)}


def evenly(counts, shares=None):
    expected = np.asarray(shares or [1] * len(counts), float)
    return stats.chisquare(counts, expected / expected.sum() * sum(counts)).pvalue > 1e-4


def autoaugment(op, magnitude, **params):
    return AutoAugment(policy=((Step(op=op, magnitude=magnitude),),), **params)


@pytest.mark.parametrize("op", WITHOUT_STRENGTH)
def test_operations_without_strength(op):
    expected = {op: pillows(op, None)}
    assert outcomes(autoaugment(op, None), expected, 3) == [3]
    assert outcomes(RandAugment(num_layers=1, ops=(op,)), expected, 3) == [3]
    assert outcomes(TrivialAugment(ops=(op,)), expected, 3) == [3]


# The strongest values: table 6 of the AutoAugment paper; the wide space of the TrivialAugment
# paper.
IMAGENET = {
    "ShearX": 0.3,
    "ShearY": 0.3,
    "TranslateX": 150 / 331,
    "TranslateY": 150 / 331,
    "Rotate": 30,
}
IMAGENET |= dict.fromkeys(COLOURS, 0.9)
WIDE = {
    "ShearX": 0.99,
    "ShearY": 0.99,
    "TranslateX": 32 / 224,
    "TranslateY": 32 / 224,
    "Rotate": 135,
}
WIDE |= dict.fromkeys(COLOURS, 0.99)


@pytest.mark.parametrize(("op", "strongest"), IMAGENET.items())
def test_autoaugment_and_randaugment_go_both_ways_equally_often(op, strongest):
    assert evenly(outcomes(autoaugment(op, 7), both_signs(op, strongest * 7 / 9)))
    assert evenly(
        outcomes(RandAugment(num_layers=1, magnitude=5, ops=(op,)), both_signs(op, strongest / 2))
    )


@pytest.mark.parametrize(("op", "value"), WIDE.items())
def test_trivialaugment_goes_from_nothing_to_the_strongest_both_ways(op, value):
    # Of two strengths, the weaker changes nothing.
    expected = {0: PHOTO, **both_signs(op, value)}
    assert evenly(outcomes(TrivialAugment(num_strengths=2, ops=(op,)), expected), [2, 1, 1])


def test_bits_and_thresholds():
    for transform, op, value in (
        (autoaugment("Posterize", 7), "Posterize", 5),
        (autoaugment("Solarize", 7), "Solarize", 56.9),
        (RandAugment(num_layers=1, magnitude=5, ops=("Posterize",)), "Posterize", 6),
        (RandAugment(num_layers=1, magnitude=5, ops=("Solarize",)), "Solarize", 128),
    ):
        assert outcomes(transform, {op: pillows(op, value)}, 10) == [10]
    for op, value in (("Posterize", 2), ("Solarize", 0)):
        expected = {"weakest": PHOTO, "strongest": pillows(op, value)}
        assert evenly(outcomes(TrivialAugment(num_strengths=2, ops=(op,)), expected))


@pytest.mark.parametrize("op", [*SHIFTS, *COLOURS, "Posterize", "Solarize"])
def test_magnitude_zero_changes_nothing(op):
    for index in range(4):
        for transform in (autoaugment(op, 0), RandAugment(magnitude=0, ops=(op,))):
            np.testing.assert_array_equal(transform(PHOTO, sample_draw(0, 0, index)), PHOTO)


def test_solarize_at_its_weakest_leaves_white_white():
    # The threshold is 256, which no value reaches; at its strongest it is 0, and white becomes
    # black.
    white = np.full((2, 2, 3), 255, np.uint8)
    transform = TrivialAugment(num_strengths=2, ops=("Solarize",))
    assert evenly(outcomes(transform, {"weakest": white, "strongest": white * 0}, image=white))
    assert RandAugment(magnitude=0, ops=("Solarize",))(white, sample_draw(0, 0, 0)).min() == 255


@pytest.mark.parametrize("op", COLOURS)
def test_the_original_colour_factors_are_one_sided(op):
    # The authors' code: 0.1 + 1.8 · magnitude / 10.
    for magnitude, factor in ((0, 0.1), (6, 1.18), (9, 1.72)):
        transform = autoaugment(op, magnitude, variant="original")
        assert outcomes(transform, {factor: pillows(op, factor - 1)}, 20) == [20]


@pytest.mark.parametrize("op", SHIFTS)
def test_what_an_image_does_not_reach_is_filled(op):
    red = (200, 10, 0)
    expected = both_signs(op, IMAGENET[op], fillcolor=red)
    assert sum(outcomes(autoaugment(op, 9, fill=red), expected, 10)) == 10
    assert (
        sum(outcomes(RandAugment(num_layers=1, magnitude=10, ops=(op,), fill=red), expected, 10))
        == 10
    )
    # Of a white image and red, all that AugMix blends is as red as that.
    white = np.full((30, 40, 3), (200, 255, 255), np.uint8)
    mixed = AugMix(ops=(op,), severity=10, fill=red)(white, sample_draw(0, 0, 0))
    assert (mixed[:, :, 0] == 200).all()
    assert mixed[:, :, 1].min() < 250


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("op", ["ShearX", "ShearY", "Rotate"])
def test_resampling_is_pillows(op, resampling):
    # Bicubic kernels differ (a is -0.5 in Pillow, -0.75 in OpenCV), but less than bicubic and
    # bilinear do.
    transforms = (
        autoaugment(op, 9, resampling=resampling),
        RandAugment(num_layers=1, magnitude=10, ops=(op,), resampling=resampling),
    )
    for transform in transforms:
        image = transform(PHOTO, sample_draw(0, 0, 0)).astype(int)
        distances = {
            mode.name.lower(): min(
                np.abs(image - each).mean()
                for each in both_signs(op, IMAGENET[op], resample=mode).values()
            )
            for mode in (
                Image.Resampling.NEAREST,
                Image.Resampling.BILINEAR,
                Image.Resampling.BICUBIC,
            )
        }
        assert min(distances, key=distances.get) == resampling
