"""A tensor's name, taken apart: the layer it belongs to, and what it is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ppclas_models.shapes import shapes_of

_CONV_TAIL = r"(?:\._?conv)*"
_NORM_TAIL = r"\.(?:bn|_bn|_batch_norm)"
_LAYER = re.compile(rf"(?P<unit>.*?){_CONV_TAIL}(?P<norm>{_NORM_TAIL})?")


@dataclass(frozen=True)
class Part:
    """One tensor of a model."""

    unit: str
    """Path of the layer, or of the pair of a convolution and its batch norm."""
    kind: Literal["conv", "linear", "norm"]
    leaf: str
    """``weight``, ``bias``, or a batch norm's ``_mean`` or ``_variance``."""


def parts_of(architecture: str) -> dict[str, Part]:
    """State-dict name → its part, in the model's order."""
    shapes = shapes_of(architecture)
    return {key: _part(key, len(shapes[f"{key.rpartition('.')[0]}.weight"])) for key in shapes}


def _part(key: str, weight_dimensions: int) -> Part:
    path, _, leaf = key.rpartition(".")
    match = _LAYER.fullmatch(path)
    assert match is not None  # the unit takes whatever is no tail
    kind: Literal["conv", "linear", "norm"] = "conv"
    if weight_dimensions == 1:
        kind = "norm"
    elif weight_dimensions == 2:
        kind = "linear"
    return Part(match["unit"], kind, leaf)


@dataclass(frozen=True)
class Position:
    """Where a residual block is; both 0-based."""

    stage: int
    block: int


def residual_positions(units: list[str]) -> dict[str, Position]:
    """Name of each residual block of a ResNet-like model → its position.

    Blocks are named by both (``bb_1_0``, or ``_conv2_0`` with the 1-based stage), or counted
    (``blocks.3``): then those with a shortcut begin a stage.
    """
    positions: dict[str, Position] = {}
    begins = {unit.removesuffix(".short") for unit in units if unit.endswith(".short")}
    stage, block = -1, 0
    for unit in units:
        name = unit.rpartition(".")[0]
        if named := re.fullmatch(r"bb_(\d+)_(\d+)", name):
            positions[name] = Position(int(named[1]), int(named[2]))
        elif named := re.fullmatch(r"_conv(\d)_(\d+)", name):
            positions[name] = Position(int(named[1]) - 1, int(named[2]))
        elif re.fullmatch(r"blocks\.\d+", name) and name not in positions:
            stage, block = (stage + 1, 0) if name in begins else (stage, block + 1)
            positions[name] = Position(stage, block)
    return positions
