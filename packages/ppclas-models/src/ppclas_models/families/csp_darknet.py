"""CSPDarkNet53: DarkNet53 whose stages send half of the channels past their blocks.

Papers: "CSPNet: A New Backbone that can Enhance Learning Capability of CNN", Wang et al. 2019,
https://arxiv.org/abs/1911.11929; "YOLOv4: Optimal Speed and Accuracy of Object Detection",
Bochkovskiy et al. 2020, https://arxiv.org/abs/2004.10934, which has this network.
"""

from __future__ import annotations

import paddle
from paddle import Tensor, nn
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv_norm import ConvNorm

models = Variants()

STEM_CHANNELS = 32
DEPTHS = (1, 2, 8, 8, 4)
"""Blocks in each stage."""
CHANNELS = (64, 128, 256, 512, 1024)
"""Of each stage's maps."""


class CSPDarkNetConfig(ModelConfig):
    """CSPDarkNet53, which has no options of its own."""


def conv(in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1) -> ConvNorm:
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]."""
    return ConvNorm(in_channels, out_channels, kernel_size, stride, act=nn.LeakyReLU(0.01))


class DarkBlock(nn.Layer):
    """[N, channels, H, W] → the same: 1x1 to ``hidden`` channels and 3x3, added to the input."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = conv(channels, hidden)
        self.conv2 = conv(hidden, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x))


class CrossStage(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, H / 2, W / 2]: blocks on one half of the
    channels, the other half beside them (figure 5 of CSPNet's paper).

    The first stage does not halve: both ways have ``out_channels``.
    """

    def __init__(self, in_channels: int, out_channels: int, depth: int, first: bool) -> None:
        super().__init__()
        half = out_channels if first else out_channels // 2
        self.conv_down = conv(in_channels, out_channels, 3, 2)
        self.conv_exp = conv(out_channels, 2 * half)
        hidden = half // 2 if first else half
        self.blocks = nn.Sequential(*(DarkBlock(half, hidden) for _ in range(depth)))
        self.conv_transition_b = conv(half, half)
        self.conv_transition = conv(2 * half, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        past, through = paddle.split(self.conv_exp(self.conv_down(x)), 2, axis=1)
        through = self.conv_transition_b(self.blocks(through))
        return self.conv_transition(paddle.concat([past, through], axis=1))


@models.register(CSPDarkNet53=CSPDarkNetConfig())
class CSPDarkNet(ChainModel):
    """A stem at full resolution and five cross stages. Images [N, in_channels, H, W] → logits [N,
    num_classes].
    """

    config: CSPDarkNetConfig

    def __init__(self, config: CSPDarkNetConfig) -> None:
        super().__init__(config)
        stem = nn.Sequential(("conv1", conv(config.in_channels, STEM_CHANNELS, 3)))
        self.append("stem", "stem", stem, STEM_CHANNELS)
        for index, (channels, depth) in enumerate(zip(CHANNELS, DEPTHS, strict=True)):
            stage = CrossStage(self.out_channels, channels, depth, index == 0)
            self.append(f"stage{index + 1}", f"stages.{index}", stage, channels, 2)
        self.close(self.out_channels)
