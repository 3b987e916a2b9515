"""The loss and the metric of PaddleClas' recipes, against NumPy and scikit-learn."""

import numpy as np
import pytest
from ppclas_core.contracts.training import Targets
from ppclas_core.testing import check_loss, check_metric
from ppclas_paddleclas.losses import (
    AttributeCrossEntropy,
    AttributeDML,
    MixedBinaryCrossEntropy,
)
from ppclas_paddleclas.metrics import TprAtFpr
from sklearn.metrics import roc_curve


@pytest.mark.parametrize("mean", [False, True])
def test_the_rarer_answer_counts_more(mean):
    import paddle

    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(6, 4)), rng.integers(0, 2, (6, 4)).astype(float)
    share = np.array([0.1, 0.25, 0.5, 0.8])  # of images that have each class
    weights = np.exp(labels * (1 - share) + (1 - labels) * share)
    p = 1 / (1 + np.exp(-logits))
    cost = -weights * (labels * np.log(p) + (1 - labels) * np.log(1 - p))
    loss = AttributeCrossEntropy(class_weights=tuple((1 - share) / share), mean_over_classes=mean)
    found = loss(paddle.to_tensor(logits, "float32"), Targets(paddle.to_tensor(labels, "float32")))
    assert found.item() == pytest.approx(cost.mean() if mean else cost.sum(1).mean(), rel=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_divergence_from_a_teacher_weighs_as_paddleclas_does(weighted):
    """Its code: both divergences, with epsilon, times C, weighed, halved, and the mean of all."""
    import paddle

    rng = np.random.default_rng(2)
    logits, teacher = rng.normal(size=(2, 6, 4))
    labels = rng.integers(0, 2, (6, 4)).astype(float)
    share = np.array([0.1, 0.25, 0.5, 0.8])
    weights = np.exp(labels * (1 - share) + (1 - labels) * share) if weighted else 1.0
    s, t = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (logits, teacher))
    both = t * np.log((t + 1e-12) / (s + 1e-12)) + s * np.log((s + 1e-12) / (t + 1e-12))
    expected = (weights * 4 * both / 2).mean()
    loss = AttributeDML(class_weights=tuple((1 - share) / share) if weighted else None)
    targets = Targets(
        paddle.to_tensor(labels, "float32"), teacher_logits=paddle.to_tensor(teacher, "float32")
    )
    found = loss(paddle.to_tensor(logits, "float32"), targets)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("smoothing", "threshold", "there"),
    [
        (0.0, 0.2, [[0], [1, 3], [2]]),  # shares 0.9 and 0.1, 0.6 and 0.4, 1
        (0.0, 0.05, [[0, 2], [1, 3], [2]]),
        (0.0, 0.5, [[0], [1], [2]]),
        (0.4, 0.33, [[0], [1, 3], [2]]),  # 0.6 · 0.4 + 0.4 / 4 = 0.34
        (0.4, 0.35, [[0], [1], [2]]),
    ],
)
def test_each_class_with_a_share_of_a_mixed_image_is_there(smoothing, threshold, there):
    import paddle

    logits = np.random.default_rng(3).normal(size=(3, 4))
    target = np.zeros((3, 4))
    for row, classes in enumerate(there):
        target[row, classes] = 1.0
    p = 1 / (1 + np.exp(-logits))
    expected = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean()
    targets = Targets(
        paddle.to_tensor([0, 1, 2]),
        mixed_labels=paddle.to_tensor([2, 3, 2]),
        weight=paddle.to_tensor([0.9, 0.6, 1.0]),
    )
    loss = MixedBinaryCrossEntropy(label_smoothing=smoothing, threshold=threshold)
    found = loss(paddle.to_tensor(logits, "float32"), targets)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_mixed_images_keeps_its_contract():
    check_loss(MixedBinaryCrossEntropy())


@pytest.mark.parametrize("loss", [AttributeCrossEntropy, AttributeDML])
def test_the_loss_keeps_its_contract(loss):
    check_loss(loss(class_weights=None))


@pytest.mark.parametrize("limit", [0.001, 0.01, 0.1])
def test_true_positives_against_scikit_learn(limit):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 2000)
    scores = np.clip(rng.normal(labels * 0.4 + 0.3, 0.2), 0, 1).astype(np.float32)
    found = TprAtFpr(max_fpr=limit)(np.stack([1 - scores, scores], axis=1), labels)
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert found["tpr_at_fpr"] == pytest.approx(true[false < limit].max())


def test_the_metric_keeps_its_contract():
    check_metric(TprAtFpr())
    assert TprAtFpr()(np.float32([[0.4, 0.6]]), np.array([0])) == {"tpr_at_fpr": 0.0}
