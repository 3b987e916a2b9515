"""Losses of PaddleClas' attribute recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ppclas_components.losses import ClassWeights, log_sigmoid, target_matrix
from ppclas_core.config.schema import Task
from ppclas_core.contracts.training import BOTH_TASKS, Loss, Targets, split_outputs

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
        import paddle

        logits, _ = split_outputs(outputs)
        target = target_matrix(targets, logits)
        counted = self.class_weights if isinstance(self.class_weights, tuple) else ()
        apart = paddle.to_tensor(counted or [1.0] * logits.shape[1], dtype="float32")
        share = 1.0 / (1.0 + apart)
        present = -(1.0 - share).exp() * log_sigmoid(logits)
        missing = -share.exp() * log_sigmoid(-logits)
        each = target * present + (1.0 - target) * missing
        return each.mean() if self.mean_over_classes else each.sum(axis=1).mean()
