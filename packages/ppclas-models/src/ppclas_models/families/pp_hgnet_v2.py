"""PP-HGNetV2: PP-HGNet with a stem of two branches, large depthwise kernels in the later stages and
an aggregation in two steps.

There is no paper; the release is of 2023. "DETRs Beat YOLOs on Real-time Object Detection", Zhao et
al. 2023, https://arxiv.org/abs/2304.08069, uses the network as its backbone.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import paddle
from paddle import Tensor, nn
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.conv_norm import ConvNorm
from ppclas_models.layers.last_conv import LastConvModel
from ppclas_models.layers.stochastic_depth import Rate

models = Variants()

LAST_FEATURES = 2048
LARGE_KERNEL = 5
"""Of the depthwise convolutions in the last two stages."""
FIRST_LIGHT = 2
"""The stage, counted from 0, from which on convolutions are a pointwise and a depthwise one."""


class Stage(NamedTuple):
    """A stage of a network."""

    hidden: PositiveInt
    """Channels of what is aggregated."""
    out_channels: PositiveInt
    depth: PositiveInt
    """Blocks."""


class PPHGNetV2Config(ModelConfig):
    """A PP-HGNetV2."""

    stem_channels: tuple[PositiveInt, PositiveInt]
    """Of all convolutions in the stem but the last (half as many within its branch), and of the
    last."""
    stages: tuple[Stage, Stage, Stage, Stage]
    layers: PositiveInt
    """Convolutions in a block whose outputs are aggregated."""
    affine: bool = False
    """A learned scale and offset, one number each, after every activation."""
    dropout: Rate = 0.0
    """Share of the features before the classifier that training drops."""


class Affine(nn.Layer):
    """Any shape → the same: ``scale * x + bias``, both single numbers."""

    def __init__(self) -> None:
        super().__init__()
        constant = nn.initializer.Constant
        self.scale = self.create_parameter([1], default_initializer=constant(1.0))
        self.bias = self.create_parameter([1], is_bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.bias


class ConvReLU(ConvNorm):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]: convolution, batch
    norm, ReLU, and with ``affine`` an affine map.

    An even kernel pads at the bottom and on the right.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        *,
        affine: bool,
    ) -> None:
        before, after = (kernel_size - 1) // 2, kernel_size // 2
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            groups,
            nn.ReLU(),
            padding=[before, after, before, after],
        )
        if affine:
            self.add_sublayer("lab", Affine())


def light_conv(in_channels: int, out_channels: int, *, affine: bool) -> nn.Sequential:
    """[N, in_channels, H, W] → [N, out_channels, H, W]: pointwise, then a large depthwise one."""
    depthwise = ConvReLU(
        out_channels, out_channels, LARGE_KERNEL, groups=out_channels, affine=affine
    )
    pointwise = ConvNorm(in_channels, out_channels, 1)
    return nn.Sequential(("conv1", pointwise), ("conv2", depthwise))


class Stem(nn.Layer):
    """[N, in_channels, H, W] → [N, channels[1], ⌈H / 4⌉, ⌈W / 4⌉]."""

    def __init__(self, in_channels: int, channels: tuple[int, int], *, affine: bool) -> None:
        super().__init__()
        conv, (width, last) = partial(ConvReLU, affine=affine), channels
        self.stem1 = conv(in_channels, width, 3, 2)
        self.stem2a = conv(width, width // 2, 2)
        self.stem2b = conv(width // 2, width, 2)
        self.pool = nn.MaxPool2D(2, 1, padding=[0, 1, 0, 1])
        self.stem3 = conv(2 * width, width, 3, 2)
        self.stem4 = conv(width, last, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem1(x)
        x = paddle.concat([self.pool(x), self.stem2b(self.stem2a(x))], axis=1)
        return self.stem4(self.stem3(x))


class Block(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, H, W]: the input and what each convolution makes
    of the one before, aggregated by two 1x1.
    """

    def __init__(
        self,
        in_channels: int,
        stage: Stage,
        layers: int,
        *,
        light: bool,
        affine: bool,
        residual: bool,
    ) -> None:
        super().__init__()
        hidden, out_channels = stage.hidden, stage.out_channels
        conv = partial(ConvReLU, affine=affine)
        layer = partial(light_conv, affine=affine) if light else partial(conv, kernel_size=3)
        self.layers = nn.LayerList(
            layer(hidden if index else in_channels, hidden) for index in range(layers)
        )
        aggregated = in_channels + layers * hidden
        self.aggregation_squeeze_conv = conv(aggregated, out_channels // 2, 1)
        self.aggregation_excitation_conv = conv(out_channels // 2, out_channels, 1)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        y = self.aggregation_squeeze_conv(paddle.concat(maps, axis=1))
        y = self.aggregation_excitation_conv(y)
        return x + y if self.residual else y


def _config(
    layers: int, stem: tuple[int, int], *stages: tuple[int, int, int], affine: bool = False
) -> PPHGNetV2Config:
    """``stages``: the numbers of each ``Stage``."""
    first, second, third, fourth = (Stage(*numbers) for numbers in stages)
    return PPHGNetV2Config(
        stem_channels=stem, stages=(first, second, third, fourth), layers=layers, affine=affine
    )


_light = partial(_config, affine=True)


@models.register(
    PPHGNetV2_B0=_light(3, (16, 16), (16, 64, 1), (32, 256, 1), (64, 512, 2), (128, 1024, 1)),
    PPHGNetV2_B1=_light(3, (24, 32), (32, 64, 1), (48, 256, 1), (96, 512, 2), (192, 1024, 1)),
    PPHGNetV2_B2=_light(4, (24, 32), (32, 96, 1), (64, 384, 1), (128, 768, 3), (256, 1536, 1)),
    PPHGNetV2_B3=_light(5, (24, 32), (32, 128, 1), (64, 512, 1), (128, 1024, 3), (256, 2048, 1)),
    PPHGNetV2_B4=_config(6, (32, 48), (48, 128, 1), (96, 512, 1), (192, 1024, 3), (384, 2048, 1)),
    PPHGNetV2_B5=_config(6, (32, 64), (64, 128, 1), (128, 512, 2), (256, 1024, 5), (512, 2048, 2)),
    PPHGNetV2_B6=_config(6, (48, 96), (96, 192, 2), (192, 512, 3), (384, 1024, 6), (768, 2048, 3)),
)
class PPHGNetV2(LastConvModel):
    """Four stages of such blocks. Images [N, in_channels, H, W] → logits [N, num_classes]."""

    config: PPHGNetV2Config

    def __init__(self, config: PPHGNetV2Config) -> None:
        super().__init__(config)
        affine = config.affine
        stem = Stem(config.in_channels, config.stem_channels, affine=affine)
        self.append("stem", "stem", stem, config.stem_channels[1], 4)
        for number, stage in enumerate(config.stages):
            name, channels = f"stage{number + 1}", self.out_channels
            if number:
                downsample = ConvNorm(channels, channels, 3, 2, groups=channels)
                self.append(name, f"stages.{number}.downsample", downsample, channels, 2)
            for position in range(stage.depth):
                block = Block(
                    self.out_channels,
                    stage,
                    config.layers,
                    light=number >= FIRST_LIGHT,
                    affine=affine,
                    residual=position > 0,
                )
                path = f"stages.{number}.blocks.{position}"
                self.append(name, path, block, stage.out_channels)
        self.close_last_conv(LAST_FEATURES, nn.ReLU(), nn.Dropout(config.dropout))
        if affine:
            self.lab = Affine()

    def pool(self, features: Tensor) -> Tensor:
        """[N, C, h, w] → [N, LAST_FEATURES]: the mean over all positions, then ``last_conv``."""
        pooled = super().pool(features)
        return self.lab(pooled) if self.config.affine else pooled

    def stages(self) -> dict[str, tuple[str, ...]]:
        stages = super().stages()
        return {**stages, "head": ("lab", *stages["head"])} if self.config.affine else stages
