"""Losses on logits. Importing this module does not import Paddle; calling a loss does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from ppclas_core.config.schema import Task
from ppclas_core.contracts.training import BOTH_TASKS, Loss, Targets, split_outputs
from ppclas_core.errors import ConfigError, ShapeError
from pydantic import Field, NonNegativeFloat, PositiveFloat

if TYPE_CHECKING:
    from paddle import Tensor


def log_softmax(logits: Tensor) -> Tensor:
    """Logarithm of the softmax over classes: float32 [N, C], of logits [N, C] of any float type."""
    # Not F.log_softmax: on CPUs that cuts logits off at 64 below the largest. In half precision the
    # sum over 1000 exponentials would lose digits.
    exact = logits.astype("float32")
    return exact - exact.logsumexp(axis=1, keepdim=True)


def log_sigmoid(logits: Tensor) -> Tensor:
    """Logarithm of the sigmoid: [N, C] float32, exact for logits of any size."""
    import paddle

    exact = logits.astype("float32")
    return exact.clip(max=0.0) - paddle.log1p((-exact.abs()).exp())


ClassWeights = tuple[PositiveFloat, ...] | Literal["balanced"] | None
"""A factor a class; ``balanced`` stands for factors from the training set's counts, filled in by
the plan."""
Exponent = Annotated[float, Field(ge=0.0, le=20.0)]
"""Of a focusing factor; from 20 on an image that is half right counts a millionth."""
Smoothing = Annotated[float, Field(ge=0.0, lt=1.0)]


class CrossEntropy(Loss):
    """Softmax cross entropy ``-Σ_c target · log softmax(logits)``, averaged over the batch.

    The target is the one-hot label, the mixture of two labels (each sample with its own weight), or
    the given probabilities. Label smoothing turns it into ``(1 - ε) · target + ε / C`` (Szegedy et
    al. 2016, section 7, https://arxiv.org/abs/1512.00567).

    Logits [N, C] in, a number out. Probabilities 1/2, 1/4, 1/4 with label 0 and 1/4, 1/2, 1/4 with
    label 2 give (ln 2 + ln 4) / 2:

    >>> import paddle
    >>> from math import log
    >>> from ppclas_core.contracts.training import Targets
    >>> logits = paddle.to_tensor([[log(2), 0.0, 0.0], [0.0, log(2), 0.0]])
    >>> loss = CrossEntropy()(logits, Targets(paddle.to_tensor([0, 2])))
    >>> round(loss.item(), 4)
    1.0397
    """

    label_smoothing: Smoothing = 0.0
    """ε: the share of the target that is spread evenly over all C classes, in [0, 1)."""
    class_weights: ClassWeights = None
    """A factor for each class's term, C values, or ``balanced``: images over (classes times images
    of the class). The sum is then divided by the weights of the labels rather than by N, so that
    weights that are all equal change nothing."""
    aux_weight: NonNegativeFloat = 0.3
    """Factor on the same loss of each auxiliary output (Szegedy et al. 2015, section 5, for
    GoogLeNet)."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        return _with_auxiliary(self._of, outputs, targets, self.aux_weight)

    def _of(self, logits: Tensor, targets: Targets) -> Tensor:
        weights = class_factors(self, self.class_weights, logits.shape[1])
        weighted = -weights * log_softmax(logits)
        on_target = _at_target(weighted, targets)
        each = (1.0 - self.label_smoothing) * on_target + self.label_smoothing * weighted.mean(
            axis=1
        )
        if self.class_weights is None:
            return each.mean()
        return each.sum() / _at_target(weights.expand(logits.shape), targets).sum()


