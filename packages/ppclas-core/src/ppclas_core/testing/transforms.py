"""Checks of transforms of one image and of a batch."""

from __future__ import annotations

import random

import numpy as np

from ppclas_core.contracts.data import BatchTransform, Image, Transform, sample_draw
from ppclas_core.contracts.training import Targets
from ppclas_core.testing.components import check_params, expect, fail

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
            if _global_states() != states:
                found = "random or numpy.random; only draw.rng may be used"
                fail(f"{name} draws from the global generators of {found}")
            _expect_image(name, result)
            expect(bool((image == before).all()), f"{name} writes into the image that it was given")
            again = transform(image, sample_draw(0, 0, index, epochs=2))
            if not np.array_equal(result, again):
                fail(f"{name} gives two results for one draw: something beside draw.rng decides")


def _expect_image(name: str, result: Image) -> None:
    if not isinstance(result, np.ndarray):
        fail(f"{name} returns {type(result).__name__}, not a NumPy array")
    if result.ndim != 3 or 0 in result.shape:
        fail(f"{name} returns shape {list(result.shape)}, not [H, W, C]")
    if result.shape[2] > 4:
        fail(f"{name} returns shape {list(result.shape)}; channels come last: [H, W, C]")
    if result.dtype not in (np.uint8, np.float32):
        fail(f"{name} returns {result.dtype}, not uint8 or float32")
    expect(bool(np.isfinite(result).all()), f"{name} returns NaN or infinity")


def _global_states() -> tuple[object, ...]:
    kind, keys, *rest = np.random.get_state()
    return random.getstate(), str(kind), np.asarray(keys).tobytes(), *rest


def check_batch_transform(transform: BatchTransform, num_classes: int = 5) -> None:
    """A batch transform keeps the contract of ``ppclas_core.contracts.data.BatchTransform``.

    It is tried on normalised batches [N, 3, H, W] of 4 samples and of 1: N, channels, dtypes, sums
    of targets hold, the labels stay as they were, and all randomness comes from the draw.
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
        given, got = (f"{list(each.shape[:2])} {each.dtype}" for each in (images, result))
        expect(got == given, f"{name} turns images [N, C] {given} into {got}")
        expect(bool(np.isfinite(result.numpy()).all()), f"{name} returns NaN or infinity")
        _expect_targets(name, new, count, num_classes)
        if not (targets.labels.numpy() == labels).all():
            fail(f"{name} writes into the labels that it was given")
        again, _ = transform(paddle.to_tensor(pixels), targets, sample_draw(0, 0, 0))
        if not (again == result).all():
            fail(f"{name} gives two results for one draw: something beside draw.rng decides")


def _expect_targets(name: str, targets: Targets, count: int, num_classes: int) -> None:
    for field in ("labels", "mixed_labels"):
        labels = getattr(targets, field)
        if labels is not None:
            if list(labels.shape) != [count]:
                fail(f"{name} returns {field} of shape {list(labels.shape)}, not [{count}]")
            values = labels.numpy()
            expect(values.dtype == np.int64, f"{name} returns {field} as {values.dtype}, not int64")
            if not (0 <= values.min() <= values.max() < num_classes):
                fail(f"{name} returns {field} outside the classes")
    if (targets.mixed_labels is None) != (targets.weight is None):
        fail(f"{name} returns mixed_labels without weight, or the other way round")
    if targets.weight is not None:
        weight = targets.weight.numpy()
        if weight.shape != (count,):
            fail(f"{name} returns a weight of shape {list(weight.shape)}, not [{count}]")
        expect(bool(((weight >= 0) & (weight <= 1)).all()), f"{name} returns a weight outside 0..1")
    if targets.soft is not None:
        shape, wanted = list(targets.soft.shape), [count, num_classes]
        expect(shape == wanted, f"{name} returns soft targets of shape {shape}, not {wanted}")
        sums = targets.soft.numpy().sum(axis=1)
        if not (abs(sums - 1) < 1e-4).all():
            fail(f"{name}: the targets of a sample do not sum to 1")
