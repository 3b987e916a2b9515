"""From an image, or a map, to one vector per patch of it.

Paper: "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", Dosovitskiy et
al. 2020, https://arxiv.org/abs/2010.11929; overlapping patches with a norm: "PVT v2: Improved
Baselines with Pyramid Vision Transformer", Wang et al. 2021, https://arxiv.org/abs/2106.13797
"""

from __future__ import annotations

import paddle
from paddle import Tensor, nn
from ppclas_core.errors import ShapeError

from ppclas_models.layers.channels_last import MapLayerNorm
from ppclas_models.layers.conv import conv2d


class PatchEmbed(nn.Layer):
    """[N, in_channels, H, W] → [N, dim, H / stride, W / stride], one linear map per patch of
    ``kernel_size`` pixels a side. Checkpoint keys ``proj`` and, with ``norm``, ``norm``.

    Patches overlap where ``stride``, which is ``kernel_size`` by default, is smaller; the border
    is then padded, by half a patch if ``padding`` does not say otherwise. ``epsilon`` is that of
    the layer norm.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        kernel_size: int,
        stride: int | None = None,
        *,
        padding: int | None = None,
        bias: bool = True,
        norm: bool = False,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        if padding is None:
            padding = kernel_size // 2 if stride is not None and stride < kernel_size else 0
        self.proj = conv2d(
            in_channels,
            dim,
            kernel_size,
            stride or kernel_size,
            padding=padding,
            bias=bias,
            linear=True,
        )
        self.norm = MapLayerNorm(dim, epsilon) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x)
        return x if self.norm is None else self.norm(x)


def check_smallest(model: nn.Layer, images: Tensor, side: int) -> None:
    """Images [N, C, H, W] pass whose height and width are ``side`` pixels or more.

    Raises:
        ShapeError: they are not. Not while tracing for export: there both can be symbolic.
    """
    height, width = images.shape[2:]
    if paddle.in_dynamic_mode() and min(height, width) < side:
        raise ShapeError(
            f"{type(model).__name__} needs images of at least {side}x{side} pixels; got "
            f"{height}x{width}. Resize them first."
        )


def check_multiple(model: nn.Layer, images: Tensor, multiple: int) -> None:
    """Images [N, C, H, W] pass whose height and width are multiples of ``multiple`` pixels.

    Raises:
        ShapeError: they are not. Not while tracing for export: there both can be symbolic.
    """
    height, width = images.shape[2:]
    if paddle.in_dynamic_mode() and (height % multiple or width % multiple):
        raise ShapeError(
            f"{type(model).__name__} needs height and width to be multiples of {multiple}; got "
            f"{height}x{width}. Resize or crop the images first."
        )
