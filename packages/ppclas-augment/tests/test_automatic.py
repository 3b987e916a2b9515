"""The automatic augmentations against the papers' tables and distributions."""

from collections import Counter

import numpy as np
import pytest
from ppclas_augment.automatic import AugMix, AutoAugment, ColorJitter, RandAugment, TrivialAugment
from ppclas_augment.policies import (
    IMAGENET_POLICY,
    IMAGENET_RANGES,
    ORIGINAL_RANGES,
    RANDAUGMENT_OPS,
    RANDAUGMENT_RANGES,
    TRIVIAL_RANGES,
    Step,
)
from ppclas_core.config.load import load_config
from ppclas_core.contracts.data import sample_draw
from ppclas_core.errors import ConfigError, ShapeError
from pydantic import ValidationError
from scipy import stats

ALWAYS = 1e-4
"""Significance below which a distribution is taken for wrong: draws are fixed, so a test passes
always or never."""


def gradient(height=32, width=48):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([y * 7 % 256, x * 5 % 256, (x + y) * 3 % 256], axis=-1).astype(np.uint8)


def drawn(transform, count, seed=0):
    return [transform.draw_operations(np.random.default_rng((seed, i))) for i in range(count)]


def fits(observed, expected):
    expected = np.asarray(expected, float)
    return stats.chisquare(observed, expected / expected.sum() * sum(observed)).pvalue > ALWAYS


# Table 9 of the AutoAugment paper: operation, probability and magnitude, twice.
IMAGENET = """
    Posterize 0.4 8     Rotate 0.6 9
    Solarize 0.6 5      AutoContrast 0.6 5
    Equalize 0.8 8      Equalize 0.6 3
    Posterize 0.6 7     Posterize 0.6 6
    Equalize 0.4 7      Solarize 0.2 4
    Equalize 0.4 4      Rotate 0.8 8
    Solarize 0.6 3      Equalize 0.6 7
    Posterize 0.8 5     Equalize 1.0 2
    Rotate 0.2 3        Solarize 0.6 8
    Equalize 0.6 8      Posterize 0.4 6
    Rotate 0.8 8        Color 0.4 0
    Rotate 0.4 9        Equalize 0.6 2
    Equalize 0.0 7      Equalize 0.8 8
    Invert 0.6 4        Equalize 1.0 8
    Color 0.6 4         Contrast 1.0 8
    Rotate 0.8 8        Color 1.0 2
    Color 0.8 8         Solarize 0.8 7
    Sharpness 0.4 7     Invert 0.6 8
    ShearX 0.6 5        Equalize 1.0 9
    Color 0.4 0         Equalize 0.6 3
    Equalize 0.4 7      Solarize 0.2 4
    Solarize 0.6 5      AutoContrast 0.6 5
    Invert 0.6 4        Equalize 1.0 8
    Color 0.6 4         Contrast 1.0 8
    Equalize 0.8 8      Equalize 0.6 3
"""


def test_the_imagenet_policy_is_the_papers():
    rows = [row.split() for row in IMAGENET.strip().splitlines()]
    table = tuple(
        tuple(
            Step(op=op, probability=float(probability), magnitude=float(magnitude))
            for op, probability, magnitude in row
        )
        for row in ((row[:3], row[3:]) for row in rows)
    )
    assert table == IMAGENET_POLICY
    assert drawn(AutoAugment(), 100) == drawn(AutoAugment(policy=table), 100)


def test_autoaugment_magnitudes_are_the_specifications():
    def values(op):
        return [IMAGENET_RANGES[op].at(index / 9) for index in range(10)]

    assert values("ShearX") == pytest.approx(np.linspace(0, 0.3, 10))
    assert values("TranslateY") == pytest.approx(np.linspace(0, 150 / 331, 10))
    assert values("Rotate") == pytest.approx(np.linspace(0, 30, 10))
    assert values("Color") == pytest.approx(np.linspace(0, 0.9, 10))
    assert values("Posterize") == [8, 8, 7, 7, 6, 6, 5, 5, 4, 4]
    assert values("Solarize") == pytest.approx(
        [256, 227.6, 199.1, 170.7, 142.2, 113.8, 85.3, 56.9, 28.4, 0], abs=0.05
    )
    # The authors' code: 0.1 + 1.8 · index / 10, one-sided.
    factors = [1 + ORIGINAL_RANGES["Color"].at(index / 9) for index in range(10)]
    assert factors == pytest.approx([0.1 + 0.18 * index for index in range(10)])
    assert not ORIGINAL_RANGES["Color"].signed


