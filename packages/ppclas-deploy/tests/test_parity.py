"""The comparison itself, against numbers worked out by hand."""

import numpy as np
import pytest
from ppclas_core.errors import ParityError
from ppclas_deploy.parity import compare, compare_exactly, require_agreement

# RMS: sqrt((9 + 16 + 0 + 0 + 1 + 4) / 6) = sqrt(5)
REFERENCE = np.array([[3.0, -4.0, 0.0], [0.0, 1.0, 2.0]], np.float32)


def test_numbers_by_hand():
    exported = REFERENCE + np.array([[0.0, 0.5, 0.0], [0.0, 1.5, 0.0]], np.float32)
    parity = compare(REFERENCE, exported, ["a/1.jpg", "b/2.jpg"], tolerance=1e-4)
    assert parity.logits_rms == pytest.approx(5**0.5)
    assert parity.max_abs_diff == 1.5
    assert parity.mean_abs_diff == pytest.approx(2.0 / 6)
    assert parity.max_rel_diff == pytest.approx(1.5 / 5**0.5)
    assert parity.mean_rel_diff == pytest.approx(2.0 / 6 / 5**0.5)
    assert parity.top1_agreement == 0.5
    first, second = parity.images
    assert (first.file, first.reference_top1, first.export_top1, first.max_abs_diff) == (
        "a/1.jpg",
        0,
        0,
        0.5,
    )
    assert (second.file, second.reference_top1, second.export_top1, second.max_abs_diff) == (
        "b/2.jpg",
        2,
        1,
        1.5,
    )
    assert not parity.agrees


@pytest.mark.parametrize(("share", "agrees"), [(0.99, True), (1.01, False)])
def test_the_limit_is_a_share_of_the_root_mean_square(share, agrees):
    exported = REFERENCE.astype(np.float64)
    exported[1, 0] += share * 0.01 * 5**0.5
    parity = compare(REFERENCE, exported, ["a", "b"], tolerance=0.01)
    assert parity.agrees is agrees


def test_logits_that_are_all_zero_are_compared_as_they_are():
    zeros = np.zeros((2, 3), np.float32)
    assert compare(zeros, zeros, ["a", "b"], 1e-4).agrees
    assert not compare(zeros, zeros + 1e-3, ["a", "b"], 1e-4).agrees


def test_a_difference_names_the_worst_photo():
    parity = compare(
        REFERENCE, REFERENCE + np.array([[0.0], [0.2]]), ["pears/1.jpg", "milk/2.jpg"], 1e-4
    )
    with pytest.raises(ParityError, match=r"same top-1 on 2 of 2 photos; worst on milk/2\.jpg"):
        require_agreement(parity)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_never_agrees(value):
    exported = REFERENCE.copy()
    exported[1, 1] = value
    with pytest.raises(
        ParityError, match=r"the export gives a logit that is not finite for b\.jpg"
    ):
        compare(REFERENCE, exported, ["a.jpg", "b.jpg"], 1e-4)


def test_another_number_of_classes_never_agrees():
    with pytest.raises(ParityError, match=r"logits \[2, 3\] for 2 photos and the export \[2, 2\]"):
        compare(REFERENCE, REFERENCE[:, :2], ["a", "b"], 1e-4)


class TestDoublePrecision:
    """The model is 0.04 of the RMS from the exact answer at one logit; the export may be 0.08 from
    it at any.
    """

    exact = REFERENCE.astype(np.float64)
    model = (exact + np.array([[0.04, 0.0, 0.0], [0.0, 0.0, 0.0]]) * 5**0.5).astype(np.float32)

    @pytest.mark.parametrize(("share", "agrees"), [(0.079, True), (0.081, False)])
    def test_twice_the_models_own_rounding_is_allowed(self, share, agrees):
        exported = (self.exact - np.array([[0.0, 0.0, 0.0], [0.0, share, 0.0]]) * 5**0.5).astype(
            np.float32
        )
        parity = compare_exactly(self.exact, self.model, exported, ["a", "b"], 0.01)
        assert parity.agrees is agrees
        assert parity.own_rounding == pytest.approx(0.04, rel=1e-5)
        assert parity.max_rel_diff == pytest.approx(share, rel=1e-5)
        assert (
            "from double precision, where the model's own is 0.04 (tolerance 0.08)"
            in parity.summary()
        )

    def test_an_exact_model_leaves_the_tolerance_as_it_is(self):
        exported = (self.exact + 0.011 * 5**0.5).astype(np.float32)
        parity = compare_exactly(self.exact, REFERENCE, exported, ["a", "b"], 0.01)
        assert not parity.agrees
        assert parity.tolerance == 0.01
        with pytest.raises(ParityError, match=r"--option tolerance=0\.1 accepts it"):
            require_agreement(parity)
