"""Losses between a student's logits and its teacher's.

s and t are the softmax of the student's and the teacher's logits, N is the batch size. The teacher
gets no gradient. Of a student with auxiliary outputs only the main one is compared.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ppclas_components.losses import log_softmax
from ppclas_core.contracts.training import Loss, Targets, split_outputs
from ppclas_core.errors import ConfigError, ShapeError
from pydantic import Field, NonNegativeFloat, PositiveFloat

if TYPE_CHECKING:
    from paddle import Tensor

Target = Literal["label", "teacher"]
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
    target: Target = "label"
    """The target class: the label where there is one, or the teacher's most probable class."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        import paddle

        log_s, log_t = _log_probabilities(self, outputs, targets, self.temperature)
        is_target = _is_target(log_t, targets, self.target)
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


class DIST(Loss):
    """``β · (1 - mean_i ρ(s_i, t_i)) + γ · (1 - mean_c ρ(s_c, t_c))``: correlations instead of a
    divergence, so that a teacher much better than the student is no harder to follow.

    ρ is Pearson's correlation: s_i and t_i are the answers for image i over the classes, s_c and
    t_c the answers for class c over the batch.

    Example:
        Answers that are the teacher's own cost nothing, those that are just opposite 2 + 2:

        >>> import paddle
        >>> from ppclas_core.contracts.training import Targets
        >>> teacher = paddle.to_tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> targets = Targets(paddle.to_tensor([0, 1]), teacher_logits=teacher)
        >>> [round(abs(float(DIST()(logits, targets))), 4) for logits in (teacher, -teacher)]
        [0.0, 4.0]

    Paper: "Knowledge Distillation from A Stronger Teacher", Huang et al. 2022, equation 9,
    https://arxiv.org/abs/2205.10536
    """

    beta: NonNegativeFloat = 1.0
    """β, of the correlation over the classes."""
    gamma: NonNegativeFloat = 1.0
    """γ, of the correlation over the batch."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        s, t = (log_p.exp() for log_p in _log_probabilities(self, outputs, targets))
        inter, intra = (1.0 - _correlation(s, t, axis).mean() for axis in (1, 0))
        return self.beta * inter + self.gamma * intra


class SKD(Loss):
    """Spherical distillation, ``α · T² · CE(t_T, s_T) + (1 - α) · CE(y, s)`` of logits that are
    first normalised to mean 0 and variance 1 over the classes and multiplied by m.

    t_T and s_T are the softmax of the normalised logits over T, CE(p, q) is ``1/N Σ -p · log q``,
    y the target class.

    Example:
        Of two classes, normalised logits are (1, -1) · m: for m = 1, and the same answers,
        ``0.9 · 0.3653 + 0.1 · 0.1269``.

        >>> import paddle
        >>> from ppclas_core.contracts.training import Targets
        >>> logits = paddle.to_tensor([[3.0, 1.0]])
        >>> targets = Targets(paddle.to_tensor([0]), teacher_logits=logits)
        >>> round(float(SKD(multiplier=1.0)(logits, targets)), 4)
        0.3415

    Paper: "Reducing the Teacher-Student Gap via Spherical Knowledge Distillation", Guo et al. 2020,
    https://arxiv.org/abs/2010.07485
    """

    temperature: PositiveFloat = 1.0
    """T."""
    multiplier: PositiveFloat = 2.0
    """m, the length that all logits are given."""
    alpha: Annotated[float, Field(ge=0.0, le=1.0)] = 0.9
    """α, the teacher's share."""
    target: Target = "label"
    """y: the label where there is one, or the teacher's most probable class."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        is_target = _is_target(_log_probabilities(self, outputs, targets)[1], targets, self.target)
        logits, teacher = split_outputs(outputs)[0], targets.teacher_logits
        ours, theirs = (self.multiplier * _normalised(each) for each in (logits, teacher))
        soft = log_softmax(theirs.detach() / self.temperature).exp()
        distilled = -(soft * log_softmax(ours / self.temperature)).sum(axis=1).mean()
        hard = -(is_target * log_softmax(ours)).sum(axis=1).mean()
        return self.alpha * self.temperature**2 * distilled + (1.0 - self.alpha) * hard


class WSL(Loss):
    """Weighted soft labels, ``T² · 1/N Σ w · (-t_T · log s_T)`` with
    ``w = 1 - exp(-log s[y] / log t[y])``.

    An image that the student knows as well as the teacher counts less: there the soft label adds
    variance and takes little bias away. w has no gradient; y is the target class.

    Example:
        s = t = (½, ½) and T = 1: w is 1 - 1/e, the cross entropy log 2.

        >>> import paddle
        >>> from ppclas_core.contracts.training import Targets
        >>> logits = paddle.zeros([1, 2])
        >>> targets = Targets(paddle.to_tensor([0]), teacher_logits=logits)
        >>> round(float(WSL(temperature=1.0)(logits, targets)), 4)
        0.4382

    Paper: "Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff
    Perspective", Zhou et al. 2021, equation 9, https://arxiv.org/abs/2102.00650
    """

    temperature: PositiveFloat = 2.0
    """T: logits are divided by it, but for w."""
    target: Target = "label"
    """y: the label where there is one, or the teacher's most probable class."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        log_s, log_t = _log_probabilities(self, outputs, targets)
        is_target = _is_target(log_t, targets, self.target)
        ours, theirs = (-(is_target * each.detach()).sum(axis=1) for each in (log_s, log_t))
        weight = 1.0 - (-ours / (theirs + 1e-7)).exp()
        log_s, log_t = _log_probabilities(self, outputs, targets, self.temperature)
        soft = -(log_t.exp() * log_s).sum(axis=1)
        return self.temperature**2 * (weight * soft).mean()


def _is_target(log_t: Tensor, targets: Targets, which: Target) -> Tensor:
    """[N, C] ones and zeros: the label's class, or the teacher's most probable one, as ``which``
    says and where a photo has no label or a mixed one.
    """
    import paddle

    target = log_t.argmax(axis=1)
    if which == "label":
        known = targets.labels >= 0
        if targets.mixed_labels is not None:
            known = known & (targets.mixed_labels == targets.labels)
        target = paddle.where(known, targets.labels, target)
    return paddle.nn.functional.one_hot(target, log_t.shape[1])


def _correlation(a: Tensor, b: Tensor, axis: int) -> Tensor:
    """Pearson's, along ``axis`` of two [N, C]."""
    a, b = (each - each.mean(axis=axis, keepdim=True) for each in (a, b))
    lengths = (a.square().sum(axis=axis) * b.square().sum(axis=axis) + 1e-16).sqrt()
    return (a * b).sum(axis=axis) / (lengths + 1e-8)


def _normalised(logits: Any) -> Tensor:
    """[N, C] with mean 0 and variance 1 over the classes."""
    centred = logits - logits.mean(axis=1, keepdim=True)
    normalised: Tensor = centred / (centred.square().mean(axis=1, keepdim=True) + 1e-7).sqrt()
    return normalised


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
