"""The tables of the searched mobile networks."""

from __future__ import annotations

from typing import Literal, NamedTuple


class InvertedRow(NamedTuple):
    """A row of such a table, at width 1.0: one block that expands, filters by depth, gates and
    projects.
    """

    kernel_size: int
    """Of the depthwise convolution."""
    hidden: int
    """Channels between expansion and projection."""
    out_channels: int
    squeeze_excite: bool
    stride: int
    act: Literal["relu", "hardswish"] = "relu"
