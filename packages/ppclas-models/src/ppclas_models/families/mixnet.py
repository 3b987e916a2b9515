"""MixNet: searched inverted residuals whose depthwise convolutions have several kernel sizes, each
on its share of the channels.

Paper: "MixConv: Mixed Depthwise Convolutional Kernels", Tan & Le 2019,
https://arxiv.org/abs/1907.09595
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveFloat

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels import round_channels
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.squeeze_excite import ConvSqueezeExcite, sigmoid
from ppclas_models.layers.stochastic_depth import Rate

models = Variants()

LAST_CHANNELS = 1536


class Row(NamedTuple):
    """An inverted residual of the paper's figure 8, at width 1.0."""

    out_channels: int
    expansion: int
    """Channels between the two 1x1 convolutions over those of the input."""
    kernels: int
    """Sizes of the depthwise kernels: 3, 5, 7 and so on."""
    expand_groups: int
    """Convolutions that the first 1x1 is made of, each on its share of the channels;
    ``project_groups``: the last."""
    project_groups: int
    stride: int = 1


class Stage(NamedTuple):
    """Rows with the same activation and gate."""

    rows: tuple[Row, ...]
    act: Literal["relu", "swish"]
    squeeze: int
    """The block's input has so many times the channels of the gate's hidden layer; 0: no gate."""


SMALL = (
    Stage((Row(24, 6, 1, 2, 2, 2), Row(24, 3, 1, 2, 2)), "relu", 0),
    Stage((Row(40, 6, 3, 1, 1, 2), *(Row(40, 6, 2, 2, 2),) * 3), "swish", 2),
    Stage((Row(80, 6, 3, 1, 2, 2), *(Row(80, 6, 2, 1, 2),) * 2), "swish", 4),
    Stage(
        (
            Row(120, 6, 3, 2, 2),
            *(Row(120, 3, 4, 2, 2),) * 2,
            Row(200, 6, 5, 1, 1, 2),
            *(Row(200, 6, 4, 1, 2),) * 2,
        ),
        "swish",
        2,
    ),
)
MEDIUM = (
    Stage((Row(32, 6, 3, 2, 2, 2), Row(32, 3, 1, 2, 2)), "relu", 0),
    Stage((Row(40, 6, 4, 1, 1, 2), *(Row(40, 6, 2, 2, 2),) * 3), "swish", 2),
    Stage((Row(80, 6, 3, 1, 1, 2), *(Row(80, 6, 4, 2, 2),) * 3), "swish", 4),
    Stage(
        (
            Row(120, 6, 1, 1, 1),
            *(Row(120, 3, 4, 2, 2),) * 3,
            Row(200, 6, 4, 1, 1, 2),
            *(Row(200, 6, 4, 1, 2),) * 3,
        ),
        "swish",
        2,
    ),
)


class MixNetConfig(ModelConfig):
    """A MixNet."""

    size: Literal["small", "medium"]
    """Which of the paper's two networks."""
    width: PositiveFloat = 1.0
    """Factor on all channel counts but the last, which are then rounded to multiples of 8."""
    dropout: Rate
    """Share of the features before the classifier that training drops."""


def _act(name: Literal["relu", "swish"]) -> nn.Layer:
    return nn.ReLU() if name == "relu" else nn.Swish()


class MixedConv(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]: the channels in equal
    parts, one for each kernel size, then a batch norm and the activation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_sizes: Sequence[int],
        stride: int = 1,
        *,
        depthwise: bool = False,
        act: nn.Layer | None = None,
    ) -> None:
        super().__init__()
        self.parts = len(kernel_sizes)
        part = in_channels // self.parts
        convs = [
            conv2d(part, out_channels // self.parts, size, stride, groups=part if depthwise else 1)
            for size in kernel_sizes
        ]
        self.conv = nn.LayerList(convs) if self.parts > 1 else convs[0]
        self.bn = nn.BatchNorm2D(out_channels)
        self.act = nn.Identity() if act is None else act

    def forward(self, x: Tensor) -> Tensor:
        if self.parts == 1:
            return self.act(self.bn(self.conv(x)))
        parts = paddle.split(x, self.parts, axis=1)
        mixed = [conv(parts[index]) for index, conv in enumerate(self.conv)]
        return self.act(self.bn(paddle.concat(mixed, axis=1)))


class MixUnit(nn.Sequential):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]: expand, mixed
    depthwise, gate, linear projection; where the shape stays, the input is added.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        row: Row,
        act: Literal["relu", "swish"],
        squeeze: int,
    ) -> None:
        super().__init__()
        self.residual = row.stride == 1 and in_channels == out_channels
        hidden = in_channels * row.expansion
        if row.expansion > 1:
            expand = MixedConv(in_channels, hidden, (1,) * row.expand_groups, act=_act(act))
            self.add_sublayer("exp_conv", expand)
        sizes = range(3, 3 + 2 * row.kernels, 2)
        depthwise = MixedConv(hidden, hidden, sizes, row.stride, depthwise=True, act=_act(act))
        self.add_sublayer("conv1", depthwise)
        if squeeze:
            gate = ConvSqueezeExcite(hidden, in_channels // squeeze, sigmoid, F.swish)
            self.add_sublayer("se", gate)
        self.add_sublayer("conv2", MixedConv(hidden, out_channels, (1,) * row.project_groups))

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return x + y if self.residual else y


# The rates are those of the reference implementation.
@models.register(
    MixNet_S=MixNetConfig(size="small", dropout=0.2),
    MixNet_M=MixNetConfig(size="medium", dropout=0.25),
    MixNet_L=MixNetConfig(size="medium", width=1.3, dropout=0.3),
)
class MixNet(ChainModel):
    """Four stages of mixed inverted residuals. Images [N, in_channels, H, W] → logits [N,
    num_classes].
    """

    head = ("output",)
    config: MixNetConfig

    def __init__(self, config: MixNetConfig) -> None:
        super().__init__(config)
        stages, stem_channels = (SMALL, 16) if config.size == "small" else (MEDIUM, 24)
        channels = self._scaled(stem_channels)
        stem = MixedConv(config.in_channels, channels, (3,), 2, act=nn.ReLU())
        self.append("stem", "features.init_block.conv1", stem, channels, 2)
        unit = MixUnit(channels, channels, Row(channels, 1, 1, 1, 1), "relu", 0)
        self.append("stem", "features.init_block.conv2", unit, channels)
        for number, stage in enumerate(stages, start=1):
            for position, row in enumerate(stage.rows, start=1):
                channels = self._scaled(row.out_channels)
                unit = MixUnit(self.out_channels, channels, row, stage.act, stage.squeeze)
                name = f"features.stage{number}.unit{position}"
                self.append(f"stage{number}", name, unit, channels, row.stride)
        last = MixedConv(channels, LAST_CHANNELS, (1,), act=nn.ReLU())
        self.append(f"stage{len(stages)}", "features.final_block", last, LAST_CHANNELS)
        self.close(LAST_CHANNELS, nn.Dropout(config.dropout))

    def _scaled(self, channels: int) -> int:
        return round_channels(channels * self.config.width, 8)
