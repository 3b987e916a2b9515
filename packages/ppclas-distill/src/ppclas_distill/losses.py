"""Losses between a student's logits and its teacher's, without temperature; the labels are ignored.

s and t are the softmax of the student's and the teacher's logits, N is the batch size. The teacher gets no gradient.
Of a student with auxiliary outputs only the main one is compared.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ppclas_core.builtin.base import Loss, Targets
from ppclas_core.builtin.losses import log_softmax, split_outputs
from ppclas_core.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from paddle import Tensor


class SSLD(Loss):
    """``1/N Σ ½ · [KL(t‖s) + KL(s‖t)]``, the symmetrised Kullback-Leibler divergence that SSLD trains with.

    PaddleClas calls it JS and, as DistillationDMLLoss, DML. It is not the Jensen-Shannon divergence: that is ``JS``.
    """

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        log_s, log_t = _log_probabilities(self, outputs, targets)
        # Both terms in one: Σ t·(log t - log s) + Σ s·(log s - log t).
        return 0.5 * ((log_t.exp() - log_s.exp()) * (log_t - log_s)).sum(axis=1).mean()


class JS(Loss):
    """``1/N Σ ½ · [KL(t‖m) + KL(s‖m)]`` with ``m = ½ · (s + t)``: the Jensen-Shannon divergence, in 0..log 2."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        import paddle

        log_s, log_t = _log_probabilities(self, outputs, targets)
        # Not paddle.logaddexp: in Paddle 3.0 its gradient is wrong where the two are equal.
        log_m = paddle.stack([log_s, log_t]).logsumexp(axis=0) - math.log(2.0)
        terms = log_t.exp() * (log_t - log_m) + log_s.exp() * (log_s - log_m)
        return 0.5 * terms.sum(axis=1).mean()


def _log_probabilities(loss: Loss, outputs: Any, targets: Targets) -> tuple[Tensor, Tensor]:
    """Of the student and the teacher, [N, C] each."""
    logits, _ = split_outputs(outputs)
    teacher = targets.teacher_logits
    if teacher is None:
        raise ConfigError(
            f"loss {type(loss).__name__} compares a student with its teacher and got no teacher's logits. "
            f"Train with a teacher, or set loss.name to CrossEntropy."
        )
    if teacher.shape != logits.shape:
        raise ShapeError(
            f"student and teacher must know the same classes; "
            f"got logits {list(logits.shape)} and {list(teacher.shape)} [N, C]."
        )
    return log_softmax(logits), log_softmax(teacher.detach())
