"""Loss values against spec vectors, hand calculations and the definition written in NumPy."""

import numpy as np
import pytest
from ppclas_components.losses import CrossEntropy
from ppclas_core.contracts.training import Targets
from ppclas_core.errors import ConfigError, ShapeError
from pydantic import ValidationError

paddle = pytest.importorskip("paddle")

LOGITS = [[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]]
LABELS = [2, 0]


def tensor(values, dtype=None):
    return paddle.to_tensor(values, dtype=dtype)


def labels_of(values, **others):
    return Targets(tensor(values, "int64"), **others)


def log_softmax(logits):
    logits = np.asarray(logits, dtype=np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def defined(logits, target, smoothing=0.0):
    """Mean of -Σ target · log softmax, with the smoothed target written out."""
    target = (1 - smoothing) * np.asarray(target) + smoothing / np.shape(logits)[1]
    return -(target * log_softmax(logits)).sum(axis=1).mean()


@pytest.mark.parametrize(("smoothing", "expected"), [(0.0, 0.9795253), (0.1, 1.0128587)])
def test_values_of_the_reference(smoothing, expected):
    loss = CrossEntropy(label_smoothing=smoothing)(tensor(LOGITS), labels_of(LABELS))
    assert loss.shape == []
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_mix_of_the_reference():
    targets = labels_of(LABELS, mixed_labels=tensor([1, 1], "int64"), weight=tensor([0.3, 0.3]))
    assert CrossEntropy()(tensor(LOGITS), targets).item() == pytest.approx(1.3295253, abs=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_each_sample_is_mixed_by_its_own_weight(smoothing):
    targets = labels_of(LABELS, mixed_labels=tensor([1, 2], "int64"), weight=tensor([0.25, 0.8]))
    expected = defined(LOGITS, [[0, 0.75, 0.25], [0.8, 0, 0.2]], smoothing)
    assert CrossEntropy(label_smoothing=smoothing)(tensor(LOGITS), targets).item() == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_soft_targets_replace_the_labels(smoothing):
    soft = [[0.5, 0.25, 0.25], [0.0, 0.1, 0.9]]
    loss = CrossEntropy(label_smoothing=smoothing)(
        tensor(LOGITS), labels_of(LABELS, soft=tensor(soft))
    )
    assert loss.item() == pytest.approx(defined(LOGITS, soft, smoothing), abs=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_equal_paddles_own_weighted_loss(smoothing):
    rng = np.random.default_rng(0)
    logits, labels, weights = rng.normal(size=(6, 4)), rng.integers(0, 4, 6), (0.5, 1.0, 2.0, 3.0)
    loss = CrossEntropy(class_weights=weights, label_smoothing=smoothing)(
        tensor(logits, "float32"), labels_of(labels)
    )
    log_p, w = log_softmax(logits), np.array(weights)
    target = (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
    assert loss.item() == pytest.approx(-(w * target * log_p).sum() / w[labels].sum(), abs=1e-6)
    if not smoothing:
        theirs = paddle.nn.functional.cross_entropy(
            tensor(logits, "float32"), tensor(labels, "int64"), weight=tensor(weights, "float32")
        )
        assert loss.item() == pytest.approx(theirs.item(), abs=1e-6)


def test_equal_class_weights_change_nothing():
    plain = CrossEntropy(label_smoothing=0.1)(tensor(LOGITS), labels_of(LABELS))
    weighted = CrossEntropy(label_smoothing=0.1, class_weights=(4.0, 4.0, 4.0))(
        tensor(LOGITS), labels_of(LABELS)
    )
    assert weighted.item() == pytest.approx(plain.item(), abs=1e-6)


def test_auxiliary_logits_count_three_tenths_each():
    aux = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]  # log 3 each
    outputs = (tensor(LOGITS), tensor(aux), tensor(aux))
    assert CrossEntropy()(outputs, labels_of(LABELS)).item() == pytest.approx(
        0.9795253 + 0.6 * np.log(3), abs=1e-6
    )
    assert CrossEntropy(aux_weight=0.0)(outputs, labels_of(LABELS)).item() == pytest.approx(
        0.9795253, abs=1e-6
    )


def test_logits_far_apart_stay_finite_and_exact():
    logits = paddle.to_tensor([[1000.0, 0.0], [0.0, -1000.0]], stop_gradient=False)
    loss = CrossEntropy()(logits, labels_of([1, 0]))
    loss.backward()
    assert loss.item() == 500.0
    assert logits.grad.numpy().tolist() == [[0.5, -0.5], [0.0, 0.0]]


def test_gradient_is_softmax_minus_target():
    logits = paddle.to_tensor(LOGITS, stop_gradient=False)
    CrossEntropy()(logits, labels_of(LABELS)).backward()
    expected = (np.exp(log_softmax(LOGITS)) - np.eye(3)[LABELS]) / 2
    np.testing.assert_allclose(logits.grad.numpy(), expected, atol=1e-7)


def test_half_precision_logits_give_a_float32_loss():
    loss = CrossEntropy()(tensor(LOGITS, "bfloat16"), labels_of(LABELS))
    assert loss.dtype == paddle.float32
    assert loss.item() == pytest.approx(0.9795253, abs=1e-6)  # these logits are exact in bfloat16


def test_class_weights_must_be_one_a_class():
    with pytest.raises(ConfigError, match="one value a class; got 2 values for 3 classes"):
        CrossEntropy(class_weights=(1.0, 2.0))(tensor(LOGITS), labels_of(LABELS))


def test_targets_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"\[N, C\] = \[2, 3\] like the logits; got \[2, 2\]"):
        CrossEntropy()(tensor(LOGITS), labels_of(LABELS, soft=tensor([[0.5, 0.5], [0.5, 0.5]])))
    with pytest.raises(ShapeError, match=r"need weight \[N\]"):
        CrossEntropy()(tensor(LOGITS), labels_of(LABELS, mixed_labels=tensor(LABELS, "int64")))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 1.5])
def test_smoothing_outside_its_range_is_refused(smoothing):
    with pytest.raises(ValidationError, match="label_smoothing"):
        CrossEntropy(label_smoothing=smoothing)
