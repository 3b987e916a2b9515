"""What a training step minimises: ``Supervised`` compares with the labels, plugins add others.

It is built from the config's ``objective`` section. Importing this does not import Paddle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ppclas_core.config.schema import Task
from ppclas_core.contracts.training import ONE_LABEL, Loss, Targets
from ppclas_core.params import Params

if TYPE_CHECKING:
    from paddle import Tensor, nn

    from ppclas_core.config.schema import Config
    from ppclas_core.contracts.data import ImageSet
    from ppclas_core.contracts.image_model import ImageModel


@dataclass(frozen=True)
class ObjectiveContext:
    """What an objective is prepared with, once, before the optimizer is built."""

    model: ImageModel
    """What is trained."""
    config: Config
    """The resolved config."""
    train: ImageSet
    """The training photos; a batch's ``indices`` are places in it."""
    loss: Loss
    """What the config's ``loss`` section names."""
    note: Callable[[str], None]
    """Print a line on the console and in the run's log."""


@dataclass(frozen=True)
class TrainBatch:
    """A batch of N photos, ready for the model."""

    images: Tensor
    """[N, 3, H, W] float32, normalised, after the batch transforms."""
    targets: Targets
    pixels: NDArray[Any] | Tensor
    """[N, H, W, 3] as the loader shipped them (uint8 RGB), before normalisation and batch
    transforms; a tensor where a reader has put them on the GPU."""
    indices: NDArray[np.int64]
    """[N] places in the training set."""
    epoch: int
    """0-based."""


@dataclass(frozen=True)
class StepLoss:
    """What a step minimises."""

    loss: Tensor
    """A scalar."""
    outputs: Any
    """What the model returned: logits [N, C], or a tuple with them first; float32."""
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    """Named scalars that ``loss`` was made of, for the log; none where it is one thing."""


class Objective(Params):
    """Turn a batch into a loss. Fields are what a config sets; what is built of them is private.

    ``prepare`` is called once. Layers that train beside the model (projections of feature losses)
    are given by ``layers``; arrays that a resumed run needs beyond them (a teacher's running
    statistics) by ``state``.
    """

    tasks: ClassVar[tuple[Task, ...]] = ONE_LABEL
    """What it is for: one label per image (``classification``), several (``multilabel``), both."""
    learns_without_labels: ClassVar[bool] = False
    """Whether photos without a label can be trained on. Their label is
    ``ppclas_data.sources.unlabelled.UNLABELLED``."""

    def resolved(self) -> Objective:
        """The same with every path absolute, for a run's ``config.yaml``, read from anywhere."""
        return self

    def prepare(self, context: ObjectiveContext) -> None:
        """Build what the steps need.

        Raises:
            PpclasError: a part cannot be built, or does not fit the model.
        """
        raise NotImplementedError

    def step(self, batch: TrainBatch, forward: Callable[[Tensor], Any]) -> StepLoss:
        """The loss of ``batch``; ``forward`` trains in the run's precision, on its devices."""
        raise NotImplementedError

    def layers(self) -> Mapping[str, nn.Layer]:
        """Layers that are trained with the model and kept in checkpoints, but not in the bundle."""
        return {}

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays for a checkpoint, beside the layers' parameters."""
        return {}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """The inverse of ``state``; called after ``prepare``."""
