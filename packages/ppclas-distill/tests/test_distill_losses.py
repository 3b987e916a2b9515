"""The vectors are those of two students and teachers worked out from the formulas in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ppclas_core.contracts.training import Targets
from ppclas_core.errors import ConfigError, ShapeError
from ppclas_distill.losses import DIST, DKD, JS, KL, SKD, SSLD, WSL, SoftCE

paddle = pytest.importorskip("paddle")

STUDENT = [[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]]
TEACHER = [[3.0, 2.0, 1.0], [1.0, 0.0, 0.0]]
LABELS = [2, 0]
ALL = [
    SSLD(),
    JS(),
    KL(),
    KL(temperature=1.0),
    SoftCE(),
    DKD(),
    DKD(temperature=2.0, alpha=0.5, beta=3.0),
    DKD(target="teacher"),
    DIST(),
    DIST(beta=2.0, gamma=0.5),
    SKD(),
    SKD(temperature=3.0, multiplier=1.5, alpha=0.4, target="teacher"),
    WSL(),
    WSL(temperature=1.0, target="teacher"),
]
LOSSES = pytest.mark.parametrize("loss", ALL, ids=repr)


def targets(teacher, labels=LABELS):
    return Targets(
        paddle.to_tensor(labels[: len(teacher)]), teacher_logits=paddle.to_tensor(teacher)
    )


def in_numpy(loss, student, teacher, labels=LABELS):
    """The losses from the papers' formulas, in float64."""

    def softmax(logits):
        exp = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exp / exp.sum(axis=1, keepdims=True)

    def kl(p, q):
        return (p * np.log(p / q)).sum(axis=1)

    heat = getattr(loss, "temperature", 1.0)
    s, t = (
        softmax(np.asarray(student, np.float64) / heat),
        softmax(np.asarray(teacher, np.float64) / heat),
    )
    if isinstance(loss, SSLD):
        return 0.5 * (kl(t, s) + kl(s, t)).mean()
    if isinstance(loss, JS):
        m = (s + t) / 2
        return 0.5 * (kl(t, m) + kl(s, m)).mean()
    if isinstance(loss, KL):
        return heat**2 * kl(t, s).mean()
    if isinstance(loss, SoftCE):
        return -(t * np.log(s)).sum(axis=1).mean()
    if getattr(loss, "target", "label") == "teacher":
        labels = np.argmax(teacher, axis=1)
    if isinstance(loss, DIST):
        rows = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(s, t, strict=True)]
        columns = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(s.T, t.T, strict=True)]
        return loss.beta * np.mean(rows) + loss.gamma * np.mean(columns)
    if isinstance(loss, SKD):
        ours, theirs = (
            loss.multiplier
            * (z - z.mean(axis=1, keepdims=True))
            / np.sqrt(z.var(axis=1, keepdims=True) + 1e-7)
            for z in (np.asarray(student, np.float64), np.asarray(teacher, np.float64))
        )
        soft = -(softmax(theirs / heat) * np.log(softmax(ours / heat))).sum(axis=1).mean()
        hard = -np.log(softmax(ours)[range(len(s)), labels]).mean()
        return loss.alpha * heat**2 * soft + (1 - loss.alpha) * hard
    if isinstance(loss, WSL):
        # The weights are no function of the student here: they have no gradient.
        before, sure = (
            -np.log(softmax(np.asarray(z, np.float64))[range(len(s)), labels])
            for z in (STUDENT, teacher)
        )
        return heat**2 * ((1 - np.exp(-before / sure)) * -(t * np.log(s)).sum(axis=1)).mean()
    total = 0.0
    for ours, theirs, label in zip(s, t, labels, strict=True):
        pair = [np.array([p[label], 1 - p[label]]) for p in (theirs, ours)]
        others = [np.delete(p, label) / (1 - p[label]) for p in (theirs, ours)]
        tckd, nckd = ((p * np.log(p / q)).sum() for p, q in (pair, others))
        total += loss.alpha * tckd + loss.beta * nckd
    return heat**2 * total / len(s)


@pytest.mark.parametrize(
    ("loss", "expected"), [(SSLD(), 0.7572980), (JS(), 0.1675092)], ids=["ssld", "js"]
)
def test_values_of_the_reference(loss, expected):
    assert loss(paddle.to_tensor(STUDENT), targets(TEACHER)).item() == pytest.approx(
        expected, abs=1e-6
    )
    assert in_numpy(loss, STUDENT, TEACHER) == pytest.approx(expected, abs=1e-7)


