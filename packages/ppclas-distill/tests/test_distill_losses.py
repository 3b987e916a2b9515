"""The vectors are those of two students and teachers worked out from the formulas in float64."""

import math

import numpy as np
import pytest
from ppclas_core.builtin.base import Targets
from ppclas_core.errors import ConfigError, ShapeError
from ppclas_distill.losses import JS, SSLD

paddle = pytest.importorskip("paddle")

STUDENT = [[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]]
TEACHER = [[3.0, 2.0, 1.0], [1.0, 0.0, 0.0]]
LOSSES = pytest.mark.parametrize("loss", [SSLD(), JS()], ids=["ssld", "js"])


def targets(teacher):
    return Targets(paddle.zeros([len(teacher)], dtype="int64"), teacher_logits=paddle.to_tensor(teacher))


def in_numpy(loss, student, teacher):
    def softmax(logits):
        exp = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exp / exp.sum(axis=1, keepdims=True)

    def kl(p, q):
        return (p * np.log(p / q)).sum(axis=1)

    s, t = softmax(np.asarray(student, np.float64)), softmax(np.asarray(teacher, np.float64))
    m = (s + t) / 2
    parts = kl(t, s) + kl(s, t) if isinstance(loss, SSLD) else kl(t, m) + kl(s, m)
    return 0.5 * parts.mean()


@pytest.mark.parametrize(("loss", "expected"), [(SSLD(), 0.7572980), (JS(), 0.1675092)], ids=["ssld", "js"])
def test_values_of_the_reference(loss, expected):
    assert loss(paddle.to_tensor(STUDENT), targets(TEACHER)).item() == pytest.approx(expected, abs=1e-6)
    assert in_numpy(loss, STUDENT, TEACHER) == pytest.approx(expected, abs=1e-7)


@LOSSES
def test_gradient_equals_the_numerical_one(loss):
    student = paddle.to_tensor(STUDENT, stop_gradient=False)
    loss(student, targets(TEACHER)).backward()
    numerical, step = np.zeros((2, 3)), 1e-6
    for i, j in np.ndindex(2, 3):
        up, down = np.array(STUDENT), np.array(STUDENT)
        up[i, j] += step
        down[i, j] -= step
        numerical[i, j] = (in_numpy(loss, up, TEACHER) - in_numpy(loss, down, TEACHER)) / (2 * step)
    np.testing.assert_allclose(student.grad.numpy(), numerical, atol=1e-6)


@LOSSES
def test_the_teacher_gets_no_gradient(loss):
    student = paddle.to_tensor(STUDENT, stop_gradient=False)
    teacher = paddle.to_tensor(TEACHER, stop_gradient=False)
    loss(student, Targets(paddle.zeros([2], dtype="int64"), teacher_logits=teacher)).backward()
    assert teacher.grad is None
    assert student.grad is not None


@LOSSES
def test_equal_answers_cost_nothing(loss):
    # Logits that differ by a constant mean the same.
    shifted = (np.array(STUDENT) + 5).tolist()
    assert loss(paddle.to_tensor(STUDENT), targets(shifted)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("loss", "expected"), [(SSLD(), 200.0), (JS(), math.log(2))], ids=["ssld", "js"])
def test_opposite_certainties_stay_finite(loss, expected):
    # softmax is (1, 0) against (0, 1), with logarithms of -200.
    student = paddle.to_tensor([[200.0, 0.0]], stop_gradient=False)
    value = loss(student, targets([[0.0, 200.0]]))
    value.backward()
    assert value.item() == pytest.approx(expected, rel=1e-6)
    assert np.isfinite(student.grad.numpy()).all()


@LOSSES
def test_only_the_main_output_is_compared(loss):
    outputs = (paddle.to_tensor(STUDENT), paddle.to_tensor([[9.0, 9.0, 0.0]] * 2))
    assert loss(outputs, targets(TEACHER)).item() == loss(paddle.to_tensor(STUDENT), targets(TEACHER)).item()


@LOSSES
def test_without_a_teacher_it_says_what_to_do(loss):
    with pytest.raises(ConfigError, match=r"got no teacher's logits\. Train with a teacher, or set loss\.name"):
        loss(paddle.to_tensor(STUDENT), Targets(paddle.zeros([2], dtype="int64")))


@LOSSES
def test_other_classes_are_refused(loss):
    with pytest.raises(ShapeError, match=r"the same classes; got logits \[2, 3\] and \[2, 2\]"):
        loss(paddle.to_tensor(STUDENT), targets([[1.0, 2.0], [3.0, 4.0]]))
