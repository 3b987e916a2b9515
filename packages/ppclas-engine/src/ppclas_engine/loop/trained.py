"""What changes while a run trains: model, objective, optimizer, precision and moving average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from ppclas_components.optimizing import trained_parameters
from ppclas_core.contracts.objective import Objective
from ppclas_core.errors import CheckpointError
from ppclas_core.weights import model_state
from ppclas_core.wording import first_few

from ppclas_engine.console import Console
from ppclas_engine.loop.ema import Ema
from ppclas_engine.loop.progress import Progress
from ppclas_engine.planning.plan import Plan
from ppclas_engine.planning.precision import MixedPrecision
from ppclas_engine.ranks.distributed import current
from ppclas_engine.runs.checkpoint import (
    Checkpoint,
    layer_arrays,
    optimizer_arrays,
    optimizer_state,
    restore_layers,
    restore_optimizer,
)

if TYPE_CHECKING:
    import paddle
    from paddle import Tensor, nn
    from ppclas_core.contracts.image_model import ImageModel

    from ppclas_engine.loop.sharding import Shards


@dataclass
class Trained:
    """Everything that changes while a run trains, and so everything that a checkpoint holds."""

    model: ImageModel
    objective: Objective
    optimizer: paddle.optimizer.Optimizer
    precision: MixedPrecision
    ema: Ema | None
    new_head: nn.Linear | None = None
    """The classifier to fit before the first epoch."""
    progress: Progress = field(default_factory=Progress)
    shards: Shards | None = None
    """Who holds the optimizer's state, where it is divided among ranks."""

    def parameters(self) -> dict[str, Tensor]:
        """Every parameter that trains, by a name that stays the same when the run is resumed."""
        return dict(trained_parameters(self.model, self.objective.layers()))

    def all_layers(self) -> list[nn.Layer]:
        """The model, and what trains beside it."""
        return [self.model, *self.objective.layers().values()]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of a checkpoint; the optimizer's are whole on rank 0 alone."""
        moments = (
            optimizer_arrays(self.parameters(), self.optimizer)
            if self.shards is None
            else self.shards.gather(optimizer_state(self.parameters(), self.optimizer))
        )
        arrays = {f"model/{key}": value for key, value in model_state(self.model).items()}
        arrays |= {
            f"layers/{key}": value for key, value in layer_arrays(self.objective.layers()).items()
        }
        arrays |= {f"objective/{key}": value for key, value in self.objective.state().items()}
        arrays |= {f"optimizer/{key}": value for key, value in moments.items()}
        if self.ema is not None:
            arrays |= {f"ema/{key}": value for key, value in self.ema.arrays().items()}
        return arrays

    def state(self, plan: Plan) -> dict[str, Any]:
        """The JSON of a checkpoint."""
        return {
            **self.progress.to_json(),
            "data": _describe_data(plan),
            "precision": self.precision.state(),
            "images_per_step": plan.images_per_step,
            "ranks": current().size,
        }

    def restore(self, checkpoint: Checkpoint, plan: Plan, console: Console) -> None:
        """Put everything back but the model's own state, which it was built with.

        Where the recipe was changed, what has no counterpart starts afresh, with a line that says
        so.

        Raises:
            CheckpointError: the photos or the recipe are others.
        """
        _check_same_data(checkpoint.state["data"], plan)
        restore_layers(self.objective.layers(), checkpoint.part("layers"))
        self.objective.restore(checkpoint.part("objective"))
        moments, parameters = checkpoint.part("optimizer"), self.parameters()
        if self.shards is not None:
            parameters = self.shards.of()
            moments = {k: v for k, v in moments.items() if k.split("/", 1)[1] in parameters}
        restore_optimizer(parameters, self.optimizer, moments)
        self.precision.restore(checkpoint.state["precision"])
        average = checkpoint.part("ema")
        if self.ema is not None and average:
            self.ema.restore(average)
        elif self.ema is not None:
            console.line(
                "the checkpoint has no moving average: it starts from the weights as they are now"
            )
        elif average:
            console.line("the checkpoint's moving average is dropped: the recipe has none any more")
        self.progress = Progress.from_json(checkpoint.state)
        ranks = current().size
        if (wrote := int(checkpoint.state.get("ranks", ranks))) != ranks:
            console.line(
                f"{ranks} {'device' if ranks == 1 else 'devices'}, {wrote} when the checkpoint was "
                "written: the same photos in the same order, but sums are rounded in another one, "
                "so that the run is no longer the same bit for bit"
            )
        before = int(checkpoint.state["images_per_step"])
        if before != plan.images_per_step and self.progress.step_in_epoch:
            self.progress.step_in_epoch = (
                self.progress.step_in_epoch * before // plan.images_per_step
            )
            console.line(
                f"{plan.images_per_step} images per step, {before} before: the epoch goes on at "
                f"step {self.progress.step_in_epoch}"
            )


def _describe_data(plan: Plan) -> dict[str, Any]:
    return {"train": len(plan.train), "val": len(plan.val), "classes": list(plan.train.class_names)}


def _check_same_data(before: Mapping[str, Any], plan: Plan) -> None:
    now = _describe_data(plan)
    if now["classes"] != before["classes"] and sorted(now["classes"]) == sorted(before["classes"]):
        raise CheckpointError(
            "The classes are in another order than in the checkpoint: "
            f"{first_few(now['classes'])}, before {first_few(before['classes'])}. (Classes that "
            "are called by numbers go by value now, before by text.) Start a new run."
        )
    if now != before:
        raise CheckpointError(
            f"The photos have changed since the checkpoint: it was trained on {before['train']} "
            f"photos in {len(before['classes'])} classes ({before['val']} for validation), now "
            f"there are {now['train']} in {len(now['classes'])} ({now['val']}). Restore them, or "
            "start a new run."
        )
