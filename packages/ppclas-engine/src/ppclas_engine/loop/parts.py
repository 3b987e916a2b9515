"""What a run trains: model with weights, objective, optimizer, precision, moving average."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_components.optimizing import build_optimizer, expand_stages, trained_parameters
from ppclas_core.component import build_component
from ppclas_core.config.schema import Config
from ppclas_core.contracts.objective import Objective, ObjectiveContext
from ppclas_core.errors import ConfigError
from ppclas_core.models import create_model
from ppclas_core.plugins import get_registries
from ppclas_core.weights import fit_state

from ppclas_engine.console import Console
from ppclas_engine.loop.channels import load_fitting
from ppclas_engine.loop.ema import Ema
from ppclas_engine.loop.probe import MAX_CLASSES, head_to_fit
from ppclas_engine.loop.trained import Trained
from ppclas_engine.planning.plan import Plan
from ppclas_engine.planning.precision import MixedPrecision
from ppclas_engine.ranks.distributed import current
from ppclas_engine.runs.checkpoint import Checkpoint

if TYPE_CHECKING:
    from paddle import nn
    from ppclas_core.contracts.image_model import ImageModel

    from ppclas_engine.loop.probe import Head
    from ppclas_engine.loop.sharding import Shards


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
    shards, clip = _shards(config, model, objective, console)
    optimizer = build_optimizer(config.optimizer, model, first_rate, objective.layers(), clip)
    precision = MixedPrecision(config.train.precision, config.train.amp_level)
    decay = config.train.ema_decay
    ema = Ema(model, decay, statistics=config.train.ema_statistics) if decay else None
    trained = Trained(model, objective, optimizer, precision, ema, new_head, shards=shards)
    if checkpoint is not None:
        trained.restore(checkpoint, plan, console)
    return trained


def _shards(
    config: Config, model: ImageModel, objective: Objective, console: Console
) -> tuple[Shards | None, type[nn.ClipGradByGlobalNorm] | None]:
    """How ``train.shard`` divides the optimizer's state, and what clips over its parts."""
    if config.train.shard == "none":
        return None, None
    if current().alone:
        console.line(f"train.shard: {config.train.shard}: one device keeps everything")
        return None, None
    from ppclas_engine.loop.sharding import ClipOverRanks, Shards

    shards = Shards(dict(trained_parameters(model, objective.layers())), current())
    console.line(f"train.shard: {config.train.shard}: {shards}")
    return shards, ClipOverRanks


def _build_model(
    plan: Plan, console: Console, checkpoint: Checkpoint | None
) -> tuple[ImageModel, Head | None]:
    """The model, and its classifier where that is to be fitted before training."""
    config = plan.config
    new_head = None
    model = create_model(config.model.name, len(plan.train.class_names), **config.model.params)
    if checkpoint is not None:
        fit_state(model, checkpoint.part("model"))
    elif plan.weights is not None:
        report, said = load_fitting(model, plan.weights)
        console.line(f"{plan.weights.name}: {said}")
        new_head = _head_to_probe(plan, model, console) if not report.head_loaded else None
    model.freeze(expand_stages(model, config.train.freeze))
    model.keeps_norm_statistics = bool(config.train.freeze_norm_statistics)
    return model, new_head


def _head_to_probe(plan: Plan, model: ImageModel, console: Console) -> Head | None:
    """The classifier to fit before training; None where the config or the model forbids it."""
    wanted, name = plan.config.train.probe_head, plan.config.model.name
    if wanted is False:
        return None
    head = head_to_fit(model, plan.train.task)
    if head is None and wanted:
        raise ConfigError(
            f"train.probe_head: the classifier of {name} is not one layer that can "
            "be fitted. Set it to false."
        )
    if head is None:
        console.line(
            f"the classifier of {name} is not one layer that can be fitted: it starts from random "
            "weights"
        )
    elif wanted is None and len(plan.train.class_names) > MAX_CLASSES:
        console.line(
            f"more than {MAX_CLASSES} classes: the new classifier starts from random weights"
        )
        return None
    return head
