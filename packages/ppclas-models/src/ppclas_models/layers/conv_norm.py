"""Convolution, batch norm and activation in a row."""

from __future__ import annotations

from dataclasses import dataclass

from paddle import ParamAttr, nn
from paddle.nn.initializer import KaimingNormal
from paddle.regularizer import L2Decay


@dataclass(frozen=True)
class ConvNormKeys:
    """How a family's checkpoints spell the two layers with parameters."""

    conv: str
    norm: str


PLAIN = ConvNormKeys("conv", "bn")
UNDERSCORED = ConvNormKeys("_conv", "_batch_norm")


class ConvNorm(nn.Sequential):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉] for odd kernels.

    The convolution has no bias and pads by half its kernel. Without ``norm_decay`` the optimizer's L2 penalty leaves
    the batch norm out.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        act: nn.Layer | None = None,
        *,
        keys: ConvNormKeys = PLAIN,
        norm_decay: bool = True,
    ) -> None:
        super().__init__()
        conv = nn.Conv2D(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            groups=groups,
            # Paddle's default takes the fan-in of an ungrouped convolution: far too little for a depthwise one.
            weight_attr=ParamAttr(initializer=KaimingNormal()),
            bias_attr=False,
        )
        # A fresh attribute a parameter: Paddle writes the parameter's name into it.
        scale, offset = (None, None) if norm_decay else (_undecayed(), _undecayed())
        self.add_sublayer(keys.conv, conv)
        self.add_sublayer(keys.norm, nn.BatchNorm2D(out_channels, weight_attr=scale, bias_attr=offset))
        if act is not None:
            self.add_sublayer("act", act)


def _undecayed() -> ParamAttr:
    return ParamAttr(regularizer=L2Decay(0.0))
