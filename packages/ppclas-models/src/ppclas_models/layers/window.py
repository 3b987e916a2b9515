"""Attention within the windows of a map, which a shift lets exchange what they know.

Paper: "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", Liu et al. 2021,
https://arxiv.org/abs/2103.14030
"""

from __future__ import annotations

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812

from ppclas_models.layers.roll import roll

Size = tuple[int, int]
"""Height and width."""
MASKED = -100.0
"""What is added to the product of a query and a key that must not see each other."""


def partition(x: Tensor, window: Size) -> Tensor:
    """[N, H, W, C] → its windows, row by row, [N, windows, height * width, C]. H and W are
    multiples of the window's height and width.
    """
    _, height, width, channels = x.shape
    rows, columns = height // window[0], width // window[1]
    x = x.reshape([-1, rows, window[0], columns, window[1], channels])
    return x.transpose([0, 1, 3, 2, 4, 5]).reshape(
        [-1, rows * columns, window[0] * window[1], channels]
    )


def unite(windows: Tensor, window: Size, size: Size) -> Tensor:
    """What ``partition`` took apart: [N, windows, height * width, C] → [N, *size, C]."""
    rows, columns = size[0] // window[0], size[1] // window[1]
    x = windows.reshape([-1, rows, columns, *window, windows.shape[-1]])
    return x.transpose([0, 1, 3, 2, 4, 5]).reshape([-1, *size, windows.shape[-1]])


def pad_to_multiple(x: Tensor, window: Size) -> Tensor:
    """[N, H, W, C] → the same with zeros below and to the right, so that windows fit."""
    bottom, right = -x.shape[1] % window[0], -x.shape[2] % window[1]
    if not bottom and not right:
        return x
    return F.pad(x, [0, 0, 0, bottom, 0, right, 0, 0], pad_from_left_axis=True)


def relative_position_index(window: int) -> Tensor:
    """For each pair of places of a window, where a table of all offsets has theirs: [window ** 4]
    numbers below (2 * window - 1) ** 2, the key's place changing fastest.
    """
    places = paddle.arange(window**2)
    rows, columns = places // window, places % window
    down = rows.unsqueeze(1) - rows + (window - 1)
    right = columns.unsqueeze(1) - columns + (window - 1)
    return (down * (2 * window - 1) + right).flatten()


def shift_mask(size: Size, window: int, shift: int, dtype: paddle.dtype) -> Tensor:
    """What keeps places apart that only a shift brought into one window: [windows, 1, window ** 2,
    window ** 2] of 0 and ``MASKED``.
    """
    rows, columns = (
        np.repeat([0, 1, 2], [length - window, window - shift, shift]) for length in size
    )
    regions = paddle.to_tensor((3 * rows[:, None] + columns)[None, :, :, None])
    region = partition(regions, (window, window))[0]  # [windows, window ** 2, 1]
    apart = region != region.transpose([0, 2, 1])
    return apart.astype(dtype).unsqueeze(1) * MASKED


class ShiftedWindows(nn.Layer):
    """[N, H, W, C] → the same shape: an attention within windows of ``window`` x ``window``, moved
    by ``shift`` pixels down and right.

    A subclass implements ``attend_within``. Where windows do not fit, zeros are appended, as the
    authors do for detection. A map that is one window is cut by the shift as well, unlike the
    paper's, if ``window_on`` does not say otherwise.
    """

    def __init__(self, window: int, shift: int = 0) -> None:
        super().__init__()
        self.window = window
        self.shift = shift

    def attend_within(self, windows: Tensor, window: int, mask: Tensor | None) -> Tensor:
        """[N, windows, window ** 2, C] → the same shape; ``mask`` is that of ``shift_mask``."""
        raise NotImplementedError

    def window_on(self, size: Size) -> tuple[int, int]:
        """Window and shift on a map of ``size``."""
        return self.window, self.shift

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        side, shift = self.window_on((height, width))
        window = (side, side)
        x = pad_to_multiple(x, window)
        size = (x.shape[1], x.shape[2])
        mask = None
        if shift:
            x = roll(x, -shift, (1, 2))
            mask = shift_mask(size, side, shift, x.dtype)
        x = unite(self.attend_within(partition(x, window), side, mask), window, size)
        if shift:
            x = roll(x, shift, (1, 2))
        return x if size == (height, width) else x[:, :height, :width]
