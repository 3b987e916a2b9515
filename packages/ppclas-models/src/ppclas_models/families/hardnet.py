"""HarDNet: dense blocks with few connections, so that maps are read from memory less often.

Paper: "HarDNet: A Low Memory Traffic Network", Chao et al. 2019, https://arxiv.org/abs/1909.00948
"""

from __future__ import annotations

from functools import partial

import paddle
from paddle import Tensor, nn
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveFloat, PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv_norm import ConvNorm, ConvNormKeys

models = Variants()

CONV_KEYS = ConvNormKeys("conv", "norm")
DEPTHWISE_KEYS = ConvNormKeys("dwconv", "norm")


class HarDNetConfig(ModelConfig):
    """A HarDNet."""

    stem_channels: tuple[PositiveInt, PositiveInt]
    """After the first convolution, and after the second."""
    channels: tuple[PositiveInt, ...]
    """After each block."""
    depths: tuple[PositiveInt, ...]
    """Layers in each block."""
    growth: tuple[PositiveInt, ...]
    """Channels of a block's odd layers: k in the paper."""
    strides: tuple[PositiveInt, ...]
    """Of what follows each block."""
    multiplier: PositiveFloat
    """Factor on a layer's channels each time that its number is divisible by another 2: m in the
    paper."""
    depthwise: bool = False
    """Each 3x3 convolution a 1x1 and a depthwise one, max pools depthwise convolutions."""
    dropout_rate: float = Field(0.1, ge=0, lt=1)
    """Of the features before the classifier."""
    map_dropout_rate: float | None = Field(None, ge=0, lt=1)
    """Of the last block's maps, where there is such a layer."""


def conv(in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> ConvNorm:
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉], at most 6."""
    return ConvNorm(in_channels, out_channels, kernel_size, stride, act=nn.ReLU6(), keys=CONV_KEYS)


def depthwise_conv(channels: int, stride: int = 1) -> ConvNorm:
    """[N, channels, H, W] → [N, channels, ⌈H / stride⌉, ⌈W / stride⌉], without an activation."""
    return ConvNorm(channels, channels, 3, stride, channels, keys=DEPTHWISE_KEYS)


def links(layer: int) -> list[int]:
    """What the 1-based ``layer`` of a block reads: layers 2^n before it, as far as 2^n divides
    its number; 0 is the block's input.
    """
    return [layer - 2**n for n in range(layer.bit_length()) if layer % 2**n == 0]


class HarDBlock(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, H, W]: what the odd layers and the last one give
    (section 3).
    """

    def __init__(
        self, in_channels: int, depth: int, growth: int, multiplier: float, depthwise: bool
    ) -> None:
        super().__init__()
        widths = [in_channels]
        self.layers = nn.LayerList()
        for number in range(1, depth + 1):
            read = sum(widths[link] for link in links(number))
            width = growth * multiplier ** (len(links(number)) - 1)
            widths.append(int(int(width + 1) / 2) * 2)
            self.layers.append(self._layer(read, widths[-1], depthwise))
        self.kept = [number for number in range(1, depth + 1) if number % 2 or number == depth]
        self.out_channels = sum(widths[number] for number in self.kept)

    def _layer(self, in_channels: int, out_channels: int, depthwise: bool) -> nn.Layer:
        if not depthwise:
            return conv(in_channels, out_channels)
        return nn.Sequential(
            ("layer1", conv(in_channels, out_channels, 1)), ("layer2", depthwise_conv(out_channels))
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for index, layer in enumerate(self.layers):
            read = [maps[link] for link in links(index + 1)]
            maps.append(layer(paddle.concat(read, axis=1) if len(read) > 1 else read[0]))
        return paddle.concat([maps[number] for number in self.kept], axis=1)


SixtyEight = partial(
    HarDNetConfig,
    stem_channels=(32, 64),
    channels=(128, 256, 320, 640, 1024),
    depths=(8, 16, 16, 16, 4),
    growth=(14, 16, 20, 40, 160),
    strides=(2, 1, 2, 2, 1),
    multiplier=1.7,
)


@models.register(
    HarDNet39_ds=HarDNetConfig(
        stem_channels=(24, 48),
        channels=(96, 320, 640, 1024),
        depths=(4, 16, 8, 4),
        growth=(16, 20, 64, 160),
        strides=(2, 2, 2, 1),
        multiplier=1.6,
        depthwise=True,
        dropout_rate=0.05,
    ),
    HarDNet68_ds=SixtyEight(depthwise=True, dropout_rate=0.05),
    HarDNet68=SixtyEight(),
    HarDNet85=HarDNetConfig(
        stem_channels=(48, 96),
        channels=(192, 256, 320, 480, 720, 1280),
        depths=(8, 16, 16, 16, 16, 4),
        growth=(24, 24, 28, 36, 48, 256),
        strides=(2, 1, 2, 1, 2, 1),
        multiplier=1.7,
        dropout_rate=0.2,
        map_dropout_rate=0.1,
    ),
)
class HarDNet(ChainModel):
    """A stem, then harmonic dense blocks with a 1x1 convolution after each. Images [N,
    in_channels, H, W] → logits [N, num_classes].
    """

    config: HarDNetConfig

    def __init__(self, config: HarDNetConfig) -> None:
        super().__init__(config)
        first, second = config.stem_channels
        self._next("stem", conv(config.in_channels, first, 3, 2), first, 2)
        kernel_size = 1 if config.depthwise else 3
        self._next("stem", conv(first, second, kernel_size), second)
        self._shrink("stem", nn.MaxPool2D(3, 2, 1))
        for index, (channels, depth, growth, stride) in enumerate(
            zip(config.channels, config.depths, config.growth, config.strides, strict=True), start=1
        ):
            stage = f"block{index}"
            block = HarDBlock(self.out_channels, depth, growth, config.multiplier, config.depthwise)
            self._next(stage, block, block.out_channels)
            if index == len(config.depths) and config.map_dropout_rate is not None:
                self._next(stage, nn.Dropout(config.map_dropout_rate), block.out_channels)
            self._next(stage, conv(block.out_channels, channels, 1), channels)
            if stride == 2:
                self._shrink(stage, nn.MaxPool2D(2, 2))
        # In the checkpoints its number follows from how many layers there are.
        self.head = (f"base.{len(self._steps)}.3",)  # type: ignore[misc]
        self.close(self.out_channels, nn.Dropout(config.dropout_rate))

    def _next(self, stage: str, layer: nn.Layer, out_channels: int, stride: int = 1) -> None:
        self.append(stage, f"base.{len(self._steps)}", layer, out_channels, stride)

    def _shrink(self, stage: str, pool: nn.Layer) -> None:
        channels = self.out_channels
        layer = depthwise_conv(channels, 2) if self.config.depthwise else pool
        self._next(stage, layer, channels, 2)
