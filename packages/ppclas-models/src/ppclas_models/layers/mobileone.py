"""Layers of several branches while training and of one convolution afterwards: the block of
MobileOne, which FastViT has too.

Paper: "MobileOne: An Improved One millisecond Mobile Backbone", Vasu et al. 2022,
https://arxiv.org/abs/2206.04040, section 3.
"""

from __future__ import annotations

from paddle import Tensor, nn

from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.conv_norm import ConvNorm
from ppclas_models.layers.reparam import (
    Folded,
    Fusible,
    fold,
    identity_kernel,
    set_sum,
)


class Branches(Fusible):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]: branches that
    ``fuse`` makes one convolution, ``reparam_conv``, of.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, groups: int
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.groups = kernel_size, stride, groups

    def branches(self, x: Tensor) -> Tensor:
        """What the branches give together."""
        raise NotImplementedError

    def folded(self) -> list[Folded]:
        """The branches as convolutions, whose sum is what they give in evaluation."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.reparam_conv(x) if hasattr(self, "reparam_conv") else self.branches(x)

    def fuse(self) -> None:
        """Replace the branches by ``reparam_conv``."""
        if hasattr(self, "reparam_conv"):
            return
        folded, names = self.folded(), [name for name, _ in self.named_children()]
        conv = conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            groups=self.groups,
            bias=True,
        )
        set_sum(conv.to(dtype=folded[0][0].dtype), folded)
        for name in names:
            delattr(self, name)
        self.reparam_conv = conv


class LinearBlock(Branches):
    """``num_branches`` convolutions, a 1x1 where the kernel is larger, and the input where the
    shape stays, each with a batch norm, summed.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        num_branches: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, groups)
        self.conv_kxk = nn.LayerList(
            ConvNorm(in_channels, out_channels, kernel_size, stride, groups)
            for _ in range(num_branches)
        )
        if kernel_size > 1:
            self.conv_scale = ConvNorm(in_channels, out_channels, 1, stride, groups)
        if in_channels == out_channels and stride == 1:
            self.identity = nn.BatchNorm2D(in_channels)

    def branches(self, x: Tensor) -> Tensor:
        y = self.conv_kxk[0](x)
        for conv in self.conv_kxk[1:]:
            y = y + conv(x)
        if hasattr(self, "conv_scale"):
            y = y + self.conv_scale(x)
        return y + self.identity(x) if hasattr(self, "identity") else y

    def folded(self) -> list[Folded]:
        convs = list(self.conv_kxk)
        if hasattr(self, "conv_scale"):
            convs.append(self.conv_scale)
        folded = [fold(conv.conv.weight, conv.bn) for conv in convs]
        if hasattr(self, "identity"):
            dtype = self.identity.weight.dtype
            kernel = identity_kernel(self.in_channels, self.groups, dtype)
            folded.append(fold(kernel, self.identity))
        return folded


class MobileOneBlock(nn.Sequential):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]: a linear block, then
    ``squeeze_excite`` and ``act``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        num_branches: int = 1,
        *,
        act: nn.Layer,
        squeeze_excite: nn.Layer | None = None,
    ) -> None:
        linear = LinearBlock(in_channels, out_channels, kernel_size, stride, groups, num_branches)
        gate = [] if squeeze_excite is None else [("se", squeeze_excite)]
        super().__init__(("linear", linear), *gate, ("act", act))
