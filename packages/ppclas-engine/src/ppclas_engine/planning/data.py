"""Fill in the data section of a config: image size, transforms, batch size, workers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ppclas_core.component import build_component
from ppclas_core.config.schema import ComponentConfig, DataSection
from ppclas_core.contracts.data import ImageSet, sample_draw
from ppclas_core.contracts.training import Targets
from ppclas_core.errors import ConfigError, ImageError
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
from ppclas_data.loading.sampling import image_shares
from ppclas_data.sources.splits import roots
from ppclas_data.transforms.basic import Normalize, size_pair

from ppclas_engine.planning.device import Device

_SIZE_SAMPLE = 40
"""Photos whose size is looked at."""
_SCALE = (0.08, 1.0)
_FINE_TUNING_SCALE = (0.5, 1.0)
# Small crops show everything larger than it is in evaluation. A long training makes up for it, a
# short one does not: fine-tuning MobileNetV2 on 700 flowers at 96 pixels for an epoch, validation
# loss went from 0.34 to 0.44 with crops from 0.08 of the photo, and stayed at 0.34 with crops from
# 0.5.
_TRIALS = 16
AUGMENTED = "training photos also change by "
"""How the note on an inferred augmentation begins."""
_WHOLE_PHOTOS = {
    "squash": "photos are resized to {height}x{width} as a whole, whatever that does to their "
    "shape",
    "letterbox": "photos are shown as a whole, with bars up to {height}x{width}",
    "none": "photos are not resized: {height}x{width} of them are seen, the middle in evaluation",
}


def plan_data(
    data: DataSection,
    facts: Mapping[str, Any],
    train: ImageSet,
    device: Device,
    fine_tuning: bool,
    augmentation: tuple[ComponentConfig, ...],
    notes: list[str],
) -> DataSection:
    """The section with nothing left open; each choice adds a sentence to ``notes``.

    ``facts`` are what the registry says of the model: its ``image_size``, ``resize_short`` and
    ``interpolation``. ``augmentation`` goes behind the crop and flip of training.

    Raises:
        ConfigError: ``resize_short`` is given with a ``resize_mode`` that has no use for it.
    """
    listed_size = _listed_size(data)
    size = data.image_size or listed_size
    if size is None:
        # The built-in photos are for a first run, which is to be short.
        own_size = fine_tuning and data.train is not None
        size = _infer_image_size(train, int(facts.get("image_size", 224)), own_size, notes)
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
        # Photos of one's own are framed in any way, and what is cut off may be what counts; but
        # training crops show things larger than the whole short side does. Half way from it to the
        # published frame no set of four ended below a linear probe (docs/en/training.md).
        ratio = _resize_ratio(facts)
        short = round(min(height, width) * ((1 + ratio) / 2 if fine_tuning else ratio))
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
    for one in augmentation:
        amounts = ", ".join(f"{key} {value}" for key, value in one.params.items())
        notes.append(f"{AUGMENTED}{one.name}{f' ({amounts})' * bool(amounts)}")
    notes += _idle_keys(data, train_transforms, eval_transforms)
    train_transforms = (
        (*train_transforms, *augmentation)
        if data.train_transforms is None
        else data.train_transforms
    )
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
        notes.append(f"{batch_size} images per step")
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
        root=[*map(_absolute, roots(data))]
        if isinstance(data.root, tuple)
        else _absolute(data.root),
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


def try_out(data: DataSection, train: ImageSet) -> None:
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

    ``train`` and ``evaluation`` are the lists that the keys stand for; given ones that begin so
    hide nothing.
    """
    given = {}
    if _besides_channels(data.train_transforms, train):
        given["data.train_transforms"] = "training"
    if _besides_channels(data.eval_transforms, evaluation):
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


def _besides_channels(
    given: tuple[ComponentConfig, ...] | None, meant: tuple[ComponentConfig, ...]
) -> bool:
    """Whether a list begins otherwise than the keys say, but for what ``fit_channels`` adds."""
    if given is None:
        return False
    shaping = tuple(one for one in given if one.name not in ("Decode", "Grayscale"))
    return shaping[: len(meant)] != meant


def _absolute(path: str | None) -> str | None:
    # A run is resumed and evaluated from any folder.
    return None if path is None else str(Path(path).absolute())


def _resize_ratio(facts: Mapping[str, Any]) -> float:
    if "resize_short" in facts and "image_size" in facts:
        return float(facts["resize_short"]) / float(facts["image_size"])
    return 256 / 224


def _infer_image_size(train: ImageSet, model_size: int, own_size: bool, notes: list[str]) -> int:
    # What published weights have learnt to see is of their own size: a classifier on the frozen
    # features of MobileNetV2 told 128-pixel photos of produce8 apart to 96.9 % at 224 pixels, and
    # to 92.7 % at 128.
    if own_size:
        notes.append(f"image size {model_size}, as the weights were trained for")
        return model_size
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
    # At least some ten steps per epoch for small sets; on a CPU a step should take seconds, not
    # minutes.
    largest = 32 if device == "cpu" else 128
    return int(min(largest, max(8, 2 ** int(math.log2(max(images / 10, 8))))))
