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
from ppclas_data.inspection.readable import check_readable
from ppclas_data.loading.channels import fit_channels, model_params
from ppclas_data.loading.pipeline import Pipeline, build_transforms
from ppclas_data.sources.leaks import same_bytes
from ppclas_data.sources.splits import open_splits, roots
from ppclas_data.sources.unlabelled import add_unlabelled

from ppclas_engine.bundles import pretrained_path, published_params
from ppclas_engine.planning.data import plan_data, try_out
from ppclas_engine.planning.device import Device, device_of, select_device
from ppclas_engine.planning.fine_tuning import FineTuning, augmentation_of, fine_tuning_of
from ppclas_engine.planning.precision import check_precision
from ppclas_engine.planning.sense import check_sense
from ppclas_engine.planning.task import check_task, plan_loss
from ppclas_engine.scoring.monitor import plan_monitor

_PEAK_LR = {
    # (careful fine-tuning, from random weights), 32 images per step. Fine-tuning MobileNetV2 on 700
    # flowers at 96 pixels for two epochs with Momentum and nothing frozen or clipped: 0.001 took
    # validation top-1 from 89.1 % to 91.4 %, 0.003 down to 86.6 %.
    "SGD": (0.01, 0.05),
    "Momentum": (0.001, 0.0125),
    "RMSProp": (5e-5, 1e-3),
    "Adam": (1e-4, 1e-3),
    "AdamW": (1e-4, 1e-3),
}
_LR_BATCH_SIZE = 32
_LARGEST_INFERRED = 8192
"""Images per step up to which rates grow in proportion (Goyal et al. 2017, section 5.2)."""

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
    augmentation: tuple[ComponentConfig, ...] = ()
    """The training transforms among it that others may stand in for."""

    @property
    def images_per_step(self) -> int:
        """Over all devices and accumulated batches."""
        assert self.config.data.batch_size is not None
        return self.config.data.batch_size * self.config.train.accumulate


def given(value: T | None) -> T:
    """A value that the plan has filled in."""
    assert value is not None
    return value


def plan_run(config: Config, *, download: bool = True) -> Plan:
    """What training with ``config`` would do on this machine; makes the device Paddle's own.

    Without ``download``, published weights that are not here are left to the run.

    Raises:
        TrainingError: a GPU is wanted and Paddle cannot use one.
        PpclasError: as ``make_plan``.
    """
    device = select_device(device_of(config), config.train.devices)
    return make_plan(config, device, download=download)


def make_plan(config: Config, device: Device, *, download: bool = True) -> Plan:
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
    dark = look_for_dark(splits.train, config.data.max_sample)
    notes += [f"warning: {said}." for said in dark]
    train, val = splits.train, splits.val
    notes.append(
        f"{len(train)} training and {len(val)} validation photos in {len(train.class_names)} "
        "classes"
    )
    if config.data.train_extra is not None:
        _check_objective_needs_no_labels(config)
        train = add_unlabelled(train, val, config.data.train_extra, roots(config.data)[0], notes)

    check_task(config, train.task)
    loss = plan_loss(config.loss, train, notes)
    metrics: list[Metric] = [build_component(get_registries().metrics, m) for m in config.metrics]
    monitor = plan_monitor(config.train.monitor, train.task, metrics, train.class_names)
    for tracker in config.trackers:
        build_component(get_registries().trackers, tracker).check()

    model = get_registries().models.entry(config.model.name)
    weights = _locate_weights(config, notes, download)
    if weights is not None:
        config = with_usual_optimizer(config, model.metadata, notes)
    tuning = fine_tuning_of(config, train) if weights is not None else None
    if tuning is not None and tuning.label_smoothing and loss.name == "CrossEntropy":
        loss = loss.replace(**{"label_smoothing": tuning.label_smoothing, **loss.params})
        notes.append(f"labels are smoothed by {loss.params['label_smoothing']:g}")
    freeze = config.train.freeze or (tuning.freeze if tuning is not None else ())
    if freeze and not config.train.freeze:
        notes.append("early stages, the first half of them, stay as published")
    augmentation = augmentation_of(tuning, config)
    data = plan_data(
        config.data, model.metadata, train, device, weights is not None, augmentation, notes
    )
    published = weights is not None and not isinstance(config.model.pretrained, str)
    made_with = published_params(model.name) if published else {}
    params = model_params(config.data, {**made_with, **config.model.params})
    data = fit_channels(data, config.data, params.get("in_channels"), notes)
    pipeline = Pipeline(build_transforms(data.eval_transforms or (), "data.eval_transforms"))
    for images in (train, val):
        check_readable(images, pipeline.read)
    notes += positions_note(model.metadata, data.image_size)
    assert data.batch_size is not None
    if data.batch_size > len(train):
        raise ConfigError(
            f"batch_size {data.batch_size} is more than the {len(train)} training photos. Use a "
            "smaller --batch-size."
        )
    epochs = config.train.epochs
    if epochs is None:
        epochs = (tuning.epochs if tuning is not None else _epochs_from_random)(len(train))
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
    schedule, optimizer = _plan_optimizer(config, images_per_step, epochs, tuning, notes)
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
        model=config.model.replace(
            name=model.name, pretrained=str(weights) if weights else False, params=params
        ),
        data=data.replace(task=train.task),
        loss=loss,
        schedule=schedule,
        optimizer=optimizer,
        train=config.train.replace(
            epochs=epochs,
            device=device,
            monitor=monitor,
            lr_batch_size=None,
            freeze=freeze,
            freeze_norm_statistics=keep_statistics,
        ),
    )
    notes += check_sense(resolved, len(train), len(train.class_names))
    return Plan(resolved, train, val, weights, tuple(notes), augmentation)


