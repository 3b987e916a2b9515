"""Metrics of several labels per image, AUROC and reliability: by hand, and against scikit-learn."""

import numpy as np
import pytest
from ppclas_components.metrics import (
    AUROC,
    CalibrationError,
    MacroF1,
    MeanAveragePrecision,
    ThresholdF1,
    TopK,
    auroc_per_class,
    average_precision_per_class,
    best_thresholds,
    reliability,
    threshold_scores,
    truth_of,
)
from ppclas_core.errors import ShapeError


@pytest.fixture
def case():
    """300 images, 6 classes, probabilities with ties that say something about the labels."""
    rng = np.random.default_rng(0)
    labels = (rng.random((300, 6)) < [0.5, 0.3, 0.1, 0.05, 0.02, 0.9]).astype(np.float32)
    noise = rng.normal(size=labels.shape) + labels
    return np.round(1 / (1 + np.exp(-noise)), 2).astype(np.float32), labels


def test_auroc_by_hand():
    # With the class: 0.9, 0.5; without: 0.5, 0.1. Of four pairs three are in order and one is tied.
    probabilities = np.float32([[0.9], [0.5], [0.5], [0.1]])
    assert AUROC()(probabilities, np.float32([[1], [1], [0], [0]])) == {"auroc": 3.5 / 4}


def test_average_precision_by_hand():
    # Ranked: there, absent, there. Precision at the two: 1/1 and 2/3.
    probabilities = np.float32([[0.9], [0.6], [0.3]])
    assert MeanAveragePrecision()(probabilities, np.float32([[1], [0], [1]]))[
        "map"
    ] == pytest.approx((1 + 2 / 3) / 2)


def test_f1_at_a_threshold_by_hand():
    probabilities = np.float32([[0.9, 0.2], [0.5, 0.7], [0.1, 0.6]])
    labels = np.float32([[1, 0], [0, 1], [0, 1]])
    # Class 0: one right, one false alarm: F1 2/3. Class 1: both right: 1. All decisions: 3 right of
    # 4 said and 3 there.
    expected = {"macro_f1": 5 / 6, "micro_f1": 6 / 7, "exact_match": 2 / 3}
    assert ThresholdF1()(probabilities, labels) == pytest.approx(expected)
    assert ThresholdF1(threshold=0.55)(probabilities, labels)["exact_match"] == 1.0


def test_against_scikit_learn(case):
    metrics = pytest.importorskip(
        "sklearn.metrics", reason="scikit-learn, which is compared with, is not installed"
    )
    probabilities, labels = case
    truth = truth_of(probabilities, labels)
    np.testing.assert_allclose(
        auroc_per_class(probabilities, truth),
        metrics.roc_auc_score(labels, probabilities, average=None),
    )
    np.testing.assert_allclose(
        average_precision_per_class(probabilities, truth),
        metrics.average_precision_score(labels, probabilities, average=None),
    )
    assert AUROC()(probabilities, labels)["auroc"] == pytest.approx(
        metrics.roc_auc_score(labels, probabilities)
    )
    said = probabilities >= 0.5
    expected = {
        f"{kind}_f1": metrics.f1_score(labels, said, average=kind) for kind in ("macro", "micro")
    }
    expected["exact_match"] = metrics.accuracy_score(labels, said)
    assert ThresholdF1()(probabilities, labels) == pytest.approx(expected)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(labels, said)
    scores = threshold_scores(truth, said)
    for ours, theirs in zip(
        (scores.precision, scores.recall, scores.f1), (precision, recall, f1), strict=True
    ):
        np.testing.assert_allclose(ours, theirs)
    assert scores.support.tolist() == support.tolist()


