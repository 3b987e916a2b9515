"""DarkNet-53: residual blocks of a 1x1 and a 3x3 convolution, strided convolutions between the
stages.

Paper: "YOLOv3: An Incremental Improvement", Redmon & Farhadi 2018, https://arxiv.org/abs/1804.02767
"""

from __future__ import annotations

from paddle import Tensor, nn
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv_norm import SHORT, ConvNorm

models = Variants()

STEM_CHANNELS = 32


class DarkNetConfig(ModelConfig):
    """A DarkNet."""

    depths: tuple[PositiveInt, ...]
    """Residual blocks a stage; each stage halves the map and doubles the channels."""


def conv_relu(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> ConvNorm:
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]. The paper's ReLU
    leaks, this one not.
    """
    return ConvNorm(in_channels, out_channels, kernel_size, stride, act=nn.ReLU(), keys=SHORT)


class ResidualBlock(nn.Layer):
    """[N, channels, H, W] → the same: 1x1 to half the channels and 3x3 back, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._conv1 = conv_relu(channels, channels // 2, 1)
        self._conv2 = conv_relu(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self._conv2(self._conv1(x))


@models.register(DarkNet53=DarkNetConfig(depths=(1, 2, 8, 8, 4)))
class DarkNet(ChainModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes]."""

    head = ("_out",)
    config: DarkNetConfig

    def __init__(self, config: DarkNetConfig) -> None:
        super().__init__(config)
        self.append(
            "stem", "_conv1", conv_relu(config.in_channels, STEM_CHANNELS, 3), STEM_CHANNELS
        )
        for stage, depth in enumerate(config.depths):
            channels = 2 * self.out_channels
            name = "_conv2" if stage == 0 else f"_downsample_{stage - 1}"
            self.append(
                f"stage{stage + 1}", name, conv_relu(self.out_channels, channels, 3, 2), channels, 2
            )
            for position in range(1, depth + 1):
                self.append(
                    f"stage{stage + 1}",
                    f"_basic_block_{stage}{position}",
                    ResidualBlock(channels),
                    channels,
                )
        self.close(self.out_channels)
