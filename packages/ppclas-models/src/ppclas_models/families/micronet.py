"""MicroNet: networks of a few million multiply-adds, with factorised convolutions and an
activation that mixes shifted channels.

Paper: "MicroNet: Improving Image Recognition with Extremely Low FLOPs", Li et al. 2021,
https://arxiv.org/abs/2108.05894
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels import ChannelShuffle, round_channels
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.pool import global_average_pool
from ppclas_models.layers.roll import roll

models = Variants()

REDUCTION = 8
"""Channels over those that the gates of an activation are computed from."""
GATE_RANGE = 4.0
"""The gates, in 0..1, are moved to be around 0 and stretched to this width."""


class Row(NamedTuple):
    """A block, as the authors' code has it."""

    stride: int
    kernel_size: int
    """Of the depthwise convolutions."""
    expansion: int
    """Channels after the first convolutions over those of the input."""
    groups: tuple[int, int]
    """Of the convolution that expands, and of the activation after it; a first group of 0: the
    depthwise convolution expands, without a 1x1 before it."""
    out_channels: int
    squeeze_groups: tuple[int, int]
    """Of the convolution that gives ``out_channels``, and of the activation after it; zeros: there
    is none."""
    ratio: int = 1
    """Factor on ``REDUCTION``."""
    relu: bool = False
    """A ReLU6 after the depthwise convolution in any case."""


M0 = (
    Row(2, 3, 4, (0, 4), 8, (2, 2), relu=True),
    Row(2, 3, 4, (0, 8), 12, (4, 4)),
    Row(2, 5, 4, (0, 12), 16, (4, 4)),
    Row(1, 5, 4, (4, 4), 32, (4, 4)),
    Row(2, 5, 4, (8, 8), 64, (8, 8)),
    Row(1, 3, 4, (8, 8), 96, (8, 8), 2),
    Row(1, 3, 4, (12, 12), 384, (0, 0), 2),
)
M1 = (
    Row(2, 3, 4, (0, 6), 8, (2, 2), relu=True),
    Row(2, 3, 4, (0, 8), 16, (4, 4)),
    Row(2, 5, 4, (0, 16), 16, (4, 4)),
    Row(1, 5, 6, (4, 4), 32, (4, 4)),
    Row(2, 5, 6, (8, 8), 64, (8, 8)),
    Row(1, 3, 6, (8, 8), 96, (8, 8), 2),
    Row(1, 3, 6, (12, 12), 576, (0, 0), 2),
)
M2 = (
    Row(2, 3, 4, (0, 8), 12, (4, 4), relu=True),
    Row(2, 3, 4, (0, 12), 16, (4, 4)),
    Row(1, 3, 4, (0, 16), 24, (4, 4)),
    Row(2, 5, 6, (6, 6), 32, (4, 4)),
    Row(1, 5, 6, (8, 8), 32, (4, 4), 2),
    Row(1, 5, 6, (8, 8), 64, (8, 8), 2),
    Row(2, 5, 6, (8, 8), 96, (8, 8), 2),
    Row(1, 3, 6, (12, 12), 128, (8, 8), 2),
    Row(1, 3, 6, (16, 16), 768, (0, 0), 2),
)
M3 = (
    Row(2, 3, 4, (0, 12), 16, (4, 4)),
    Row(2, 3, 4, (0, 16), 24, (4, 4)),
    Row(1, 3, 4, (0, 24), 24, (4, 4)),
    Row(2, 5, 6, (6, 6), 32, (4, 4)),
    Row(1, 5, 6, (8, 8), 32, (4, 4), 2),
    Row(1, 5, 6, (8, 8), 64, (8, 8), 2),
    Row(1, 5, 6, (8, 8), 80, (8, 8), 2),
    Row(1, 5, 6, (10, 10), 80, (8, 8), 2),
    Row(2, 5, 6, (10, 10), 120, (10, 10), 2),
    Row(1, 5, 6, (12, 12), 120, (10, 10), 2),
    Row(1, 3, 6, (12, 12), 144, (12, 12), 2),
    Row(1, 3, 6, (12, 12), 864, (0, 0), 2),
)
ROWS = {"M0": M0, "M1": M1, "M2": M2, "M3": M3}