def test_one_label_against_scikit_learn():
    metrics = pytest.importorskip(
        "sklearn.metrics", reason="scikit-learn, which is compared with, is not installed"
    )
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, 400)
    logits = rng.normal(size=(400, 5)) + 2 * np.eye(5)[labels]
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    expected = metrics.roc_auc_score(np.eye(5)[labels], probabilities, average="macro")
    assert AUROC()(probabilities, labels)["auroc"] == pytest.approx(expected)
    predicted = probabilities.argmax(axis=1)
    assert MacroF1()(probabilities, labels)["macro_f1"] == pytest.approx(
        metrics.f1_score(labels, predicted, average="macro")
    )
    assert TopK(k=(2,))(probabilities, labels)["top2"] == metrics.top_k_accuracy_score(
        labels, probabilities, k=2
    )


def test_best_thresholds_by_hand():
    """Five images: F1 of the first class is 0.8 with the first three, less with any others."""
    probabilities = np.array(
        [[0.9, 0.1, 0.3], [0.7, 0.2, 0.3], [0.4, 0.3, 0.6], [0.2, 0.4, 0.6], [0.1, 0.5, 0.6]]
    )
    truth = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]], bool)
    # The second class is in no image; the third in one of two that look alike and rank last: all
    # must be let in.
    np.testing.assert_allclose(best_thresholds(probabilities, truth), [0.3, 0.5, 0.15])


def test_the_best_threshold_of_calibrated_probabilities_is_half_of_the_f1_it_reaches():
    """Lipton et al. 2014, theorem 1."""
    rng = np.random.default_rng(0)
    probabilities = np.stack([rng.beta(1, 4, 200_000), rng.beta(0.5, 0.5, 200_000)], axis=1)
    truth = rng.random(probabilities.shape) < probabilities
    thresholds = best_thresholds(probabilities, truth)
    reached = threshold_scores(truth, probabilities >= thresholds).f1
    np.testing.assert_allclose(thresholds, reached / 2, atol=0.02)
    assert (reached > threshold_scores(truth, probabilities >= 0.5).f1).all()


def test_reliability_of_several_labels_by_hand():
    probabilities = np.float32([[0.1, 0.3], [0.9, 0.4]])
    curve = reliability(probabilities, np.float32([[0, 1], [1, 0]]), bins=2)
    assert curve.count.tolist() == [3, 1]
    assert curve.confidence == pytest.approx([0.8 / 3, 0.9])
    assert curve.accuracy == pytest.approx([1 / 3, 1.0])
    ece = CalibrationError(bins=2)(probabilities, np.float32([[0, 1], [1, 0]]))["ece"]
    assert ece == pytest.approx((3 * abs(0.8 / 3 - 1 / 3) + 0.1) / 4)


def test_reliability_of_one_label_looks_at_the_predicted_class():
    curve = reliability(np.float32([[0.7, 0.3], [0.45, 0.55]]), np.array([0, 0]), bins=10)
    assert curve.count.nonzero()[0].tolist() == [5, 6]
    assert curve.accuracy[[5, 6]].tolist() == [0.0, 1.0]


def test_classes_without_both_kinds_of_images_are_left_out(case):
    probabilities, labels = case
    labels = labels.copy()
    labels[:, 0], labels[:, 1] = 1, 0
    truth = truth_of(probabilities, labels)
    assert np.isnan(auroc_per_class(probabilities, truth)).tolist() == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert np.isnan(average_precision_per_class(probabilities, truth)).tolist() == [
        False,
        True,
        *[False] * 4,
    ]
    nothing = np.zeros_like(labels)
    assert AUROC()(probabilities, nothing) == {"auroc": 0.5}
    assert MeanAveragePrecision()(probabilities, nothing) == {"map": 0.0}


def test_what_does_not_fit_is_refused(case):
    probabilities, labels = case
    for metric in (AUROC(), MeanAveragePrecision(), ThresholdF1(), CalibrationError()):
        with pytest.raises(
            ShapeError,
            match=r"labels \[N, C\] of at least one sample; got \(300, 6\) and \(300, 5\)",
        ):
            metric(probabilities, labels[:, :5])
    for metric in (TopK(), MacroF1()):
        with pytest.raises(ShapeError, match=r"labels \[N\] of at least one sample"):
            metric(probabilities, labels)