def test_randaugment_gets_stronger_with_the_magnitude():
    # 8 - int(4 · level) bits, a threshold of 256 · (1 - level); at magnitude 10 the ends of
    # AutoAugment's ranges.
    posterize = [RANDAUGMENT_RANGES["Posterize"].at(magnitude / 10) for magnitude in range(11)]
    assert posterize == [8 - int(4 * magnitude / 10) for magnitude in range(11)]
    assert RANDAUGMENT_RANGES["Solarize"].at(0.5) == pytest.approx(128)
    for op, strongest in {
        "ShearX": 0.3,
        "Rotate": 30,
        "TranslateX": 150 / 331,
        "Sharpness": 0.9,
    }.items():
        assert RANDAUGMENT_RANGES[op].at(1.0) == pytest.approx(strongest)


def test_randaugments_ops_are_the_papers():
    # Identity, not Invert (Cubuk et al. 2019, section 3).
    assert set(RANDAUGMENT_OPS) == {
        *(
            "Identity",
            "AutoContrast",
            "Equalize",
            "Rotate",
            "Solarize",
            "Color",
            "Posterize",
            "Contrast",
        ),
        *("Brightness", "Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY"),
    }


# 31 strengths in even steps; a shift of 32 of 224 pixels; a threshold of 256 inverts nothing.
@pytest.mark.parametrize(
    ("op", "weakest", "strongest"),
    [
        *[
            ("ShearX", 0, 0.99),
            ("ShearY", 0, 0.99),
            ("TranslateX", 0, 32 / 224),
            ("TranslateY", 0, 32 / 224),
        ],
        *[
            ("Color", 0, 0.99),
            ("Contrast", 0, 0.99),
            ("Brightness", 0, 0.99),
            ("Sharpness", 0, 0.99),
        ],
        *[("Rotate", 0, 135), ("Solarize", 256, 0)],
    ],
)
def test_trivialaugments_wide_ranges_are_the_papers(op, weakest, strongest):
    values = {round(abs(value), 9) for ((_, value),) in drawn(TrivialAugment(ops=(op,)), 400)}
    assert sorted(values) == pytest.approx(sorted(np.linspace(weakest, strongest, 31)))
    ends = [TRIVIAL_RANGES[op].at(strength) for strength in (0, 1)]
    assert ends == pytest.approx([weakest, strongest])


def test_trivialaugment_keeps_two_to_eight_bits():
    values = [bits for ((_, bits),) in drawn(TrivialAugment(ops=("Posterize",)), 400)]
    assert set(values) == set(range(2, 9))
    assert np.mean(values) == pytest.approx(5, abs=0.3)
    assert [TRIVIAL_RANGES["Posterize"].at(strength) for strength in (0, 1)] == [8, 2]


def test_autoaugment_draws_each_sub_policy_equally_often():
    # A policy of 25 sub-policies that can be told apart, one step each.
    policy = tuple((Step(op="Rotate", magnitude=9 * index / 25),) for index in range(25))
    values = [abs(operations[0][1]) for operations in drawn(AutoAugment(policy=policy), 5000)]
    assert fits(np.unique(np.round(values, 6), return_counts=True)[1], [1] * 25)


def test_autoaugment_applies_each_step_by_its_own_probability():
    policy = ((Step(op="Invert", probability=0.3), Step(op="Equalize", probability=0.8)),)
    counts = Counter(
        tuple(op for op, _ in operations) for operations in drawn(AutoAugment(policy=policy), 4000)
    )
    observed = [counts[key] for key in ((), ("Invert",), ("Equalize",), ("Invert", "Equalize"))]
    assert fits(observed, [0.7 * 0.2, 0.3 * 0.2, 0.7 * 0.8, 0.3 * 0.8])


def test_signs_are_even_for_rotations_too():
    # The reference turned one way only.
    policy = ((Step(op="Rotate", magnitude=9),),)
    values = Counter(operations[0][1] for operations in drawn(AutoAugment(policy=policy), 2000))
    assert set(values) == {30, -30}
    assert fits([values[30], values[-30]], [1, 1])


def test_randaugment_draws_ops_evenly_and_with_replacement():
    operations = drawn(RandAugment(num_layers=3, magnitude=7), 3000)
    assert {len(row) for row in operations} == {3}
    counts = Counter(op for row in operations for op, _ in row)
    assert fits([counts[op] for op in RANDAUGMENT_OPS], [1] * 14)
    twice = np.mean([row[0][0] == row[1][0] for row in operations])
    assert twice == pytest.approx(1 / 14, abs=0.02)
    assert {round(abs(value), 9) for row in operations for op, value in row if op == "ShearY"} == {
        0.21
    }


def test_the_spread_of_the_magnitude_stays_within_the_scale():
    operations = drawn(
        RandAugment(ops=("Rotate",), num_layers=1, magnitude=5, magnitude_std=1), 3000
    )
    magnitudes = np.abs([row[0][1] for row in operations]) / 3
    assert (magnitudes.mean(), magnitudes.std()) == pytest.approx((5, 1), abs=0.06)
    wild = drawn(RandAugment(ops=("Rotate",), num_layers=1, magnitude=9, magnitude_std=5), 500)
    assert max(abs(row[0][1]) for row in wild) == 30


