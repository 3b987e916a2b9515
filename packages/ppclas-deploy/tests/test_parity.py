"""The comparison itself, against numbers worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ppclas_core.errors import ImageError, ParityError
from ppclas_deploy.answers import exact_predictor, read_photos, run_export
from ppclas_deploy.parity import (
    Answers,
    compare,
    compare_exactly,
    logarithm,
    report,
    require_agreement,
)
from ppclas_deploy.photos import Photos

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


def softmax(logits):
    powers = np.exp(logits.astype(np.float64))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


class TestProbabilities:
    """The activation is inside the export: logarithms of probabilities are compared."""

    def test_an_error_of_a_logit_shows_undiminished_in_an_unlikely_class(self):
        """Its probability is 0.0009, and moves by 0.0009 alone."""
        moved = REFERENCE.copy()
        moved[0, 1] += 0.7
        parity = compare(REFERENCE, softmax(moved), ["a", "b"], 1e-4, softmax)
        assert parity.compared == "log-probabilities"
        # log p moves by 0.7 less what the sum of the powers moves.
        sums = [np.exp(row.astype(np.float64)).sum() for row in (REFERENCE[0], moved[0])]
        assert parity.max_abs_diff == pytest.approx(0.7 - np.log(sums[1] / sums[0]), rel=1e-4)
        assert parity.logits_rms == pytest.approx(5**0.5)
        assert not parity.agrees
        assert "largest log-probability difference" in parity.summary()

    def test_right_probabilities_agree(self):
        parity = compare(REFERENCE, softmax(REFERENCE), ["a", "b"], 1e-5, softmax)
        assert parity.agrees
        assert parity.top1_agreement == 1.0

    def test_logits_instead_of_probabilities_do_not(self):
        shifted = REFERENCE + 5  # all positive: their logarithms exist
        assert not compare(REFERENCE, shifted, ["a", "b"], 1e-2, softmax).agrees

    def test_what_float32_cannot_tell_from_impossible_is_one(self):
        numbers = np.array([1.0, 1e-30, 1e-38, 0.0], np.float32)
        np.testing.assert_allclose(
            logarithm(numbers), np.log(np.array([1.0, 1e-30, 1e-30, 1e-30])), rtol=1e-6
        )


class TestVerdict:
    @pytest.mark.parametrize(
        ("difference", "agrees", "narrow"),
        [(0.9, True, False), (1.1, False, True), (9.9, False, True), (10.1, False, False)],
    )
    def test_a_narrow_miss_is_up_to_ten_tolerances(self, difference, agrees, narrow):
        exported = REFERENCE.astype(np.float64)
        exported[0, 2] += difference * 0.01 * 5**0.5
        parity = compare(REFERENCE, exported, ["a", "b"], 0.01)
        assert (parity.agrees, parity.is_narrow) == (agrees, narrow)
        if not agrees:
            with pytest.raises(ParityError) as caught:
                require_agreement(parity, "no kernel")
            assert ("--option tolerance=0.1 accepts it" in str(caught.value)) is narrow
            assert str(caught.value).endswith("(In double precision: no kernel)")

    def test_agreement_raises_nothing(self):
        require_agreement(compare(REFERENCE, REFERENCE, ["a", "b"], 1e-4), "whatever")

    def test_a_tie_that_turns_is_said_and_no_condition(self):
        """Logits 1 and 1.0000001: rounding makes either the largest."""
        tied = np.array([[1.0, 1.0 + 1e-6, -1.0]])
        parity = compare(tied, tied[:, [1, 0, 2]], ["a"], 1e-4)
        assert parity.agrees
        assert parity.top1_agreement == 0.0
        assert "same top-1 on 0 of 1 photos" in parity.summary()

    def test_the_receipt_says_all_of_it(self, export, rewrite):
        """And can be written as JSON."""
        made = rewrite(export, verified_with="openvino", verified="the twin")
        parity = compare(REFERENCE, REFERENCE, ["p/1.jpg", "p/2.jpg"], 1e-4)
        photos = Photos((Path("/x/p/1.jpg"), Path("/x/p/2.jpg")), "two photos")
        model = Answers(REFERENCE, {"paddle": "3.3.1"})
        said = report(parity, made.manifest, photos, model, Answers(REFERENCE, {"openvino": "9"}))
        assert json.loads(json.dumps(said)) == {
            "verdict": "agrees",
            "target": "onnx",
            "engine": "openvino",
            "verified": "the twin",
            "versions": {"engine": {"openvino": "9"}, "reference": {"paddle": "3.3.1"}},
            "photos": {"origin": "two photos", "count": 2},
            "files": {name: entry.sha256 for name, entry in made.manifest.files.items()},
            "compared": "logits",
            "tolerance": 1e-4,
            "max_abs_diff": 0.0,
            "mean_abs_diff": 0.0,
            "logits_rms": pytest.approx(5**0.5),
            "max_rel_diff": 0.0,
            "mean_rel_diff": 0.0,
            "top1_agreement": 1.0,
            "images": [
                {"file": f"p/{n}.jpg", "reference_top1": k, "export_top1": k, "max_abs_diff": 0.0}
                for n, k in ((1, 0), (2, 2))
            ],
            "own_rounding": None,
            "meaning": made.manifest.meaning(),
        }

    def test_without_more_words_it_was_the_files_in_their_own_engine(self, export):
        parity = compare(REFERENCE, REFERENCE + 1, ["a", "b"], 1e-4)
        answers = Answers(REFERENCE, {})
        said = report(parity, export.manifest, Photos((), "none"), answers, answers)
        assert said["verdict"] == "differs"
        assert said["engine"] == "onnxruntime"
        assert said["verified"] == "the exported files, in their own engine"


class TestAnswers:
    """The two sides of the check, on photos of which every pixel is known."""

    @pytest.fixture
    def photos(self, tmp_path):
        """Eleven photos of the size of a linear export's images, and their pixels."""
        pixels = np.random.default_rng(1).integers(0, 256, (11, 4, 5, 3), dtype=np.uint8)
        files = [str(tmp_path / f"{index:02}.png") for index in range(11)]
        for file, image in zip(files, pixels, strict=True):
            Image.fromarray(image).save(file)
        return files, pixels

    def test_photos_come_as_the_bundle_prepares_them(self, export, photos):
        files, pixels = photos
        np.testing.assert_array_equal(read_photos(export, files), pixels)

    def test_a_photo_that_cannot_be_read_is_named(self, export, photos, tmp_path):
        (tmp_path / "broken.png").write_bytes(b"no photo")
        with pytest.raises(ImageError, match=r"broken\.png"):
            read_photos(export, [photos[0][0], str(tmp_path / "broken.png")])

    def test_an_export_answers_in_its_engine_in_batches_of_several_sizes(
        self, export, rewrite, photos, weights, tmp_path
    ):
        files, pixels = photos
        made = rewrite(export, engine="linear", model="weights.npy")
        job = {"folder": str(made.folder), "photos": files, "logits": str(tmp_path / "l.npy")}
        assert run_export(job) == {"linear": "1.0"}
        expected = export.normalize(pixels).reshape(11, -1) @ weights
        np.testing.assert_allclose(np.load(tmp_path / "l.npy"), expected, rtol=1e-4, atol=1e-4)

    def test_the_stand_in_is_asked_where_there_is_one(self, export, rewrite, photos, tmp_path):
        made = rewrite(export, engine="linear_abort", verified_with="onnxruntime")
        job = {"folder": str(made.folder), "photos": photos[0], "logits": str(tmp_path / "l.npy")}
        assert run_export(job)["provider"] == "CPUExecutionProvider"

    def test_double_precision_is_double(self, bundle):
        """Closer to the model in long double arithmetic than float32 can be."""
        pytest.importorskip("paddle", reason="needs the extra [cpu]")
        from ppclas_engine.scoring.predictors import model_predictor

        pixels = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
        normalize = bundle.manifest.preprocessing.normalize
        single = model_predictor(bundle.build_model(), normalize)(pixels)
        double = exact_predictor(bundle.build_model(), normalize)(pixels)
        assert double.dtype == np.float64
        assert not np.array_equal(double, double.astype(np.float32))
        np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-4)
