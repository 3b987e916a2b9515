"""What a run trains, built from its plan: the model with its weights, objective, optimizer,
precision, average.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ppclas_core.checkpoint import (
    Checkpoint,
    layer_arrays,
    optimizer_arrays,
    restore_layers,
    restore_optimizer,
)
from ppclas_core.component import build_component
from ppclas_core.engine.console import Console
from ppclas_core.engine.ema import Ema
from ppclas_core.engine.optimizing import build_optimizer, expand_stages, trained_parameters
from ppclas_core.engine.plan import Plan
from ppclas_core.engine.precision import MixedPrecision
from ppclas_core.engine.probe import MAX_CLASSES, linear_head
from ppclas_core.engine.progress import Progress
from ppclas_core.errors import CheckpointError, ConfigError
from ppclas_core.models import create_model
from ppclas_core.objective import Objective, ObjectiveContext
from ppclas_core.plugins import get_registries
from ppclas_core.weights import fit_state, load_weights, model_state

if TYPE_CHECKING:
    import paddle
    from paddle import Tensor, nn

    from ppclas_core.image_model import ImageModel


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

    def parameters(self) -> dict[str, Tensor]:
        """Every parameter that trains, by a name that stays the same when the run is resumed."""
        return dict(trained_parameters(self.model, self.objective.layers()))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of a checkpoint."""
        arrays = {f"model/{key}": value for key, value in model_state(self.model).items()}
        arrays |= {
            f"layers/{key}": value for key, value in layer_arrays(self.objective.layers()).items()
        }
        arrays |= {f"objective/{key}": value for key, value in self.objective.state().items()}
        arrays |= {
            f"optimizer/{k}": v
            for k, v in optimizer_arrays(self.parameters(), self.optimizer).items()
        }
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
        restore_optimizer(self.parameters(), self.optimizer, checkpoint.part("optimizer"))
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
        before = int(checkpoint.state["images_per_step"])
        if before != plan.images_per_step and self.progress.step_in_epoch:
            self.progress.step_in_epoch = (
                self.progress.step_in_epoch * before // plan.images_per_step
            )
            console.line(
                f"{plan.images_per_step} images a step, {before} before: the epoch goes on at step "
                f"{self.progress.step_in_epoch}"
            )


def build_parts(
    plan: Plan, console: Console, first_rate: float, checkpoint: Checkpoint | None
) -> Trained:
    """Build what ``plan`` describes, and put ``checkpoint`` back into it where one is given."""
    config = plan.config
    registries = get_registries()
    model, new_head = _build_model(plan, console, checkpoint)
    objective: Objective = build_component(registries.objectives, config.objective)
    loss = build_component(registries.losses, config.loss)
    objective.prepare(ObjectiveContext(model, config, plan.train, loss, console.line))
    optimizer = build_optimizer(config.optimizer, model, first_rate, objective.layers())
    precision = MixedPrecision(config.train.precision, config.train.amp_level)
    decay = config.train.ema_decay
    ema = Ema(model, decay, statistics=config.train.ema_statistics) if decay else None
    trained = Trained(model, objective, optimizer, precision, ema, new_head)
    if checkpoint is not None:
        trained.restore(checkpoint, plan, console)
    return trained


def _build_model(
    plan: Plan, console: Console, checkpoint: Checkpoint | None
) -> tuple[ImageModel, nn.Linear | None]:
    """The model, and its classifier where that is to be fitted before training."""
    config = plan.config
    new_head = None
    model = create_model(config.model.name, len(plan.train.class_names), **config.model.params)
    if checkpoint is not None:
        fit_state(model, checkpoint.part("model"))
    elif plan.weights is not None:
        report = load_weights(model, plan.weights)
        console.line(f"{plan.weights.name}: {report}")
        new_head = _head_to_probe(plan, model, console) if not report.head_loaded else None
    model.freeze(expand_stages(model, config.train.freeze))
    model.keeps_norm_statistics = bool(config.train.freeze_norm_statistics)
    return model, new_head


def _head_to_probe(plan: Plan, model: ImageModel, console: Console) -> nn.Linear | None:
    """The classifier to fit before training; None where the config or the model does not allow
    it.
    """
    wanted, name = plan.config.train.probe_head, plan.config.model.name
    if wanted is False:
        return None
    head = linear_head(model)
    if head is None and wanted:
        raise ConfigError(
            f"train.probe_head: the classifier of {name} is not one linear layer. Set it to false."
        )
    if head is None:
        console.line(
            f"the classifier of {name} is not one linear layer: it starts from random weights"
        )
    elif wanted is None and len(plan.train.class_names) > MAX_CLASSES:
        console.line(
            f"more than {MAX_CLASSES} classes: the new classifier starts from random weights"
        )
        return None
    return head


def _describe_data(plan: Plan) -> dict[str, Any]:
    return {"train": len(plan.train), "val": len(plan.val), "classes": list(plan.train.class_names)}


def _check_same_data(before: Mapping[str, Any], plan: Plan) -> None:
    now = _describe_data(plan)
    if now != before:
        raise CheckpointError(
            f"The photos have changed since the checkpoint: it was trained on {before['train']} "
            f"photos in {len(before['classes'])} classes ({before['val']} for validation), now "
            f"there are {now['train']} in {len(now['classes'])} ({now['val']}). Restore them, or "
            "start a new run."
        )