def test_trivialaugment_draws_op_and_strength_evenly():
    operations = drawn(TrivialAugment(), 6000)
    counts = Counter(op for ((op, _),) in operations)
    assert fits([counts[op] for op in RANDAUGMENT_OPS], [1] * 14)
    turns = Counter(
        round(abs(value) / 4.5) for ((op, value),) in drawn(TrivialAugment(ops=("Rotate",)), 6000)
    )
    assert fits([turns[step] for step in range(31)], [1] * 31)


def test_augmix_blends_by_beta_and_dirichlet():
    # On a grey image of 100, chains of Invert are 155 everywhere: what comes out tells the share,
    # U(0, 1) at alpha 1.
    image = np.full((4, 5, 3), 100, np.uint8)
    transform = AugMix(ops=("Invert",), depth=1)
    shares = [(transform(image, sample_draw(0, 0, i))[0, 0, 0] - 100) / 55 for i in range(800)]
    assert stats.kstest(shares, "uniform").pvalue > 1e-3  # in steps of 1/55
    depths = Counter(len(row) for row in drawn(AugMix(), 3000))
    assert fits([depths[n] for n in (1, 2, 3)], [1, 1, 1])


def test_color_jitter_draws_factors_evenly():
    image = np.full((2, 2, 3), 100, np.uint8)
    jitter = ColorJitter(brightness=0.5, contrast=0, saturation=0)
    factors = [jitter(image, sample_draw(0, 0, i))[0, 0, 0] / 100 for i in range(2000)]
    assert (min(factors), max(factors)) == pytest.approx((0.5, 1.5), abs=0.01)
    assert stats.kstest(factors, "uniform", (0.5, 1.0)).pvalue > 1e-3
    untouched = [
        ColorJitter(probability=0.3)(image, sample_draw(0, 0, i)) is image for i in range(1000)
    ]
    assert np.mean(untouched) == pytest.approx(0.7, abs=0.05)


def test_an_image_after_autoaugment_by_hand():
    policy = ((Step(op="Solarize", magnitude=9), Step(op="Posterize", magnitude=9)),)
    image = gradient()
    out = AutoAugment(policy=policy)(image, sample_draw(0, 0, 0))
    np.testing.assert_array_equal(out, (255 - image) & 0xF0)


@pytest.mark.parametrize(
    "transform", [AutoAugment(), RandAugment(), TrivialAugment(), AugMix(), ColorJitter(hue=0.1)]
)
def test_odd_images(transform):
    for height, width in ((1, 1), (1, 9), (33, 1), (30, 71), (700, 900)):
        image = gradient(height, width)
        image.flags.writeable = False
        for index in range(4):
            out = transform(image, sample_draw(3, 0, index))
            assert (out.shape, out.dtype) == (image.shape, np.uint8)


def test_floats_and_other_layouts_are_refused():
    for image in (
        np.zeros((4, 4, 3), np.float32),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
    ):
        with pytest.raises(
            ShapeError,
            match=r"takes RGB pixels \[H, W, 3\] uint8; got .* Place it before Normalize",
        ):
            RandAugment()(image, sample_draw(0, 0, 0))


def test_a_policy_from_yaml(tmp_path):
    config = tmp_path / "run.yaml"

    def load(policy):
        config.write_text(
            f"data:\n  train_transforms:\n    - name: AutoAugment\n      policy: {policy}\n"
        )
        return load_config(config).config.data.train_transforms[0].params

    good = load("[[{op: Rotate, probability: 0.5, magnitude: 3}, {op: Equalize}], [{op: Invert}]]")
    transform = AutoAugment(**good)
    assert transform.policy == (
        (Step(op="Rotate", probability=0.5, magnitude=3), Step(op="Equalize")),
        (Step(op="Invert"),),
    )
    for policy, said in (
        ("[[{op: Rotat, magnitude: 3}]]", "Did you mean 'Rotate'"),
        ("[[{op: Rotate}]]", r"Rotate needs a magnitude, 0 \(weakest\) to 9 \(strongest\)"),
        ("[[{op: Rotate, magnitude: 12}]]", "expected 9 or less, got 12"),
        ("[[{op: Rotate, magnitude: 3, chance: 1}]]", "unknown key 'chance'"),
        ("[]", "at least 1 items"),
    ):
        with pytest.raises(ConfigError, match=said):
            load(policy)


def test_wrong_parameters_are_refused():
    with pytest.raises(ValidationError, match="less than or equal to 10"):
        RandAugment(magnitude=11)
    with pytest.raises(ValidationError, match="Posterise"):
        RandAugment(ops=("Posterise",))
