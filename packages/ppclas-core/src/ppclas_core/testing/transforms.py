"""The check of transforms of one image."""

from __future__ import annotations

import random

import numpy as np

from ppclas_core.contracts.data import Image, Transform, sample_draw
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
