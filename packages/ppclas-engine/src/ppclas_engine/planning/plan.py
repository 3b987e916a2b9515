"""Fill in what a config leaves open, from the photos and the model, and say what was chosen and
why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ppclas_core.component import build_component
from ppclas_core.config.schema import ComponentConfig, Config, DataSection, OptimizerSection
from ppclas_core.contracts.data import ImageSet, sample_draw
from ppclas_core.contracts.objective import Objective
from ppclas_core.contracts.training import Metric, Targets
from ppclas_core.errors import ConfigError, ImageError, WeightsError
from ppclas_core.plugins import get_registries
from ppclas_data.decoding.decode import decode
from ppclas_data.decoding.jpeg import decoder_note
from ppclas_data.loading.loader import auto_workers
from ppclas_data.loading.pipeline import (
    Pipeline,
    build_transforms,
    default_eval_transforms,
    default_train_transforms,
)
from ppclas_data.loading.sampling import check_repeats, image_shares
from ppclas_data.sources.splits import open_splits
from ppclas_data.sources.unlabelled import add_unlabelled
from ppclas_data.transforms.basic import Normalize, size_pair

from ppclas_engine.bundles import pretrained_path
from ppclas_engine.planning.monitor import plan_monitor
from ppclas_engine.planning.precision import check_precision
from ppclas_engine.planning.task import check_task, plan_loss

Device = Literal["cpu", "gpu"]

_SIZE_SAMPLE = 40
"""Photos whose size is looked at."""

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
_BACKBONE_LR_MULT = 0.2

_SCALE = (0.08, 1.0)
_FINE_TUNING_SCALE = (0.5, 1.0)
# Small crops show everything larger than it is in evaluation. A long training makes up for it, a
# short one does not: fine-tuning MobileNetV2 on 700 flowers at 96 pixels for an epoch, validation
# loss went from 0.34 to 0.44 with crops from 0.08 of the photo, and stayed at 0.34 with crops from
# 0.5.


_TRIALS = 16
_WHOLE_PHOTOS = {
    "squash": "photos are resized to {height}x{width} as a whole, whatever that does to their "
    "shape",
    "letterbox": "photos are shown as a whole, with bars up to {height}x{width}",
    "none": "photos are not resized: {height}x{width} of them are seen, the middle in evaluation",
}


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


def make_plan(config: Config, device: Device) -> Plan:
    """Open the photos and fill in every open field of ``config``; ``device`` is ``cpu`` or ``gpu``.

    Raises:
        DataError: the photos cannot be used.
        ConfigError: what is given contradicts itself.
        UnknownNameError: a component or the model is not registered.
    """
    check_precision(config.train.precision, config.train.amp_level, device)
    notes: list[str] = []
    splits = open_splits(config.data)
    notes += splits.notes
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
    metrics: list[Metric] = [
        build_component(get_registries().metrics, metric) for metric in config.metrics
    ]
    monitor = plan_monitor(config.train.monitor, train.task, metrics, train.class_names)
    for tracker in config.trackers:
        build_component(get_registries().trackers, tracker).check()

    model = get_registries().models.entry(config.model.name)
    weights = _locate_weights(config, notes)
    data = _plan_data(config.data, model.metadata, train, device, weights is not None, notes)
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
    _try_out(data, train)
    objective: Objective = build_component(get_registries().objectives, config.objective)
    resolved = config.replace(
        objective=ComponentConfig(
            name=config.objective.name,
            **objective.resolved().model_dump(mode="json", exclude_unset=True),
        ),
        model=config.model.replace(pretrained=str(weights) if weights else False),
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
    pretrained, name = config.model.pretrained, config.model.name
    if pretrained is False:
        return None
    if isinstance(pretrained, str):
        return Path(pretrained).absolute()
    try:
        # Only what was asked for in so many words is worth a download.
        found = pretrained_path(name, download=pretrained is True)
    except WeightsError as error:
        if pretrained is True:
            raise
        notes.append(f"{name} starts from random weights: {error}")
        return None
    notes.append(f"{name} starts from the published weights {found.name}")
    return found


def _plan_data(
    data: DataSection,
    facts: Mapping[str, Any],
    train: ImageSet,
    device: Device,
    fine_tuning: bool,
    notes: list[str],
) -> DataSection:
    listed_size = _listed_size(data)
    size = data.image_size or listed_size
    if size is None:
        size = _infer_image_size(train, int(facts.get("image_size", 224)), notes)
    height, width = size_pair(size)
    short, mode = data.resize_short, data.resize_mode
    if mode != "center":
        if short is not None:
            raise ConfigError(
                f"data.resize_short is of resize_mode center, and resize_mode is {mode}: leave one "
                "of the two out."
            )
        if data.train_transforms is None and data.eval_transforms is None:
            notes.append(_WHOLE_PHOTOS[mode].format(height=height, width=width))
    elif short is None:
        short = round(min(height, width) * _resize_ratio(facts))
        if data.eval_transforms is None:
            notes.append(
                f"evaluation resizes the short side to {short} and crops {height}x{width} from the "
                "centre"
            )
    interpolation = data.interpolation or str(facts.get("interpolation", "bilinear"))
    scale = _FINE_TUNING_SCALE if fine_tuning else _SCALE
    train_transforms = default_train_transforms((height, width), interpolation, scale, mode)
    eval_transforms = default_eval_transforms((height, width), short, interpolation, mode)
    if data.train_transforms is None and mode == "center":
        notes.append(f"training crops cover {scale[0]:.0%} to {scale[1]:.0%} of a photo")
    notes += _idle_keys(data, train_transforms, eval_transforms)
    train_transforms = train_transforms if data.train_transforms is None else data.train_transforms
    eval_transforms = eval_transforms if data.eval_transforms is None else data.eval_transforms
    if data.image_size is not None and listed_size is not None and (height, width) != listed_size:
        notes.append(
            f"data.image_size {height}x{width} is of no use beside lists of transforms: they give "
            f"{listed_size[0]}x{listed_size[1]} in evaluation"
        )
        height, width = listed_size
    batch_size = data.batch_size
    if batch_size is None:
        batch_size = _infer_batch_size(len(train), device)
        notes.append(f"{batch_size} images a step")
    workers = data.workers
    if workers is None:
        workers = auto_workers(device)
        if data.reader.name == "workers":
            notes.append(f"{workers} worker process{'' if workers == 1 else 'es'} read the photos")
    if data.reader.name == "workers":  # another reader says itself what it does
        notes.append(f"JPEGs are decoded by {decoder_note()}")
    return data.replace(
        train=_absolute(data.train),
        val=_absolute(data.val),
        train_extra=_absolute(data.train_extra),
        root=_absolute(data.root),
        labels=_absolute(data.labels),
        image_size=(height, width),
        resize_short=short,
        batch_size=batch_size,
        eval_batch_size=data.eval_batch_size or batch_size,
        workers=workers,
        interpolation=interpolation,
        train_transforms=train_transforms,
        eval_transforms=eval_transforms,
    )


def _try_out(data: DataSection, train: ImageSet) -> None:
    """Find now what training would find out after the weights are loaded.

    Raises:
        ConfigError: transforms fail, batch transforms exclude one another, or the two lists
            normalise differently; sampling that the photos or the batch do not allow.
    """
    assert data.train_transforms is not None
    assert data.eval_transforms is not None
    assert data.batch_size is not None
    scales = []
    for field in ("train_transforms", "eval_transforms"):
        transforms = build_transforms(getattr(data, field), f"data.{field}")
        Pipeline(transforms).output_shape()
        own = next(
            (transform for transform in transforms if isinstance(transform, Normalize)),
            data.normalize,
        )
        scales.append((own.mean, own.std))
    if scales[0] != scales[1]:
        (mean, std), (eval_mean, eval_std) = scales
        raise ConfigError(
            f"data.train_transforms normalise by mean {list(mean)} and std {list(std)}, evaluation "
            f"by {list(eval_mean)} and {list(eval_std)}. Set data.normalize and leave Normalize "
            "out, or give both lists the same one."
        )
    image_shares(train, data.sampling)
    check_repeats(data.batch_size, data.sampling.repeats)
    _try_batch_transforms(data, train)


def _try_batch_transforms(data: DataSection, train: ImageSet) -> None:
    transforms = [
        build_component(get_registries().batch_transforms, component)
        for component in data.batch_transforms
    ]
    if len(transforms) < 2:
        return
    import paddle

    labels = (
        np.zeros((2, len(train.class_names)), np.float32)
        if train.task == "multilabel"
        else np.arange(2)
    )
    for index in range(_TRIALS):  # what is done by chance is done at least once
        images, targets = (
            paddle.zeros([2, 3, *size_pair(data.image_size or 32)]),
            Targets(paddle.to_tensor(labels)),
        )
        for transform in transforms:
            images, targets = transform(images, targets, sample_draw(0, 0, index))


def _listed_size(data: DataSection) -> tuple[int, int] | None:
    """(height, width) that evaluation shows where both lists of transforms are given."""
    if data.train_transforms is None or data.eval_transforms is None:
        return None
    height, width, _ = Pipeline(
        build_transforms(data.eval_transforms, "data.eval_transforms")
    ).output_shape()
    return height, width


def _idle_keys(
    data: DataSection, train: tuple[ComponentConfig, ...], evaluation: tuple[ComponentConfig, ...]
) -> list[str]:
    """A line on each key that was set and shapes less than it seems to, as lists of transforms are
    given.

    ``train`` and ``evaluation`` are the lists that the keys stand for; given ones that are the same
    hide nothing.
    """
    given = {}
    if data.train_transforms is not None and data.train_transforms != train:
        given["data.train_transforms"] = "training"
    if data.eval_transforms is not None and data.eval_transforms != evaluation:
        given["data.eval_transforms"] = "evaluation"
    keys = {
        "resize_mode": data.resize_mode != "center",
        "interpolation": data.interpolation is not None,
    }
    lines = []
    if given:
        lines += [
            f"data.{key} {getattr(data, key)} shapes nothing in {' and '.join(given.values())}: "
            f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} given"
            for key, is_set in keys.items()
            if is_set
        ]
    if "data.eval_transforms" in given and data.resize_short is not None:
        lines.append(
            f"data.resize_short {data.resize_short} shapes nothing: data.eval_transforms is given"
        )
    return lines


def _absolute(path: str | None) -> str | None:
    # A run is resumed and evaluated from any folder.
    return None if path is None else str(Path(path).absolute())


def _resize_ratio(facts: Mapping[str, Any]) -> float:
    if "resize_short" in facts and "image_size" in facts:
        return float(facts["resize_short"]) / float(facts["image_size"])
    return 256 / 224


def _infer_image_size(train: ImageSet, model_size: int, notes: list[str]) -> int:
    step = max(1, len(train) // _SIZE_SAMPLE)
    sides = []
    for index in range(0, len(train), step):
        try:
            sides.append(min(decode(train.read(index), train.records[index].where).shape[:2]))
        except (ImageError, OSError):
            continue  # the loader reports bad photos with file and line
    typical = int(np.median(sides)) if sides else model_size
    # Photos smaller than what the model was made for are not blown up.
    size = min(model_size, max(64, typical // 32 * 32))
    notes.append(
        f"image size {size} (the photos' short side is {typical} pixels, the model's own size "
        f"{model_size})"
    )
    return size


def _infer_batch_size(images: int, device: Device) -> int:
    # At least some ten steps an epoch for small sets; on a CPU a step should take seconds, not
    # minutes.
    largest = 32 if device == "cpu" else 128
    return int(min(largest, max(8, 2 ** int(math.log2(max(images / 10, 8))))))


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
                "classifier at all of it"
            )
        optimizer = optimizer.replace(lr_mult=factors)
    return schedule.replace(**chosen), optimizer