class MicroNetConfig(ModelConfig):
    """A MicroNet."""

    size: Literal["M0", "M1", "M2", "M3"]
    """Which of the tables of blocks."""
    stem_channels: tuple[PositiveInt, PositiveInt]
    """After the first convolution, then after the second."""
    features: PositiveInt
    """Before the classifier."""
    shift_max: tuple[bool, bool, bool] = (True, True, True)
    """Whether dynamic shift-max stands after the convolution that expands, the depthwise and the
    one that squeezes; if not, a ReLU6, or nothing after the last."""
    first_gates: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (1.0, 0.0))
    """What is added to the gates of the two sums that a maximum is taken of: that of the channel,
    that of the shifted one."""
    dropout_rate: float = Field(0.05, ge=0, lt=1)
    """Of the features before the classifier."""


class ShiftMax(nn.Layer):
    """Dynamic shift-max, [N, channels, H, W] → the same: a channel and one from the next group,
    each times a gate that sees the whole map (section 4).

    ``sums`` has what is added to the gates of each such sum; of two, the maximum is taken.
    """

    def __init__(
        self,
        channels: int,
        groups: int,
        reduction: int,
        sums: tuple[tuple[float, float], ...],
    ) -> None:
        super().__init__()
        self.groups, self.sums = groups, sums
        squeezed = round_channels(channels // reduction, 4)
        self.fc = nn.Sequential(
            nn.Linear(channels, squeezed),
            nn.ReLU(),
            nn.Linear(squeezed, channels * 2 * len(sums)),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        gates = (self.fc(global_average_pool(x)) - 0.5) * GATE_RANGE
        height, width = x.shape[2:]
        channels = x.shape[1]
        grouped = x.reshape([0, self.groups, channels // self.groups, height, width])
        shifted = roll(grouped, -1, (1, 2)).flatten(1, 2)
        parts = paddle.split(gates.unsqueeze([2, 3]), 2 * len(self.sums), axis=1)
        own, other = self.sums[0]
        y = x * (parts[0] + own) + shifted * (parts[1] + other)
        if len(self.sums) == 1:
            return y
        own, other = self.sums[1]
        return paddle.maximum(y, x * (parts[2] + own) + shifted * (parts[3] + other))


class Conv(nn.Layer):
    """Convolutions in a row, each with a batch norm. Checkpoint key ``conv``."""

    def __init__(self, *convs: nn.Conv2D) -> None:
        super().__init__()
        layers = [layer for conv in convs for layer in (conv, nn.BatchNorm2D(conv._out_channels))]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def separable(
    in_channels: int,
    hidden: int,
    out_channels: int,
    kernel_size: int,
    stride: int,
    groups: int,
) -> Conv:
    """[N, in_channels, H, W] → [N, out_channels, H / stride, W / stride]: a column, then a row for
    each channel (section 3.2). The convolution of columns has ``groups`` groups.
    """
    half = kernel_size // 2
    return Conv(
        nn.Conv2D(
            in_channels,
            hidden,
            (kernel_size, 1),
            (stride, 1),
            padding=(half, 0),
            groups=groups,
            bias_attr=False,
        ),
        nn.Conv2D(
            hidden,
            out_channels,
            (1, kernel_size),
            (1, stride),
            padding=(0, half),
            groups=hidden,
            bias_attr=False,
        ),
    )


class MicroBlock(nn.Layer):
    """[N, in_channels, H, W] → [N, row.out_channels, H / stride, W / stride]: expand, filter by
    depth, squeeze, by grouped convolutions with shuffles between (section 5).

    Where the shape stays, the input is added.
    """

    def __init__(self, config: MicroNetConfig, in_channels: int, row: Row) -> None:
        super().__init__()
        self.residual = row.stride == 1 and in_channels == row.out_channels
        self.config, self.reduction = config, REDUCTION * row.ratio
        self.layers = nn.Sequential(*self._layers(in_channels, row))

    def _layers(self, in_channels: int, row: Row) -> list[nn.Layer]:
        after_expand, after_depthwise, after_squeeze = self.config.shift_max
        after_depthwise = after_depthwise and not row.relu
        hidden, out_channels = row.expansion * in_channels, row.out_channels
        group, act_group = row.groups
        if group == 0:
            depthwise = separable(
                in_channels, 2 * in_channels, hidden, row.kernel_size, row.stride, in_channels
            )
            return [
                depthwise,
                self._act(hidden, act_group, after_depthwise),
                ChannelShuffle(act_group),
                ChannelShuffle(hidden // 2) if after_depthwise else nn.Identity(),
                *self._squeeze(hidden, row, self.reduction // 2),
            ]
        expand = Conv(conv2d(in_channels, hidden, 1, groups=group))
        if row.squeeze_groups == (0, 0):
            return [expand, self._sum(hidden, act_group, self.reduction, after_squeeze)]
        between = hidden // 4 if after_expand and after_depthwise else hidden // 2
        return [
            expand,
            self._act(hidden, act_group, after_expand),
            ChannelShuffle(act_group),
            separable(hidden, hidden, hidden, row.kernel_size, row.stride, hidden),
            nn.Identity(),
            self._act(hidden, hidden // act_group, after_depthwise),
            ChannelShuffle(between) if after_expand or after_depthwise else nn.Identity(),
            *self._squeeze(
                hidden, row, self.reduction // 2 if out_channels < hidden else self.reduction
            ),
        ]

    def _squeeze(self, hidden: int, row: Row, reduction: int) -> list[nn.Layer]:
        channels, (group, act_group) = row.out_channels, row.squeeze_groups
        dynamic = self.config.shift_max[2]
        return [
            Conv(conv2d(hidden, channels, 1, groups=group)),
            self._sum(channels, act_group, reduction, dynamic),
            ChannelShuffle(act_group),
            ChannelShuffle(channels // 2) if dynamic else nn.Identity(),
        ]

    def _act(self, channels: int, groups: int, dynamic: bool) -> nn.Layer:
        if not dynamic:
            return nn.ReLU6()
        return ShiftMax(channels, groups, self.reduction, self.config.first_gates)

    def _sum(self, channels: int, groups: int, reduction: int, dynamic: bool) -> nn.Layer:
        """Shift-max of one sum only, which is linear, or nothing."""
        return ShiftMax(channels, groups, reduction, ((1.0, 0.0),)) if dynamic else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return x + y if self.residual else y


class NormSwish(nn.Sequential):
    """[N, in_features] → [N, out_features]: linear, batch norm, hard swish."""

    def __init__(self, in_features: int, out_features: int) -> None:
        linear, norm = nn.Linear(in_features, out_features), nn.BatchNorm1D(out_features)
        super().__init__(("linear", nn.Sequential(linear, norm)), ("act", nn.Hardswish()))


@models.register(
    MicroNet_M0=MicroNetConfig(size="M0", stem_channels=(2, 4), features=640),
    MicroNet_M1=MicroNetConfig(size="M1", stem_channels=(3, 6), features=960),
    MicroNet_M2=MicroNetConfig(size="M2", stem_channels=(4, 8), features=1024, dropout_rate=0.1),
    MicroNet_M3=MicroNetConfig(
        size="M3",
        stem_channels=(4, 12),
        features=1024,
        shift_max=(False, True, False),
        first_gates=((1.0, 0.0), (0.5, 0.5)),
        dropout_rate=0.1,
    ),
)
class MicroNet(ChainModel):
    """A stem and seven to twelve blocks. Images [N, in_channels, H, W] → logits [N, num_classes].

    The stage ``head`` holds the hidden layer before the classifier as well.
    """

    head = ("classifier.2.linear.0", "classifier.2.linear.1")
    config: MicroNetConfig

    def __init__(self, config: MicroNetConfig) -> None:
        super().__init__(config)
        hidden, channels = config.stem_channels
        conv = separable(config.in_channels, hidden, channels, 3, 2, 1)
        stem = nn.Sequential(
            ("stem", nn.Sequential(conv, ChannelShuffle(hidden))), ("act", nn.ReLU6())
        )
        self.append("stem", "features.0", stem, channels, 2)
        stage = 0
        for index, row in enumerate(ROWS[config.size], start=1):
            stage += row.stride - 1  # a stage starts where the map shrinks
            block = MicroBlock(config, self.out_channels, row)
            self.append(f"stage{stage}", f"features.{index}", block, row.out_channels, row.stride)
        self.classifier = nn.Sequential(
            NormSwish(self.out_channels, config.features), nn.Dropout(config.dropout_rate)
        )
        if config.num_classes:
            self.classifier.add_sublayer("2", NormSwish(config.features, config.num_classes))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = self.classifier[0](F.hardswish(global_average_pool(F.relu6(features))))
        if pre_logits or not self.config.num_classes:
            return pooled
        return self.classifier[2](self.classifier[1](pooled))

    def stages(self) -> dict[str, tuple[str, ...]]:
        return {**super().stages(), "head": ("classifier.0", *self.head)}
