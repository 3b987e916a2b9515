"""Build the zoo's networks and images for them: what several test files need."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import paddle
import pytest
from ppclas_core.contracts.image_model import ImageModel
from ppclas_core.models import create_model

ZOO = Path(__file__).parents[3] / "../shared/zoo"
"""Keys, shapes and logits of the published networks, where they are at hand."""
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason=f"no reference data at {ZOO}")

QUICK = (
    "ResNet18",
    "ResNet18_vd",
    "MobileNetV1_x0_25",
    "MobileNetV2_x0_25",
    "MobileNetV3_large_x0_35",
    "MobileNetV3_small_x0_35",
    "ShuffleNetV2_x0_25",
    "ShuffleNetV2_swish",
    "SqueezeNet1_0",
    "SqueezeNet1_1",
    "GhostNet_x0_5",
    "GoogLeNet",
    "SE_ResNet18_vd",
    "EfficientNetB0_small",
)
"""Of 2020, and small enough to run whenever tests run."""


def build(name: str, **params: object) -> ImageModel:
    with paddle.utils.unique_name.guard():
        return create_model(name, **params)


@functools.cache
def build_shapes_only(name: str) -> ImageModel:
    """Without memory for the parameters: for names, shapes and stages."""
    with paddle.LazyGuard():
        return build(name)


def images(*shape: int, seed: int = 0) -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal(shape).astype("float32"))


@functools.cache
def checker(file: str) -> ModuleType:
    """The reference data's own comparison; ``file`` is its path below ``ZOO``."""
    spec = importlib.util.spec_from_file_location(Path(file).stem, ZOO / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