class BinaryCrossEntropy(Loss):
    """A question for each class, ``-Σ_c [t log σ(x) + (1 - t) log(1 - σ(x))]``, mean over images.

    For images with several labels (Bishop 2006, "Pattern Recognition and Machine Learning",
    equation 4.90, for each class). One label per image is taken as one class that is there and C -
    1 that are not.

    Logits and labels [N, C] in, a number out. Probabilities 3/4, 1/2, 1/4 with the first class
    there and 1/2, 1/2, 1/2 with the second give ([2 ln(4/3) + ln 2] + 3 ln 2) / 2:

    >>> import paddle
    >>> from math import log
    >>> from ppclas_core.contracts.training import Targets
    >>> logits = paddle.to_tensor([[log(3), 0.0, -log(3)], [0.0, 0.0, 0.0]])
    >>> labels = paddle.to_tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> round(BinaryCrossEntropy()(logits, Targets(labels)).item(), 4)
    1.674
    """

    tasks: ClassVar[tuple[Task, ...]] = BOTH_TASKS

    label_smoothing: Smoothing = 0.0
    """ε: targets 1 and 0 become 1 - ε/2 and ε/2."""
    class_weights: ClassWeights = None
    """A factor on the first term of each class, C values (PyTorch's ``pos_weight``), or
    ``balanced``: images without the class over images with it, so that both terms weigh the
    same."""
    mean_over_classes: bool = False
    """Divide by C too, as PyTorch's BCEWithLogitsLoss and PaddleClas' MultiLabelLoss do. Without it
    a logit's gradient has the size that it has in softmax cross entropy, and the same learning
    rates fit."""
    aux_weight: NonNegativeFloat = 0.3
    """Factor on the same loss of each auxiliary output."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        return _with_auxiliary(self._of, outputs, targets, self.aux_weight)

    def _of(self, logits: Tensor, targets: Targets) -> Tensor:
        target = target_matrix(targets, logits)
        target = (1.0 - self.label_smoothing) * target + self.label_smoothing / 2.0
        weights = class_factors(self, self.class_weights, logits.shape[1])
        each = -(weights * target * log_sigmoid(logits) + (1.0 - target) * log_sigmoid(-logits))
        return _over_images(each, self.mean_over_classes)


class Focal(Loss):
    """Cross entropy that counts easy cases less: ``-α (1 - p)^γ log p``.

    ``p`` is the probability of the truth: of the label by softmax where an image has one; of each
    class being there or not by sigmoid, as in the paper, where it has several. Lin et al. 2017,
    equation 5, https://arxiv.org/abs/1708.02002

    Logits [N, C] in, a number out. Probabilities 1/2 and 1/4 of the two labels give ((1/2)² ln 2 +
    (3/4)² ln 4) / 2:

    >>> import paddle
    >>> from math import log
    >>> from ppclas_core.contracts.training import Targets
    >>> logits = paddle.to_tensor([[log(2), 0.0, 0.0], [0.0, log(2), 0.0]])
    >>> loss = Focal(gamma=2.0)(logits, Targets(paddle.to_tensor([0, 2])))
    >>> round(loss.item(), 4)
    0.4765
    """

    tasks: ClassVar[tuple[Task, ...]] = BOTH_TASKS

    gamma: Exponent = 2.0
    """γ: 0 is plain cross entropy; the larger, the less easy cases count. The paper found 2
    best."""
    alpha: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """α of classes that are there, 1 - α of those that are not (the paper's value for detection is
    0.25). Nothing: both count fully. For images with several labels alone: with one label there is
    nothing to balance."""
    class_weights: ClassWeights = None
    """A factor for each class's term, C values, or ``balanced``: images over (classes times images
    of the class) where they have one label, images without the class over images with it where they
    have several. Where they have one, the sum is divided by the weights of the labels rather than
    by N."""
    mean_over_classes: bool = False
    """For images with several labels: divide by C too."""
    aux_weight: NonNegativeFloat = 0.3
    """Factor on the same loss of each auxiliary output."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        return _with_auxiliary(self._of, outputs, targets, self.aux_weight)

    def _of(self, logits: Tensor, targets: Targets) -> Tensor:
        weights = class_factors(self, self.class_weights, logits.shape[1])
        if targets.labels.ndim == 2:
            target = target_matrix(targets, logits)
            there, absent = (1.0, 1.0) if self.alpha is None else (self.alpha, 1.0 - self.alpha)
            # 1 - σ(x) = σ(-x), whose logarithm stays exact where the difference would round to 0.
            log_p, log_q = log_sigmoid(logits), log_sigmoid(-logits)
            present = -there * weights * (self.gamma * log_q).exp() * log_p
            missing = -absent * (self.gamma * log_p).exp() * log_q
            return _over_images(target * present + (1.0 - target) * missing, self.mean_over_classes)
        if self.alpha is not None:
            raise ConfigError(
                "loss Focal: alpha weighs classes that are there against those that are not, "
                "which one label an image does not have. Leave it out; class_weights weigh "
                "classes against each other."
            )
        log_p = log_softmax(logits)
        # A label that is certain gives 1 - p = 0, where the slope of a power below 1 is infinite.
        remaining = (1.0 - log_p.exp()).clip(min=1e-7)
        each = _at_target(-weights * remaining**self.gamma * log_p, targets)
        if self.class_weights is None:
            return each.mean()
        return each.sum() / _at_target(weights.expand(logits.shape), targets).sum()


