"""What a loss, schedule, optimizer, metric or tracker is, and what the run-time hooks see.

Each component is a frozen class of parameters, which a config may set, with one method. Importing
this module does not import Paddle.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat

from ppclas_core.config.schema import Task
from ppclas_core.params import Params

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import paddle
    from paddle import Tensor, nn

    from ppclas_core.config.schema import Config
    from ppclas_core.contracts.image_model import Feature, ImageModel


ONE_LABEL: tuple[Task, ...] = ("classification",)
BOTH_TASKS: tuple[Task, ...] = ("classification", "multilabel")


@dataclass(frozen=True)
class Targets:
    """What a batch's outputs are compared with; N samples, C classes.

    Mixed samples (Mixup, CutMix) stand for ``weight · labels + (1 - weight) · mixed_labels``.
    """

    labels: Tensor
    """[N] int64 class indices; where images have several, [N, C] float32, 1 for each."""
    mixed_labels: Tensor | None = None
    """The labels of the other half of a mixed sample, in the same form."""
    weight: Tensor | None = None
    """[N] float32 in 0..1: the share of ``labels``; given where ``mixed_labels`` is."""
    soft: Tensor | None = None
    """[N, C] float32 probabilities; where given they replace the labels."""
    teacher_logits: Tensor | None = None
    """[N, C] float32, without gradient; for distillation losses."""


class Loss(Params):
    """Turn a batch's outputs into one number to minimise."""

    tasks: ClassVar[tuple[Task, ...]] = ONE_LABEL
    """What it is for: one label per image (``classification``), several (``multilabel``), both."""

    def __call__(self, outputs: Any, targets: Targets) -> Tensor:
        """Mean loss, a scalar.

        ``outputs`` is the model's: logits [N, C], or a tuple with them before auxiliary ones.
        """
        raise NotImplementedError


def split_outputs(outputs: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Main logits [N, C] and auxiliary ones of a model's output: a tensor, or a tuple."""
    if isinstance(outputs, tuple | list):
        return outputs[0], tuple(outputs[1:])
    return outputs, ()


class FeatureLoss(Params):
    """Compare one feature map of the student with one of the teacher.

    Maps are places in the models' ``feature_info()``; negative ones count from the end.
    """

    student_map: int = -1
    """Which of the student's feature maps; -1 is the last."""
    teacher_map: int = -1
    """Which of the teacher's feature maps; -1 is the last."""

    def layers(self, student: Feature, teacher: Feature) -> Mapping[str, nn.Layer]:
        """Layers beside the student that train with it: none, unless a loss needs some."""
        return {}

    def between(self, student: Tensor, teacher: Tensor, layers: Mapping[str, nn.Layer]) -> Tensor:
        """A scalar from maps [N, Cs, Hs, Ws] and, without gradient, [N, Ct, Ht, Wt].

        ``layers`` are those that ``layers()`` gave.
        """
        raise NotImplementedError


class Scheduler(Params):
    """A learning rate for every step, a pure function: nothing has to be saved to resume it."""

    lr: PositiveFloat | None = None
    """Peak learning rate. Nothing: inferred from the task."""

    @property
    def peak(self) -> float:
        """``lr``, which the engine has filled in by the time a schedule is asked for a value."""
        if self.lr is None:
            raise ValueError("the schedule has no learning rate yet")
        return self.lr

    def value(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The learning rate of ``step`` (0-based, over the whole run)."""
        raise NotImplementedError


class Optimizer(Params):
    """Build a Paddle optimizer."""

    def build(
        self,
        parameters: Sequence[Mapping[str, Any]],
        lr: float,
        weight_decay: float,
        grad_clip: Any | None,
    ) -> paddle.optimizer.Optimizer:
        """An optimizer over parameter groups.

        A group is ``{"params": [...], "learning_rate": factor, "weight_decay": coefficient}``;
        ``lr`` is the first rate (later: ``set_lr``); ``grad_clip`` a ``paddle.nn.ClipGradBy…``.
        """
        raise NotImplementedError


class Metric(Params):
    """A number, or a few, over a whole evaluation."""

    tasks: ClassVar[tuple[Task, ...]] = ONE_LABEL
    """What it is for: one label per image (``classification``), several (``multilabel``), both."""

    def __call__(
        self, probabilities: NDArray[np.float32], labels: NDArray[Any]
    ) -> dict[str, float]:
        """From probabilities [N, C] and labels, [N] indices or [N, C] ones and zeros."""
        raise NotImplementedError


class Tracker(Params):
    """Send the rows of ``metrics.jsonl`` somewhere else as well."""

    def check(self) -> None:
        """Called before anything heavy: raise MissingDependencyError if it lacks a package."""

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        """Called once, before the first row."""

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Called with each row."""
        raise NotImplementedError

    def finish(self) -> None:
        """Called once, also when the run failed."""


@dataclass
class TrainContext:
    """One object for all ``on_*`` hooks, updated in place. Hooks read it and may set ``stop``."""

    config: Config
    run: Path
    """The run folder."""
    model: ImageModel
    steps_per_epoch: int
    epochs: int
    epoch: int = 0
    """0-based."""
    step: int = 0
    """Optimizer steps done since the start of the run."""
    last_loss: float = float("nan")
    metrics: dict[str, Any] = field(default_factory=dict)
    """The newest row of ``metrics.jsonl``."""
    stop: bool = False
    """Set it to end the run after this epoch as if it were the last."""
