"""Patches of 2x2 pixels as rows of tokens, and back: what the MobileViTs attend across.

Paper: "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer", Mehta &
Rastegari 2021, https://arxiv.org/abs/2110.02178, section 3.1.
"""

from __future__ import annotations

from paddle import Tensor
from paddle.nn import functional as F  # noqa: N812

PATCH = 2
"""Side of a patch, in pixels."""


def unfold(x: Tensor) -> Tensor:
    """[N, C, H, W] → [N, 4, H * W / 4, C]: for each place in a patch the pixels of all patches. H
    and W are even.
    """
    _, channels, height, width = x.shape
    rows, columns = height // PATCH, width // PATCH
    x = x.reshape([-1, channels, rows, PATCH, columns, PATCH]).transpose([0, 3, 5, 2, 4, 1])
    return x.reshape([-1, PATCH**2, rows * columns, channels])


def fold(tokens: Tensor, height: int, width: int) -> Tensor:
    """What ``unfold`` took apart: [N, 4, height * width / 4, C] → [N, C, height, width]."""
    channels, rows, columns = tokens.shape[-1], height // PATCH, width // PATCH
    x = tokens.reshape([-1, PATCH, PATCH, rows, columns, channels])
    return x.transpose([0, 5, 3, 1, 4, 2]).reshape([-1, channels, height, width])


def to_even(x: Tensor) -> Tensor:
    """[N, C, H, W], enlarged bilinearly by a row and a column where patches do not fit."""
    height, width = x.shape[2:]
    return resize(x, [height + height % PATCH, width + width % PATCH], "bilinear")


def resize(x: Tensor, size: list[int], mode: str) -> Tensor:
    """[N, C, H, W] → [N, C, *size]; ``x`` itself where that is its size."""
    return x if x.shape[2:] == size else F.interpolate(x, size=size, mode=mode)
