"""Fill in what a config leaves open, from the photos and the model, and say why it was chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ppclas_components.family import positions_note, with_usual_optimizer
from ppclas_components.signatures import check_signatures
from ppclas_core.component import build_component
from ppclas_core.config.schema import ComponentConfig, Config, OptimizerSection
from ppclas_core.contracts.data import ImageSet
from ppclas_core.contracts.objective import Objective
from ppclas_core.contracts.training import Metric
from ppclas_core.errors import ConfigError, WeightsError
from ppclas_core.plugins import get_registries
from ppclas_data.inspection.dark import look_for_dark
from ppclas_data.sources.leaks import same_bytes
from ppclas_data.sources.splits import open_splits
from ppclas_data.sources.unlabelled import add_unlabelled

from ppclas_engine.bundles import pretrained_path
from ppclas_engine.planning.data import fit_channels, plan_data, try_out
from ppclas_engine.planning.device import Device, device_of, select_device
from ppclas_engine.planning.precision import check_precision
from ppclas_engine.planning.sense import check_sense
from ppclas_engine.planning.task import check_task, plan_loss
from ppclas_engine.scoring.monitor import plan_monitor

_PEAK_LR = {
    # (fine-tuning, from random weights) at 32 images a step. Fine-tuning MobileNetV2 on 700 flowers
    # at 96 pixels for two epochs with Momentum: 0.001 took validation top-1 from 89.1 % to 91.4 %,
    # 0.003 down to 86.6 %.
    "SGD": (0.01, 0.05),
    "Momentum": (0.001, 0.0125),
    "RMSProp": (5e-5, 1e-3),
    "Adam": (1e-4, 1e-3),
    "AdamW": (1e-4, 1e-3),
}
_LR_BATCH_SIZE = 32
_LARGEST_INFERRED = 8192
"""Images per step up to which rates grow in proportion (Goyal et al. 2017, section 5.2)."""
_BACKBONE_LR_MULT = 0.2
_CLIP_NORM = 1.0
"""For fine-tuning: without it batch norms that keep their statistics let a tenfold rate end at
chance."""

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """A config with nothing left to infer, and the photos it speaks of."""

    config: Config
    train: ImageSet
    val: ImageSet
    weights: Path | None
    """The weights that training starts from."""
    notes: tuple[str, ...]
    """What was inferred, a sentence each."""

    @property
    def images_per_step(self) -> int:
        """Over all devices and accumulated batches."""
        assert self.config.data.batch_size is not None
        return self.config.data.batch_size * self.config.train.accumulate


def given(value: T | None) -> T:
    """A value that the plan has filled in."""
    assert value is not None
    return value


def plan_run(config: Config) -> Plan:
    """What training with ``config`` would do on this machine; makes the device Paddle's own.

    Raises:
        TrainingError: a GPU is wanted and Paddle cannot use one.
        PpclasError: as ``make_plan``.
    """
    return make_plan(config, select_device(device_of(config), config.train.devices))


def make_plan(config: Config, device: Device) -> Plan:
    """Open the photos and fill in every open field of ``config``; ``device`` is ``cpu`` or ``gpu``.

    Raises:
        DataError: the photos cannot be used.
        ConfigError: what is given contradicts itself.
        UnknownNameError: a component or the model is not registered.
        PluginError: a plugin's component cannot be called as its base class is.
    """
    check_precision(config.train.precision, config.train.amp_level, device)
    check_signatures(config)
    splits = open_splits(config.data)
    notes = [*splits.notes, *same_bytes(splits.train, splits.val)]
    notes += [f"warning: {said}." for said in look_for_dark(splits.train)]
    train, val = splits.train, splits.val
    notes.append(
        f"{len(train)} training and {len(val)} validation photos in {len(train.class_names)} "
        "classes"
    )
    if config.data.train_extra is not None:
        _check_objective_needs_no_labels(config)
        train = add_unlabelled(train, val, config.data.train_extra, config.data.root, notes)

    check_task(config, train.task)
    loss = plan_loss(config.loss, train, notes)
    metrics: list[Metric] = [build_component(get_registries().metrics, m) for m in config.metrics]
    monitor = plan_monitor(config.train.monitor, train.task, metrics, train.class_names)
    for tracker in config.trackers:
        build_component(get_registries().trackers, tracker).check()

    model = get_registries().models.entry(config.model.name)
    weights = _locate_weights(config, notes)
    if weights is not None:
        config = with_usual_optimizer(config, model.metadata, notes)
    data = plan_data(config.data, model.metadata, train, device, weights is not None, notes)
    data = fit_channels(data, config.data, config.model.params.get("in_channels"), notes)
    notes += positions_note(model.metadata, data.image_size)
    assert data.batch_size is not None
    if data.batch_size > len(train):
        raise ConfigError(
            f"batch_size {data.batch_size} is more than the {len(train)} training photos. Use a "
            "smaller --batch-size."
        )
    epochs = config.train.epochs
    if epochs is None:
        epochs = _infer_epochs(len(train), weights is not None)
        notes.append(
            f"{epochs} epochs for {len(train)} photos, "
            f"{'fine-tuning' if weights else 'from random weights'}"
        )
    images_per_step = data.batch_size * config.train.accumulate
    batches = len(train) // data.batch_size
    if config.train.accumulate > batches:
        raise ConfigError(
            f"train.accumulate is {config.train.accumulate}, and an epoch has {batches} batches of "
            f"{data.batch_size}: expected at most as many."
        )
    if config.train.accumulate > 1:
        notes.append(f"{config.train.accumulate} batches make a step of {images_per_step} images")
    schedule, optimizer = _plan_optimizer(
        config, images_per_step, epochs, weights is not None, notes
    )
    if device == "cpu" and config.train.device == "auto":
        notes.append("training on the CPU")
    keep_statistics = config.train.freeze_norm_statistics
    if keep_statistics is None:
        keep_statistics = weights is not None
        if keep_statistics:
            notes.append(
                "batch norms, if any, keep their statistics: a few photos say less about them "
                "than the weights"
            )
    try_out(data, train)
    objective: Objective = build_component(get_registries().objectives, config.objective)
    resolved = config.replace(
        objective=ComponentConfig(
            name=config.objective.name,
            **objective.resolved().model_dump(mode="json", exclude_unset=True),
        ),
        model=config.model.replace(name=model.name, pretrained=str(weights) if weights else False),
        data=data.replace(task=train.task),
        loss=loss,
        schedule=schedule,
        optimizer=optimizer,
        train=config.train.replace(
            epochs=epochs,
            device=device,
            monitor=monitor,
            lr_batch_size=None,
            freeze_norm_statistics=keep_statistics,
        ),
    )
    notes += check_sense(resolved, len(train), len(train.class_names))
    return Plan(resolved, train, val, weights, tuple(notes))


def _check_objective_needs_no_labels(config: Config) -> None:
    name = config.objective.name
    objective: Any = get_registries().objectives.entry(name).params_model()
    if not objective.learns_without_labels:
        raise ConfigError(
            f"data.train_extra gives photos without labels, and the objective {name} learns from "
            "labels alone. Distil from a teacher (ppclas distill train), or leave train_extra out."
        )


def _locate_weights(config: Config, notes: list[str]) -> Path | None:
    pretrained, entry = config.model.pretrained, get_registries().models.entry(config.model.name)
    name = entry.name
    if pretrained is False:
        notes.append(f"{name} starts from random weights, as asked")
        return None
    if isinstance(pretrained, str):
        return Path(pretrained).absolute()
    if pretrained is None and "pretrained" not in entry.metadata:
        notes.append(f"{name} starts from random weights: {entry.owner} publishes none for it")
        return None
    try:
        found = pretrained_path(name, download=True)
    except WeightsError as error:
        raise WeightsError(
            f"{name}: {str(error).rstrip('.')}. Or start from a file (--pretrained FILE) or from "
            "random weights (--from-scratch)."
        ) from error
    notes.append(f"{name} starts from the published weights {found.name}")
    return found


def _infer_epochs(images: int, fine_tuning: bool) -> int:
    if fine_tuning:
        return int(min(30, max(5, round(1500 / images))))
    return int(min(120, max(30, round(100_000 / images))))


def _plan_optimizer(
    config: Config, batch_size: int, epochs: int, fine_tuning: bool, notes: list[str]
) -> tuple[ComponentConfig, OptimizerSection]:
    schedule, optimizer = config.schedule, config.optimizer
    chosen: dict[str, Any] = {}
    lr, meant_for = schedule.params.get("lr"), config.train.lr_batch_size
    if lr is not None and meant_for is not None and meant_for != batch_size:
        ratio = batch_size / meant_for
        chosen["lr"] = lr * (ratio if config.train.lr_scaling == "linear" else math.sqrt(ratio))
        notes.append(
            f"learning rate {chosen['lr']:g}: {lr:g} for {meant_for} images a step, scaled to "
            f"{batch_size} ({config.train.lr_scaling})"
        )
    if lr is None and meant_for is not None:
        raise ConfigError(
            "train.lr_batch_size says what schedule.lr is meant for, so give that too: --lr"
        )
    if lr is None:
        known = _PEAK_LR.get(optimizer.name)
        if known is None:
            raise ConfigError(
                f"optimizer {optimizer.name}: there is no rule for its learning rate. Give one: "
                "--lr"
            )
        if batch_size > _LARGEST_INFERRED:
            raise ConfigError(
                f"there is no rule for the learning rate of {batch_size} images per step; the "
                f"largest with one is {_LARGEST_INFERRED}. Give one: --lr"
            )
        # Proportional to the batch; a smaller one does not make pretrained weights learn more
        # slowly.
        share = max(batch_size, _LR_BATCH_SIZE if fine_tuning else 0) / _LR_BATCH_SIZE
        chosen["lr"] = float(f"{known[not fine_tuning] * share:.3g}")
        notes.append(
            f"learning rate {chosen['lr']:g} for {optimizer.name} at {batch_size} images a step"
        )
    fields = get_registries().schedulers.entry(schedule.name).params_model().model_fields
    if "warmup_epochs" in fields and "warmup_epochs" not in schedule.params:
        chosen["warmup_epochs"] = min(5.0, round(0.1 * epochs, 2))
        notes.append(f"the learning rate warms up over {chosen['warmup_epochs']:g} epochs")
    if optimizer.lr_mult is None:
        factors = (
            {"backbone": _BACKBONE_LR_MULT} if fine_tuning and optimizer.layer_decay is None else {}
        )
        if factors:
            notes.append(
                f"the backbone learns at {_BACKBONE_LR_MULT:g} of the learning rate, the new "
                f"classifier at all of it; gradients are clipped to a norm of {_CLIP_NORM:g}"
            )
        clip = _CLIP_NORM if fine_tuning and optimizer.clip_norm is None else optimizer.clip_norm
        optimizer = optimizer.replace(lr_mult=factors, clip_norm=clip)
    return schedule.replace(**chosen), optimizer
