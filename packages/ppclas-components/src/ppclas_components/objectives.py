"""What a training step minimises where no plugin says otherwise: the loss of outputs and labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from ppclas_core.config.schema import Task
from ppclas_core.contracts.objective import Objective, ObjectiveContext, StepLoss, TrainBatch
from ppclas_core.contracts.training import BOTH_TASKS, Loss
from pydantic import PrivateAttr

from ppclas_components.signatures import checked_scalar

if TYPE_CHECKING:
    from paddle import Tensor


class Supervised(Objective):
    """The config's ``loss`` between the model's outputs and the labels."""

    tasks: ClassVar[tuple[Task, ...]] = BOTH_TASKS

    _loss: Loss = PrivateAttr()

    def prepare(self, context: ObjectiveContext) -> None:
        self._loss = context.loss

    def step(self, batch: TrainBatch, forward: Callable[[Tensor], Any]) -> StepLoss:
        outputs = forward(batch.images)
        return StepLoss(checked_scalar(self._loss, self._loss(outputs, batch.targets)), outputs)
