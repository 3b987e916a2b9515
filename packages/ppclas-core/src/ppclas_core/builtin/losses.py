"""Losses on logits. Importing this module does not import Paddle; calling a loss does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, NonNegativeFloat, PositiveFloat

from ppclas_core.builtin.base import Loss, Targets
from ppclas_core.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from paddle import Tensor


def split_outputs(outputs: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The main logits [N, C] and the auxiliary ones of what a model returned: a tensor, or a tuple, main first."""
    if isinstance(outputs, tuple | list):
        return outputs[0], tuple(outputs[1:])
    return outputs, ()


def log_softmax(logits: Tensor) -> Tensor:
    """Logarithm of the softmax over classes: [N, C] float32, from logits [N, C] of any float type."""
    # Not F.log_softmax: on CPUs that cuts logits off at 64 below the largest. In half precision the sum over
    # 1000 exponentials would lose digits.
    exact = logits.astype("float32")
    return exact - exact.logsumexp(axis=1, keepdim=True)


class CrossEntropy(Loss):
    """Mean over the batch of ``-Σ target · log softmax(logits)``.

    The target is the one-hot label, the mixture of two labels, each sample with its own weight, or the given
    probabilities; label smoothing turns it into ``(1 - ε) · target + ε / C``.
    """

    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """ε: the share of the target that is spread evenly over all C classes, in [0, 1)."""
    class_weights: tuple[PositiveFloat, ...] | None = None
    """A factor for each class's term, C values. The sum is then divided by the weights of the labels rather than by
    N, so that weights that are all equal change nothing."""
    aux_weight: NonNegativeFloat = 0.3
    """Factor on the same loss of each auxiliary output (Szegedy et al. 2015, section 5, for GoogLeNet)."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        logits, auxiliary = split_outputs(outputs)
        loss = self._of(logits, targets)
        for aux_logits in auxiliary:
            loss = loss + self.aux_weight * self._of(aux_logits, targets)
        return loss

    def _of(self, logits: Tensor, targets: Targets) -> Tensor:
        num_classes = logits.shape[1]
        weights = self._weights(num_classes)
        weighted = -weights * log_softmax(logits)
        on_target = _at_target(weighted, targets)
        each = (1.0 - self.label_smoothing) * on_target + self.label_smoothing * weighted.mean(axis=1)
        if self.class_weights is None:
            return each.mean()
        return each.sum() / _at_target(weights.expand(logits.shape), targets).sum()

    def _weights(self, num_classes: int) -> Tensor:
        import paddle

        if self.class_weights is None:
            return paddle.ones([1, num_classes])
        if len(self.class_weights) != num_classes:
            raise ConfigError(
                f"loss CrossEntropy: class_weights must have one value a class; "
                f"got {len(self.class_weights)} values for {num_classes} classes."
            )
        return paddle.to_tensor(self.class_weights, dtype="float32").unsqueeze(0)


def _at_target(values: Tensor, targets: Targets) -> Tensor:
    """``Σ_c target · values`` for each sample: [N] from [N, C]."""
    if targets.soft is not None:
        if targets.soft.shape != values.shape:
            raise ShapeError(
                f"soft targets must be [N, C] = {list(values.shape)} like the logits; got {list(targets.soft.shape)}."
            )
        return (targets.soft * values).sum(axis=1)
    first = _at_labels(values, targets.labels)
    if targets.mixed_labels is None:
        return first
    if targets.weight is None:
        raise ShapeError("targets with mixed_labels need weight [N], the share of labels in each sample; got None.")
    return targets.weight * first + (1.0 - targets.weight) * _at_labels(values, targets.mixed_labels)


def _at_labels(values: Tensor, labels: Tensor) -> Tensor:
    return values.take_along_axis(labels.unsqueeze(1), axis=1).squeeze(1)
