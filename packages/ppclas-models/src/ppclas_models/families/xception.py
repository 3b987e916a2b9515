"""Xception: depthwise separable convolutions with residual shortcuts, in an entry, a middle and an
exit flow.

Paper: "Xception: Deep Learning with Depthwise Separable Convolutions", Chollet 2017,
    https://arxiv.org/abs/1610.02357.
The numbers of layers are those of "Encoder-Decoder with Atrous Separable Convolution for Semantic
Image Segmentation", Chen et al. 2018, https://arxiv.org/abs/1802.02611. In the published weights'
network the 1x1 of a separable convolution comes first, and shortcuts have no batch norm.
"""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.conv_norm import UNDERSCORED, ConvNorm

models = Variants()

ENTRY = ((128, 2), (256, 2), (728, 2))
"""Output channels and stride of the blocks of the entry flow."""
LONG_ENTRY = ((128, 2), (256, 1), (256, 2), (728, 1), (728, 2))


class XceptionConfig(ModelConfig):
    """An Xception."""

    entry: tuple[tuple[PositiveInt, PositiveInt], ...] = ENTRY
    """Output channels and stride of each block of the entry flow."""
    middle: PositiveInt
    """Blocks of the middle flow."""


class SeparableConv(nn.Sequential):
    """[N, in_channels, H, W] → [N, out_channels, H, W]: 1x1 across channels, then 3x3 in each, both
    with batch norm.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        pointwise = ConvNorm(in_channels, out_channels, 1, keys=UNDERSCORED)
        depthwise = ConvNorm(out_channels, out_channels, 3, groups=out_channels, keys=UNDERSCORED)
        super().__init__(("_pointwise_conv", pointwise), ("_depthwise_conv", depthwise))


class EntryBlock(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]: two convolutions,
    pool, shortcut.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, *, relu_first: bool
    ) -> None:
        super().__init__()
        self.relu = nn.ReLU() if relu_first else nn.Identity()
        self._short = conv2d(in_channels, out_channels, 1, stride)
        self._conv1 = SeparableConv(in_channels, out_channels)
        self._conv2 = SeparableConv(out_channels, out_channels)
        self.pool = nn.MaxPool2D(3, stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self._short(x) + self.pool(self._conv2(F.relu(self._conv1(self.relu(x)))))


class MiddleBlock(nn.Layer):
    """[N, channels, H, W] → the same: three convolutions, a ReLU before each, added to the
    input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._conv_0 = SeparableConv(channels, channels)
        self._conv_1 = SeparableConv(channels, channels)
        self._conv_2 = SeparableConv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self._conv_2(F.relu(self._conv_1(F.relu(self._conv_0(F.relu(x))))))


class ExitBlock(nn.Layer):
    """[N, in_channels, H, W] → [N, 1024, ⌈H / 2⌉, ⌈W / 2⌉]: two convolutions, pool, shortcut."""

    out_channels = 1024

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self._short = conv2d(in_channels, self.out_channels, 1, 2)
        self._conv_1 = SeparableConv(in_channels, in_channels)
        self._conv_2 = SeparableConv(in_channels, self.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        new = self._conv_2(F.relu(self._conv_1(F.relu(x))))
        return self._short(x) + F.max_pool2d(new, 3, 2, padding=1)


@models.register(
    Xception41=XceptionConfig(middle=8),
    Xception65=XceptionConfig(middle=16),
    Xception71=XceptionConfig(middle=16, entry=LONG_ENTRY),
)
class Xception(ChainModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes]. The entry flow's stages start where
    the map shrinks.
    """

    head = ("_exit_flow._out",)
    config: XceptionConfig

    def __init__(self, config: XceptionConfig) -> None:
        super().__init__(config)
        stem = ConvNorm(config.in_channels, 32, 3, 2, act=nn.ReLU(), keys=UNDERSCORED)
        self.append("stem", "_entry_flow._conv1", stem, 32, 2)
        self.append(
            "stem", "_entry_flow._conv2", ConvNorm(32, 64, 3, act=nn.ReLU(), keys=UNDERSCORED), 64
        )
        stage = 0
        for index, (channels, stride) in enumerate(config.entry):
            stage += stride - 1
            block = EntryBlock(self.out_channels, channels, stride, relu_first=index > 0)
            self.append(f"entry{stage}", f"_entry_flow._conv_{index}", block, channels, stride)
        for index in range(config.middle):
            self.append(
                "middle",
                f"_middle_flow._conv_{index}",
                MiddleBlock(self.out_channels),
                self.out_channels,
            )
        self.append(
            "exit", "_exit_flow._conv_0", ExitBlock(self.out_channels), ExitBlock.out_channels, 2
        )
        for index, channels in enumerate((1536, 2048), start=1):
            self.append(
                "exit",
                f"_exit_flow._conv_{index}",
                SeparableConv(self.out_channels, channels),
                channels,
            )
            self.append("exit", f"relu{index}", nn.ReLU(), channels)
        self.close(self.out_channels)
