"""Checks of transforms of one image and of a batch."""

from __future__ import annotations

import random

import numpy as np

from ppclas_core.contracts.data import BatchTransform, Image, Transform, sample_draw
from ppclas_core.contracts.training import Targets
from ppclas_core.testing.components import check_params, expect

SIZES = ((40, 56), (56, 40), (33, 33))
"""(height, width) of the images that a transform is tried on."""


def check_transform(transform: Transform, draws: int = 5) -> None:
    """An image transform keeps the contract of ``ppclas_core.contracts.data.Transform``.

    It is tried on uint8 images [H, W, 3] of several sizes, landscape and portrait: the result is an
    image, the input stays as it was, and all randomness comes from the draw.
    """
    name = type(transform).__name__
    check_params(transform)
    rng = np.random.default_rng(0)
    for height, width in SIZES:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        image.flags.writeable = False
        before = image.copy()
        for index in range(draws):
            states = _global_states()
            result = transform(image, sample_draw(0, 0, index, epochs=2))
            expect(
                _global_states() == states,
                f"{name} draws from the global generators of random or numpy.random; only draw.rng "
                "may be used",
            )
            _expect_image(name, result)
            expect(bool((image == before).all()), f"{name} writes into the image that it was given")
            again = transform(image, sample_draw(0, 0, index, epochs=2))
            same = result.shape == again.shape and bool((result == again).all())
            expect(
                same, f"{name} gives two results for one draw: something beside draw.rng decides"
            )


def _expect_image(name: str, result: Image) -> None:
    expect(
        isinstance(result, np.ndarray), f"{name} returns {type(result).__name__}, not a NumPy array"
    )
    expect(
        result.ndim == 3 and 0 not in result.shape,
        f"{name} returns shape {list(result.shape)}, not [H, W, C]",
    )
    expect(
        result.shape[2] <= 4,
        f"{name} returns shape {list(result.shape)}; channels come last: [H, W, C]",
    )
    expect(
        result.dtype in (np.uint8, np.float32),
        f"{name} returns {result.dtype}, not uint8 or float32",
    )
    expect(bool(np.isfinite(result).all()), f"{name} returns NaN or infinity")


def _global_states() -> tuple[object, ...]:
    kind, keys, *rest = np.random.get_state()
    return random.getstate(), str(kind), np.asarray(keys).tobytes(), *rest


def check_batch_transform(transform: BatchTransform, num_classes: int = 5) -> None:
    """A batch transform keeps the contract of ``ppclas_core.contracts.data.BatchTransform``.

    It is tried on normalised batches [N, 3, H, W] of 4 samples and of 1: shapes, dtypes and the
    sums of targets hold, the labels stay as they were, and all randomness comes from the draw.
    """
    import paddle

    name = type(transform).__name__
    check_params(transform)
    for count in (4, 1):
        rng = np.random.default_rng(count)
        pixels = rng.standard_normal((count, 3, 8, 10)).astype(np.float32)
        labels = rng.integers(0, num_classes, count)
        images, targets = paddle.to_tensor(pixels), Targets(paddle.to_tensor(labels))
        result, new = transform(images, targets, sample_draw(0, 0, 0))
        expect(
            result.shape == images.shape and result.dtype == images.dtype,
            f"{name} turns images {list(images.shape)} {images.dtype} into {list(result.shape)} "
            f"{result.dtype}",
        )
        expect(bool(np.isfinite(result.numpy()).all()), f"{name} returns NaN or infinity")
        _expect_targets(name, new, count, num_classes)
        expect(
            bool((targets.labels.numpy() == labels).all()),
            f"{name} writes into the labels that it was given",
        )
        again, _ = transform(paddle.to_tensor(pixels), targets, sample_draw(0, 0, 0))
        expect(
            bool((again == result).all()),
            f"{name} gives two results for one draw: something beside draw.rng decides",
        )


def _expect_targets(name: str, targets: Targets, count: int, num_classes: int) -> None:
    for field in ("labels", "mixed_labels"):
        labels = getattr(targets, field)
        if labels is not None:
            expect(
                list(labels.shape) == [count],
                f"{name} returns {field} of shape {list(labels.shape)}, not [{count}]",
            )
            values = labels.numpy()
            expect(values.dtype == np.int64, f"{name} returns {field} as {values.dtype}, not int64")
            expect(
                0 <= values.min() <= values.max() < num_classes,
                f"{name} returns {field} outside the classes",
            )
    expect(
        (targets.mixed_labels is None) == (targets.weight is None),
        f"{name} returns mixed_labels without weight, or the other way round",
    )
    if targets.weight is not None:
        weight = targets.weight.numpy()
        expect(
            weight.shape == (count,),
            f"{name} returns a weight of shape {list(weight.shape)}, not [{count}]",
        )
        expect(bool(((weight >= 0) & (weight <= 1)).all()), f"{name} returns a weight outside 0..1")
    if targets.soft is not None:
        expect(
            list(targets.soft.shape) == [count, num_classes],
            f"{name} returns soft targets of shape {list(targets.soft.shape)}, not [{count}, "
            f"{num_classes}]",
        )
        sums = targets.soft.numpy().sum(axis=1)
        expect(
            bool((abs(sums - 1) < 1e-4).all()), f"{name}: the targets of a sample do not sum to 1"
        )