def _check_objective_needs_no_labels(config: Config) -> None:
    name = config.objective.name
    objective: Any = get_registries().objectives.entry(name).params_model()
    if not objective.learns_without_labels:
        raise ConfigError(
            f"data.train_extra gives photos without labels, and the objective {name} learns from "
            "labels alone. Distil from a teacher (ppclas distill train), or leave train_extra out."
        )


def _locate_weights(config: Config, notes: list[str], download: bool) -> Path | None:
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
        found = pretrained_path(name, download=download)
    except WeightsError as error:
        url = entry.metadata.get("weights_url")
        if not download and url is not None:
            notes.append(f"the published weights of {name} are not on this machine: to download")
            return Path(url.rpartition("/")[2])
        raise WeightsError(
            f"{name}: {str(error).rstrip('.')}. Or start from a file (--pretrained FILE) or from "
            "random weights (--from-scratch)."
        ) from error
    notes.append(f"{name} starts from the published weights {found.name}")
    return found


def _epochs_from_random(images: int) -> int:
    return int(min(120, max(30, round(100_000 / images))))


def _plan_optimizer(
    config: Config, batch_size: int, epochs: int, tuning: FineTuning | None, notes: list[str]
) -> tuple[ComponentConfig, OptimizerSection]:
    schedule, optimizer = config.schedule, config.optimizer
    chosen: dict[str, Any] = {}
    lr, meant_for = schedule.params.get("lr"), config.train.lr_batch_size
    if lr is not None and meant_for is not None and meant_for != batch_size:
        ratio = batch_size / meant_for
        chosen["lr"] = lr * (ratio if config.train.lr_scaling == "linear" else math.sqrt(ratio))
        notes.append(
            f"learning rate {chosen['lr']:g}: {lr:g} for {meant_for} images per step, scaled to "
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
        share = max(batch_size, _LR_BATCH_SIZE if tuning is not None else 0) / _LR_BATCH_SIZE
        rate = known[1] if tuning is None else tuning.rate or known[0]
        chosen["lr"] = float(f"{rate * share:.3g}")
        notes.append(
            f"learning rate {chosen['lr']:g} for {optimizer.name} at {batch_size} images per step"
        )
    fields = get_registries().schedulers.entry(schedule.name).params_model().model_fields
    if "warmup_epochs" in fields and "warmup_epochs" not in schedule.params:
        chosen["warmup_epochs"] = min(5.0, round(0.1 * epochs, 2))
        notes.append(f"the learning rate warms up over {chosen['warmup_epochs']:g} epochs")
    if optimizer.lr_mult is None:
        factors = {}
        if tuning is not None and optimizer.layer_decay is None:
            factors = {"backbone": tuning.backbone}
            notes.append(
                f"the backbone learns at {tuning.backbone:g} of the learning rate, the new "
                f"classifier at all of it; gradients are clipped to a norm of {tuning.clip_norm:g}"
            )
        clip = optimizer.clip_norm or (tuning.clip_norm if tuning is not None else None)
        optimizer = optimizer.replace(lr_mult=factors, clip_norm=clip)
    return schedule.replace(**chosen), optimizer