@LOSSES
def test_values_follow_the_formulas(loss):
    assert loss(paddle.to_tensor(STUDENT), targets(TEACHER)).item() == pytest.approx(
        in_numpy(loss, STUDENT, TEACHER), rel=1e-5
    )


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
    # Two images are always correlated by 1 or -1, whose gradient cancels out of large terms.
    tolerance = 1e-4 if isinstance(loss, DIST) else 1e-6
    np.testing.assert_allclose(student.grad.numpy(), numerical, atol=tolerance)


@LOSSES
def test_the_teacher_gets_no_gradient(loss):
    student = paddle.to_tensor(STUDENT, stop_gradient=False)
    teacher = paddle.to_tensor(TEACHER, stop_gradient=False)
    loss(student, Targets(paddle.to_tensor(LABELS), teacher_logits=teacher)).backward()
    assert teacher.grad is None
    assert student.grad is not None


@pytest.mark.parametrize(
    "loss", [loss for loss in ALL if not isinstance(loss, SoftCE | SKD | WSL)], ids=repr
)
def test_equal_answers_cost_nothing(loss):
    # Logits that differ by a constant mean the same.
    shifted = (np.array(STUDENT) + 5).tolist()
    assert loss(paddle.to_tensor(STUDENT), targets(shifted)).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("loss", "expected"), [(SSLD(), 200.0), (JS(), math.log(2))], ids=["ssld", "js"]
)
def test_opposite_certainties_stay_finite(loss, expected):
    # softmax is (1, 0) against (0, 1), with logarithms of -200.
    student = paddle.to_tensor([[200.0, 0.0]], stop_gradient=False)
    value = loss(student, targets([[0.0, 200.0]]))
    value.backward()
    assert value.item() == pytest.approx(expected, rel=1e-6)
    assert np.isfinite(student.grad.numpy()).all()


def test_dkd_with_the_coupled_weight_is_plain_distillation():
    # Zhao et al. 2022, eq. 6: KL(t||s) = TCKD + (1 - t[target]) NCKD, for one sample.
    heat, label = 4.0, 2
    student, teacher = paddle.to_tensor(STUDENT[:1]), TEACHER[:1]
    exp = np.exp(np.array(teacher[0]) / heat)
    coupled = DKD(temperature=heat, alpha=1.0, beta=float(1 - exp[label] / exp.sum()))
    plain = KL(temperature=heat)(student, targets(teacher, [label])).item()
    assert coupled(student, targets(teacher, [label])).item() == pytest.approx(plain, rel=1e-5)


def test_dkd_takes_the_teachers_class_where_there_is_no_label():
    student = paddle.to_tensor(STUDENT)
    likely = [int(np.argmax(row)) for row in TEACHER]
    without = DKD()(student, targets(TEACHER, [-1, -1])).item()
    assert without == pytest.approx(DKD()(student, targets(TEACHER, likely)).item())
    assert without != pytest.approx(DKD()(student, targets(TEACHER, LABELS)).item())


def test_soft_cross_entropy_is_kl_and_the_teachers_entropy():
    student, given = paddle.to_tensor(STUDENT), targets(TEACHER)
    t = np.exp(TEACHER) / np.exp(TEACHER).sum(axis=1, keepdims=True)
    entropy = -(t * np.log(t)).sum(axis=1).mean()
    kl = KL(temperature=1.0)(student, given).item()
    assert SoftCE()(student, given).item() == pytest.approx(kl + entropy, rel=1e-5)


@LOSSES
def test_only_the_main_output_is_compared(loss):
    outputs = (paddle.to_tensor(STUDENT), paddle.to_tensor([[9.0, 9.0, 0.0]] * 2))
    assert (
        loss(outputs, targets(TEACHER)).item()
        == loss(paddle.to_tensor(STUDENT), targets(TEACHER)).item()
    )


@LOSSES
def test_without_a_teacher_it_says_what_to_do(loss):
    with pytest.raises(
        ConfigError, match=r"got no teacher's logits\. Train with a teacher, or set loss\.name"
    ):
        loss(paddle.to_tensor(STUDENT), Targets(paddle.zeros([2], dtype="int64")))


@LOSSES
def test_other_classes_are_refused(loss):
    with pytest.raises(ShapeError, match=r"the same classes; got logits \[2, 3\] and \[2, 2\]"):
        loss(paddle.to_tensor(STUDENT), targets([[1.0, 2.0], [3.0, 4.0]]))
