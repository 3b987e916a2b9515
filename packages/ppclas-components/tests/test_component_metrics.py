"""Expected values are worked out by hand, or by a plain loop over the definition."""

import numpy as np
import pytest
from ppclas_components.metrics import (
    CalibrationError,
    MacroF1,
    TopK,
    class_scores,
    confusion_matrix,
    predictions,
    ranks,
)
from ppclas_core.errors import ShapeError


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (exp / exp.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def random_case():
    rng = np.random.default_rng(0)
    return softmax(rng.normal(size=(200, 7)) * 2), rng.integers(0, 7, 200)


def test_topk_by_hand():
    probabilities = np.array(
        [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3], [0.6, 0.3, 0.1]], dtype=np.float32
    )
    labels = np.array([0, 1, 0, 2])  # ranks 0, 1, 2, 2
    assert ranks(probabilities, labels).tolist() == [0, 1, 2, 2]
    assert TopK(k=(1, 2, 3))(probabilities, labels) == {"top1": 0.25, "top2": 0.5, "top3": 1.0}


def test_topk_against_a_stable_sort(random_case):
    probabilities, labels = random_case
    order = np.argsort(-probabilities, axis=1, kind="stable")
    for k in (1, 2, 5):
        expected = np.mean([label in row[:k] for label, row in zip(labels, order, strict=True)])
        assert TopK(k=(k,))(probabilities, labels)[f"top{k}"] == expected


def test_k_is_clamped_to_the_number_of_classes():
    probabilities = np.array([[0.1, 0.9], [0.8, 0.2]], dtype=np.float32)
    assert TopK()(probabilities, np.array([0, 0])) == {"top1": 0.5, "top5": 1.0}


def test_ties_go_to_the_lower_index():
    even = np.full((4, 4), 0.25, dtype=np.float32)
    assert ranks(even, np.arange(4)).tolist() == [0, 1, 2, 3]
    assert predictions(even).tolist() == [0, 0, 0, 0]
    assert TopK(k=(1, 2))(even, np.arange(4)) == {"top1": 0.25, "top2": 0.5}


def test_a_sample_with_nan_is_wrong_for_every_k():
    probabilities = np.array([[np.nan, np.nan], [0.9, 0.1]], dtype=np.float32)
    assert TopK()(probabilities, np.array([0, 0])) == {"top1": 0.5, "top5": 0.5}


def test_confusion_matrix_and_scores_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 2, 0])
    matrix = confusion_matrix(labels, predicted, num_classes=4)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    scores = class_scores(matrix)
    assert scores.precision == pytest.approx([2 / 3, 1 / 2, 0, 0])
    assert scores.recall == pytest.approx([2 / 3, 1 / 2, 0, 0])
    assert scores.f1 == pytest.approx([2 / 3, 1 / 2, 0, 0])
    assert scores.support.tolist() == [3, 2, 1, 0]
    assert scores.present.tolist() == [True, True, True, False]


def test_macro_means_leave_absent_classes_out():
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 2, 0])
    probabilities = np.eye(4, dtype=np.float32)[predicted]
    expected = (2 / 3 + 1 / 2 + 0) / 3
    result = MacroF1()(probabilities, labels)
    assert result == pytest.approx(
        dict.fromkeys(("macro_precision", "macro_recall", "macro_f1"), expected)
    )


def test_scores_against_their_definitions(random_case):
    probabilities, labels = random_case
    predicted = predictions(probabilities)
    scores = class_scores(confusion_matrix(labels, predicted, 7))
    for c in range(7):
        tp = np.sum((predicted == c) & (labels == c))
        precision, recall = tp / np.sum(predicted == c), tp / np.sum(labels == c)
        assert scores.precision[c] == pytest.approx(precision)
        assert scores.recall[c] == pytest.approx(recall)
        assert scores.f1[c] == pytest.approx(2 * precision * recall / (precision + recall))


def test_calibration_error_by_hand():
    # Bins (0.6, 0.8] and (0.8, 1]: accuracy 1/2 at confidence 0.7, accuracy 1/2 at 0.9.
    probabilities = np.array([[0.7, 0.3], [0.7, 0.3], [0.9, 0.1], [0.9, 0.1]], dtype=np.float32)
    labels = np.array([0, 1, 0, 1])
    assert CalibrationError(bins=5)(probabilities, labels)["ece"] == pytest.approx(
        0.5 * 0.2 + 0.5 * 0.4, abs=1e-6
    )


def test_calibration_error_against_a_loop_over_bins(random_case):
    probabilities, labels = random_case
    confidence, correct = probabilities.max(axis=1), predictions(probabilities) == labels
    expected = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert CalibrationError()(probabilities, labels)["ece"] == pytest.approx(expected, abs=1e-6)


def test_full_confidence_is_in_the_last_bin():
    assert CalibrationError()(np.eye(3, dtype=np.float32), np.arange(3)) == {"ece": 0.0}


@pytest.mark.parametrize(
    "metric", [TopK(), MacroF1(), CalibrationError()], ids=lambda metric: type(metric).__name__
)
def test_what_does_not_fit_is_refused(metric):
    probabilities = np.eye(3, dtype=np.float32)
    with pytest.raises(ShapeError, match=r"labels must be in 0\.\.2 for 3 classes; got 0\.\.3"):
        metric(probabilities, np.array([0, 1, 3]))
    with pytest.raises(ShapeError, match=r"at least one sample; got \(3, 3\) and \(2,\)"):
        metric(probabilities, np.array([0, 1]))
    with pytest.raises(ShapeError, match="at least one sample"):
        metric(probabilities[:0], np.array([], dtype=np.int64))
