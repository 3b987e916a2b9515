"""Losses between a student's logits and its teacher's.

s and t are the softmax of the student's and the teacher's logits, N is the batch size. The teacher
gets no gradient. Of a student with auxiliary outputs only the main one is compared.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ppclas_components.losses import log_softmax
from ppclas_core.contracts.training import Loss, Targets, split_outputs
from ppclas_core.errors import ConfigError, ShapeError
from pydantic import NonNegativeFloat, PositiveFloat

if TYPE_CHECKING:
    from paddle import Tensor

_NEVER = -1e9
"""Added to a logit whose class is left out: its probability becomes 0 and its gradient too."""


class SSLD(Loss):
    """``1/N Σ ½ · [KL(t‖s) + KL(s‖t)]``, the symmetrised Kullback-Leibler divergence that SSLD
    trains with.

    PaddleClas calls it JS and, as DistillationDMLLoss, DML. It is not the Jensen-Shannon
    divergence: that is ``JS``.

    Example:
        s = (½, ½) and t = (¾, ¼): KL(t‖s) is 0.1308, KL(s‖t) 0.1438.

        >>> import paddle
        >>> from ppclas_core.contracts.training import Targets
        >>> student = paddle.zeros([1, 2])
        >>> teacher = paddle.to_tensor([[0.75, 0.25]]).log()
        >>> targets = Targets(paddle.to_tensor([0]), teacher_logits=teacher)
        >>> round(float(SSLD()(student, targets)), 4)
        0.1373

    Paper: "Beyond Self-Supervision: A Simple Yet Effective Network Distillation Alternative to
    Improve Backbones", Cui et al. 2021, https://arxiv.org/abs/2103.05959
    """

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        log_s, log_t = _log_probabilities(self, outputs, targets)
        # Both terms in one: Σ t·(log t - log s) + Σ s·(log s - log t).
        return 0.5 * ((log_t.exp() - log_s.exp()) * (log_t - log_s)).sum(axis=1).mean()


class JS(Loss):
    """``1/N Σ ½ · [KL(t‖m) + KL(s‖m)]`` with ``m = ½ · (s + t)``: Jensen-Shannon, in 0..log 2.

    Example:
        >>> import paddle
        >>> from ppclas_core.contracts.training import Targets
        >>> student = paddle.zeros([1, 2])
        >>> teacher = paddle.to_tensor([[0.75, 0.25]]).log()
        >>> targets = Targets(paddle.to_tensor([0]), teacher_logits=teacher)
        >>> round(float(JS()(student, targets)), 4)
        0.0338

    Paper: "Divergence Measures Based on the Shannon Entropy", Lin 1991,
    https://doi.org/10.1109/18.61115
    """

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        import paddle

        log_s, log_t = _log_probabilities(self, outputs, targets)
        # Not paddle.logaddexp: in Paddle 3.0 its gradient is wrong where the two are equal.
        log_m = paddle.stack([log_s, log_t]).logsumexp(axis=0) - math.log(2.0)
        terms = log_t.exp() * (log_t - log_m) + log_s.exp() * (log_s - log_m)
        return 0.5 * terms.sum(axis=1).mean()


class KL(Loss):
    """``T² · 1/N Σ KL(t‖s)``, with both logits divided by the temperature T.

    T² makes up for gradients that shrink with 1 / T², so that the weight of the term need not
    follow T.

    Example:
        ``¾ · log(¾ / ½) + ¼ · log(¼ / ½)``:

        >>> import paddle
        >>> from ppclas_core.contracts.training import Targets
        >>> student = paddle.zeros([1, 2])
        >>> teacher = paddle.to_tensor([[0.75, 0.25]]).log()
        >>> targets = Targets(paddle.to_tensor([0]), teacher_logits=teacher)
        >>> round(float(KL(temperature=1.0)(student, targets)), 4)
        0.1308

    Paper: "Distilling the Knowledge in a Neural Network", Hinton et al. 2015,
    https://arxiv.org/abs/1503.02531
    """

    temperature: PositiveFloat = 4.0
    """T: logits are divided by it; 1 leaves them as they are."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        log_s, log_t = _log_probabilities(self, outputs, targets, self.temperature)
        return self.temperature**2 * (log_t.exp() * (log_t - log_s)).sum(axis=1).mean()


