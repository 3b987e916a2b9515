"""Losses of PaddleClas' recipes: of attributes, and of mixed images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from ppclas_components.losses import ClassWeights, log_sigmoid, log_softmax, target_matrix
from ppclas_core.config.schema import Task
from ppclas_core.contracts.training import BOTH_TASKS, Loss, Targets, split_outputs
from ppclas_core.errors import ConfigError
from pydantic import Field

if TYPE_CHECKING:
    from paddle import Tensor


class AttributeCrossEntropy(Loss):
    """Binary cross entropy in which the rarer answer to each question counts more.

    ``-Σ_c [t · e^(1 - r) · log σ(x) + (1 - t) · e^r · log(1 - σ(x))]``, where r is the share of
    training images that have the class; averaged over images. PaddleClas calls it MultiLabelLoss
    with ``weight_ratio`` (Li et al. 2015, "Multi-attribute learning for pedestrian attribute
    recognition in surveillance scenarios", equation 3).

    Logits and labels [N, C] in, a number out. One class in a quarter of the images, probability
    3/4, there: e^(3/4) · ln(4/3):

    >>> import paddle
    >>> from math import log
    >>> from ppclas_core.contracts.training import Targets
    >>> logits, labels = paddle.to_tensor([[log(3.0)]]), paddle.to_tensor([[1.0]])
    >>> round(AttributeCrossEntropy(class_weights=(3.0,))(logits, Targets(labels)).item(), 4)
    0.609
    """

    tasks: ClassVar[tuple[Task, ...]] = BOTH_TASKS

    class_weights: ClassWeights = "balanced"
    """Of each class the images without it over the images with it, (1 - r) / r; ``balanced``:
    counted in the training set. Nothing: 1, as many with as without."""
    mean_over_classes: bool = False
    """Divide by C too."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:

        logits, _ = split_outputs(outputs)
        target = target_matrix(targets, logits)
        share = _share(self.class_weights, logits)
        present = -(1.0 - share).exp() * log_sigmoid(logits)
        missing = -share.exp() * log_sigmoid(-logits)
        each = target * present + (1.0 - target) * missing
        return each.mean() if self.mean_over_classes else each.sum(axis=1).mean()


class MixedBinaryCrossEntropy(Loss):
    """A question for each class, of which those are there that have more than ``threshold`` of a
    mixed image: ``-1/(N C) Σ_n Σ_c [t · log σ(x) + (1 - t) · log(1 - σ(x))]`` with t 1 or 0.

    Of Mixup and CutMix both labels are there unless one has hardly a share. PaddleClas calls it
    BCELoss (Wightman et al. 2021, "ResNet strikes back", https://arxiv.org/abs/2110.00476, 2.2).

    Logits [N, C] and labels [N] in, a number out. An image of 0.7 of the first class and 0.3 of the
    second, probabilities 3/4, 1/2, 1/2: (ln(4/3) + 2 ln 2) / 3:

    >>> import paddle
    >>> from math import log
    >>> from ppclas_core.contracts.training import Targets
    >>> logits = paddle.to_tensor([[log(3.0), 0.0, 0.0]])
    >>> soft = paddle.to_tensor([[0.7, 0.3, 0.0]])
    >>> targets = Targets(paddle.to_tensor([0]), soft=soft)
    >>> round(MixedBinaryCrossEntropy()(logits, targets).item(), 4)
    0.558
    """

    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """ε: before it is compared, a share t becomes (1 - ε) t + ε / C."""
    threshold: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """A class that has more than this is there."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        logits, _ = split_outputs(outputs)
        share = target_matrix(targets, logits)
        smoothed = (1.0 - self.label_smoothing) * share + self.label_smoothing / logits.shape[1]
        target = (smoothed > self.threshold).astype(logits.dtype)
        return -(target * log_sigmoid(logits) + (1.0 - target) * log_sigmoid(-logits)).mean()


class AttributeDML(Loss):
    """Symmetrised divergence from a teacher in which each class's term weighs as its answer does in
    ``AttributeCrossEntropy``: ``1/N Σ_n Σ_c w_nc · ½ (t - s) (log t - log s)``.

    s and t are the softmax of the student's and the teacher's logits, w is ``e^(1 - r)`` where the
    label says that the class is there and ``e^r`` where not. PaddleClas calls it
    DistillationDMLLoss with ``weight_ratio``; without weights it is ``ssld``.

    Logits, the teacher's and labels [N, C] in, a number out. s = (½, ½), t = (¾, ¼), no weights:

    >>> import paddle
    >>> from ppclas_core.contracts.training import Targets
    >>> teacher = paddle.to_tensor([[0.75, 0.25]]).log()
    >>> targets = Targets(paddle.to_tensor([[1.0, 0.0]]), teacher_logits=teacher)
    >>> round(AttributeDML(class_weights=None)(paddle.zeros([1, 2]), targets).item(), 4)
    0.1373
    """

    tasks: ClassVar[tuple[Task, ...]] = BOTH_TASKS

    class_weights: ClassWeights = "balanced"
    """As of ``AttributeCrossEntropy``; nothing: every term counts once."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        logits, _ = split_outputs(outputs)
        if targets.teacher_logits is None:
            raise ConfigError("loss AttributeDML compares a student with its teacher; got none.")
        log_s, log_t = log_softmax(logits), log_softmax(targets.teacher_logits.detach())
        each = 0.5 * (log_t.exp() - log_s.exp()) * (log_t - log_s)
        if self.class_weights is not None:
            target, share = target_matrix(targets, logits), _share(self.class_weights, logits)
            each = each * (target * (1.0 - share).exp() + (1.0 - target) * share.exp())
        return each.sum(axis=1).mean()


def _share(class_weights: ClassWeights, logits: Tensor) -> Tensor:
    """[C] the share r of images that have the class; a half where nothing was counted."""
    import paddle

    counted = class_weights if isinstance(class_weights, tuple) else ()
    apart = paddle.to_tensor(counted or [1.0] * logits.shape[1], dtype="float32")
    return 1.0 / (1.0 + apart)
