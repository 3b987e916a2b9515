"""Move what a map holds, and let what leaves it come in again on the other side."""

from __future__ import annotations

import paddle
from paddle import Tensor


def roll(x: Tensor, shift: int, axes: tuple[int, ...]) -> Tensor:
    """The same shape as ``x``: along each of ``axes``, what stood at ``i`` stands at ``i + shift``,
    counted modulo the length.

    ``paddle.roll`` does that too, but cannot be traced in Paddle's old intermediate representation,
    which Paddle Lite reads.
    """
    for axis in axes:
        length = x.shape[axis]
        if last := shift % length:
            kept, moved = paddle.split(x, [length - last, last], axis)
            x = paddle.concat([moved, kept], axis)
    return x
