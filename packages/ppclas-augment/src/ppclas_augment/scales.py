"""Batches of other sizes than the crops.

Importing this module does not import Paddle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core.config.schema import Size
from ppclas_core.contracts.data import BatchTransform, Draw
from pydantic import Field

if TYPE_CHECKING:
    from paddle import Tensor
    from ppclas_core.contracts.training import Targets


class MultiScale(BatchTransform):
    """Resize each batch to one of ``sizes``, all equally likely: [N, C, H, W] → [N, C, h, w].

    A model that pools globally learns to see objects of several sizes. Smaller sizes are the means
    of what each pixel covers, larger ones are bilinear. Let the crops have the largest size. The
    number of images stays; Mehta & Rastegari 2022 (https://arxiv.org/abs/2110.02178) take more of
    them at smaller sizes, so that each batch has as many pixels.

    >>> import paddle
    >>> from ppclas_core.contracts.data import sample_draw
    >>> from ppclas_core.contracts.training import Targets
    >>> image = paddle.to_tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    >>> targets = Targets(paddle.to_tensor([0]))
    >>> small, _ = MultiScale(sizes=(1,))(image, targets, sample_draw(0, 0, 0))
    >>> small.tolist()
    [[[[1.5]]]]
    """

    sizes: tuple[Size, ...] = Field(default=(160, 192, 224, 256), min_length=1)
    """Sides of squares, or (height, width), in pixels."""

    def __call__(self, images: Tensor, targets: Targets, draw: Draw) -> tuple[Tensor, Targets]:
        from paddle.nn.functional import interpolate

        size = self.sizes[int(draw.rng.integers(len(self.sizes)))]
        height, width = (size, size) if isinstance(size, int) else size
        before = images.shape[2:]
        if [height, width] == list(before):
            return images, targets
        if height <= before[0] and width <= before[1]:
            return interpolate(images, size=[height, width], mode="area"), targets
        return interpolate(images, size=[height, width], mode="bilinear"), targets
