"""Convolution, batch norm and activation in a row."""

from __future__ import annotations

from dataclasses import dataclass

from paddle import nn
from paddle.nn.initializer import Initializer
from paddle.regularizer import L2Decay

from ppclas_models.layers.conv import conv2d


@dataclass(frozen=True)
class ConvNormKeys:
    """How a family's checkpoints spell the two layers with parameters."""

    conv: str
    norm: str


PLAIN = ConvNormKeys("conv", "bn")
SHORT = ConvNormKeys("_conv", "_bn")
UNDERSCORED = ConvNormKeys("_conv", "_batch_norm")

_NO_DECAY = L2Decay(0.0)


class ConvNorm(nn.Sequential):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉] for odd kernels.

    The convolution pads by half its kernel unless ``padding`` says otherwise (pixels on each side,
    or top, bottom, left and right); ``weight`` draws its weights. Without ``norm_decay`` the
    optimizer's L2 penalty leaves the batch norm out. ``epsilon`` is added to its variance;
    ``momentum`` is the share of its running statistics that a step keeps.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        groups: int = 1,
        act: nn.Layer | None = None,
        *,
        padding: int | list[int] | None = None,
        keys: ConvNormKeys = PLAIN,
        norm_decay: bool = True,
        epsilon: float = 1e-5,
        momentum: float = 0.9,
        bias: bool = False,
        weight: Initializer | None = None,
    ) -> None:
        super().__init__()
        conv = conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=padding,
            groups=groups,
            bias=bias,
            weight=weight,
        )
        self.add_sublayer(keys.conv, conv)
        norm = nn.BatchNorm2D(out_channels, momentum, epsilon)
        if not norm_decay:
            norm.weight.regularizer = norm.bias.regularizer = _NO_DECAY
        self.add_sublayer(keys.norm, norm)
        if act is not None:
            self.add_sublayer("act", act)