class Asymmetric(Loss):
    """Binary cross entropy: easy absent classes count less, clearly absent ones not at all.

    ``-Σ_c [t (1 - p)^γ+ log p + (1 - t) q^γ- log(1 - q)]`` with ``q = max(p - margin, 0)``,
    averaged over images (Ridnik et al. 2021, equation 7, https://arxiv.org/abs/2009.14119). For
    images with few of many labels. The authors' code also sums over the batch, which ties the
    learning rate to its size.

    Logits and labels [N, C] in, a number out. Probabilities 3/4, 1/2, 1/4 with the first class
    there give ln(4/3) - 0.45⁴ ln 0.55 - 0.2⁴ ln 0.8:

    >>> import paddle
    >>> from math import log
    >>> from ppclas_core.contracts.training import Targets
    >>> logits = paddle.to_tensor([[log(3), 0.0, -log(3)]])
    >>> labels = paddle.to_tensor([[1.0, 0.0, 0.0]])
    >>> round(Asymmetric()(logits, Targets(labels)).item(), 4)
    0.3126
    """

    tasks: ClassVar[tuple[Task, ...]] = BOTH_TASKS

    gamma_positive: Exponent = 0.0
    """γ+: how much less easy present classes count; the paper recommends 0."""
    gamma_negative: Exponent = 4.0
    """γ-: how much less easy absent classes count, γ+ or more; the paper uses 4."""
    margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    """Probability up to which an absent class counts nothing; the paper uses 0.05."""
    class_weights: ClassWeights = None
    """A factor on the first term of each class, C values, or ``balanced``: images without the class
    over images with it."""
    mean_over_classes: bool = False
    """Divide by C too."""
    aux_weight: NonNegativeFloat = 0.3
    """Factor on the same loss of each auxiliary output."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        return _with_auxiliary(self._of, outputs, targets, self.aux_weight)

    def _of(self, logits: Tensor, targets: Targets) -> Tensor:
        target = target_matrix(targets, logits)
        weights = class_factors(self, self.class_weights, logits.shape[1])
        log_p, log_q = log_sigmoid(logits), log_sigmoid(-logits)
        present = -weights * (self.gamma_positive * log_q).exp() * log_p
        if self.margin:
            # The slope of a power below 1 is infinite at 0.
            shifted = (log_p.exp() - self.margin).clip(min=1e-7)
            missing = (
                -(shifted**self.gamma_negative) * (log_q.exp() + self.margin).clip(max=1.0).log()
            )
        else:
            missing = -(self.gamma_negative * log_p).exp() * log_q
        return _over_images(target * present + (1.0 - target) * missing, self.mean_over_classes)


def target_matrix(targets: Targets, logits: Tensor) -> Tensor:
    """What each class's probability should be: [N, C] float32 in 0..1, for ``logits`` [N, C].

    Raises:
        ShapeError: the targets do not fit the logits.
    """
    if targets.soft is not None:
        return _like_logits(targets.soft, logits, "soft targets")
    first = _label_matrix(targets.labels, logits)
    if targets.mixed_labels is None:
        return first
    share = _share_of_first(targets).unsqueeze(1)
    return share * first + (1.0 - share) * _label_matrix(targets.mixed_labels, logits)


def class_factors(loss: Loss, class_weights: ClassWeights, num_classes: int) -> Tensor:
    """``class_weights`` as [1, C] float32; ones where there are none.

    Raises:
        ConfigError: they are not one per class, or not numbers yet.
    """
    import paddle

    if class_weights is None:
        return paddle.ones([1, num_classes])
    name = type(loss).__name__
    if isinstance(class_weights, str):
        raise ConfigError(
            f"loss {name}: class_weights {class_weights!r} becomes numbers when a run is planned; "
            f"give one value a class here."
        )
    if len(class_weights) != num_classes:
        raise ConfigError(
            f"loss {name}: class_weights must have one value a class; "
            f"got {len(class_weights)} values for {num_classes} classes."
        )
    return paddle.to_tensor(class_weights, dtype="float32").unsqueeze(0)


def _with_auxiliary(
    loss: Callable[[Tensor, Targets], Tensor], outputs: Any, targets: Targets, aux_weight: float
) -> Tensor:
    """``loss`` of the main logits, and of each auxiliary output times ``aux_weight``."""
    logits, auxiliary = split_outputs(outputs)
    total = loss(logits, targets)
    for aux_logits in auxiliary:
        total = total + aux_weight * loss(aux_logits, targets)
    return total


def _over_images(each: Tensor, mean_over_classes: bool) -> Tensor:
    return each.mean() if mean_over_classes else each.sum(axis=1).mean()


def _at_target(values: Tensor, targets: Targets) -> Tensor:
    """``Σ_c target · values`` for each sample: [N] from [N, C]."""
    if targets.labels.ndim == 2:
        raise ShapeError(
            "softmax losses need one label per image, labels [N]; got "
            f"{list(targets.labels.shape)}. For several labels per image use BinaryCrossEntropy, "
            "Focal or Asymmetric."
        )
    if targets.soft is not None:
        return (_like_logits(targets.soft, values, "soft targets") * values).sum(axis=1)
    first = _at_labels(values, targets.labels)
    if targets.mixed_labels is None:
        return first
    share = _share_of_first(targets)
    return share * first + (1.0 - share) * _at_labels(values, targets.mixed_labels)


def _at_labels(values: Tensor, labels: Tensor) -> Tensor:
    return values.take_along_axis(labels.unsqueeze(1), axis=1).squeeze(1)


def _label_matrix(labels: Tensor, logits: Tensor) -> Tensor:
    import paddle

    if labels.ndim == 2:
        return _like_logits(labels, logits, "labels").astype("float32")
    return paddle.nn.functional.one_hot(labels, logits.shape[1])


def _like_logits(values: Tensor, logits: Tensor, what: str) -> Tensor:
    if values.shape != logits.shape:
        raise ShapeError(
            f"{what} must be [N, C] = {list(logits.shape)} like the logits; got "
            f"{list(values.shape)}."
        )
    return values


def _share_of_first(targets: Targets) -> Tensor:
    if targets.weight is None:
        raise ShapeError(
            "targets with mixed_labels need weight [N], the share of labels in each sample; got "
            "None."
        )
    return targets.weight