class SoftCE(Loss):
    """``1/N Σ -t · log s``: cross entropy with the teacher's probabilities as soft labels.

    Its gradient is that of KL(t‖s) without temperature; its value is larger by the teacher's
    entropy.

    Example:
        A student that takes both of two classes for equally likely pays log 2, whatever t is:

        >>> import paddle
        >>> from ppclas_core.contracts.training import Targets
        >>> student = paddle.zeros([1, 2])
        >>> teacher = paddle.to_tensor([[0.75, 0.25]]).log()
        >>> targets = Targets(paddle.to_tensor([0]), teacher_logits=teacher)
        >>> round(float(SoftCE()(student, targets)), 4)
        0.6931

    Paper: "Distilling the Knowledge in a Neural Network", Hinton et al. 2015, section 2,
    https://arxiv.org/abs/1503.02531
    """

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        log_s, log_t = _log_probabilities(self, outputs, targets)
        return -(log_t.exp() * log_s).sum(axis=1).mean()


class DKD(Loss):
    """Decoupled knowledge distillation, ``T² · (α · TCKD + β · NCKD)``.

    TCKD is the KL divergence between the two answers to "the target class or another one?", NCKD
    the one between the distributions over the other classes. Plain distillation is α = 1 and β = 1
    - t[target], which silences NCKD just where the teacher is sure. The target is the label; for a
    photo without one, or a mixed one, the teacher's most probable class.

    Example:
        s = (⅓, ⅓, ⅓) and t = (0.5, 0.3, 0.2): TCKD is 0.0589, NCKD, between (½, ½) and (0.6, 0.4),
        0.0201, and β is 8.

        >>> import paddle
        >>> from ppclas_core.contracts.training import Targets
        >>> student = paddle.zeros([1, 3])
        >>> teacher = paddle.to_tensor([[0.5, 0.3, 0.2]]).log()
        >>> targets = Targets(paddle.to_tensor([0]), teacher_logits=teacher)
        >>> round(float(DKD(temperature=1.0)(student, targets)), 3)
        0.22

    Paper: "Decoupled Knowledge Distillation", Zhao et al. 2022, equation 7,
    https://arxiv.org/abs/2203.08679
    """

    temperature: PositiveFloat = 4.0
    """T: logits are divided by it."""
    alpha: NonNegativeFloat = 1.0
    """Weight of TCKD."""
    beta: NonNegativeFloat = 8.0
    """Weight of NCKD. The paper takes 0.25 to 8: larger for a surer teacher."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        import paddle

        log_s, log_t = _log_probabilities(self, outputs, targets, self.temperature)
        num_classes = log_s.shape[1]
        likely = log_t.argmax(axis=1)
        known = targets.labels >= 0
        if targets.mixed_labels is not None:
            known = known & (targets.mixed_labels == targets.labels)
        target = paddle.where(known, targets.labels, likely)
        is_target = paddle.nn.functional.one_hot(target, num_classes)
        # log p of the target and of all others together: [N, 2] each.
        pairs = [
            paddle.stack([_on(log_p, is_target), _off(log_p, is_target)], axis=1)
            for log_p in (log_s, log_t)
        ]
        tckd = (pairs[1].exp() * (pairs[1] - pairs[0])).sum(axis=1)
        others = [
            log_p + _NEVER * is_target - pair[:, 1:]
            for log_p, pair in zip((log_s, log_t), pairs, strict=True)
        ]
        nckd = (others[1].exp() * (others[1] - others[0])).sum(axis=1)
        return self.temperature**2 * (self.alpha * tckd + self.beta * nckd).mean()


def _on(log_p: Tensor, is_target: Tensor) -> Tensor:
    return (log_p * is_target).sum(axis=1)


def _off(log_p: Tensor, is_target: Tensor) -> Tensor:
    return (log_p + _NEVER * is_target).logsumexp(axis=1)


def _log_probabilities(
    loss: Loss, outputs: Any, targets: Targets, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Of the student and the teacher, [N, C] each."""
    logits, _ = split_outputs(outputs)
    teacher = targets.teacher_logits
    if teacher is None:
        raise ConfigError(
            f"loss {type(loss).__name__} compares a student with its teacher and got no teacher's "
            "logits. Train with a teacher, or set loss.name to CrossEntropy."
        )
    if teacher.shape != logits.shape:
        raise ShapeError(
            f"student and teacher must know the same classes; "
            f"got logits {list(logits.shape)} and {list(teacher.shape)} [N, C]."
        )
    return log_softmax(logits / temperature), log_softmax(teacher.detach() / temperature)
