"""Xception as DeepLabv3+ changed it: strided convolutions for the pools, batch norm after each
depthwise convolution.

Paper: "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", Chen et
    al. 2018, section 3,
https://arxiv.org/abs/1802.02611
"""

from __future__ import annotations

from functools import partial

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.conv_norm import SHORT, ConvNorm

models = Variants()

ENTRY_CHANNELS = (128, 256, 728)
EXIT_CHANNELS = ((728, 1024, 1024), (1536, 1536, 2048))
"""Of the three convolutions in each of the two blocks of the exit flow."""
EPSILON = 1e-3
"""Of all batch norms."""

Conv = partial(ConvNorm, keys=SHORT, epsilon=EPSILON)


class XceptionDeepLabConfig(ModelConfig):
    """An Xception of DeepLabv3+."""

    layers: PositiveInt
    """Convolutions, a separable one counted once: part of the checkpoints' names."""
    middle: PositiveInt
    """Blocks of the middle flow."""
    last_dilation: PositiveInt = 2
    """Of the last three 3x3 convolutions. Weights from timm were trained with 1."""


class SeparableConv(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]: 3x3 in each channel,
    then 1x1 across.

    A batch norm follows each of the two, and a ReLU where ``relu`` is set. ``dilation`` is the
    3x3's.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        dilation: int = 1,
        *,
        relu: bool = False,
    ) -> None:
        super().__init__()
        self._conv1 = conv2d(
            in_channels, in_channels, 3, stride, dilation=dilation, groups=in_channels
        )
        self._bn1 = nn.BatchNorm2D(in_channels, epsilon=EPSILON)
        self._conv2 = conv2d(in_channels, out_channels, 1)
        self._bn2 = nn.BatchNorm2D(out_channels, epsilon=EPSILON)
        self.act = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self._bn2(self._conv2(self.act(self._bn1(self._conv1(x))))))


class ResidualBlock(nn.Layer):
    """[N, in_channels, H, W] → [N, channels[2], ⌈H / stride⌉, ⌈W / stride⌉]: three convolutions
    beside a shortcut.

    A ReLU goes before each convolution; the last one has the stride. The shortcut is a 1x1 where
    ``project`` is set.
    """

    def __init__(
        self, in_channels: int, channels: tuple[int, int, int], stride: int, *, project: bool
    ) -> None:
        super().__init__()
        first, second, third = channels
        self._conv1 = SeparableConv(in_channels, first)
        self._conv2 = SeparableConv(first, second)
        self._conv3 = SeparableConv(second, third, stride)
        self._short = Conv(in_channels, third, 1, stride) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        new = self._conv3(F.relu(self._conv2(F.relu(self._conv1(F.relu(x))))))
        return self._short(x) + new


class LastBlock(nn.Sequential):
    """[N, in_channels, H, W] → [N, channels[2], H, W]: three dilated convolutions, ReLUs inside and
    after.
    """

    def __init__(self, in_channels: int, channels: tuple[int, int, int], dilation: int) -> None:
        first, second, third = channels
        super().__init__(
            ("_conv1", SeparableConv(in_channels, first, dilation=dilation, relu=True)),
            ("_conv2", SeparableConv(first, second, dilation=dilation, relu=True)),
            ("_conv3", SeparableConv(second, third, dilation=dilation, relu=True)),
        )


@models.register(
    Xception41_deeplab=XceptionDeepLabConfig(layers=41, middle=8),
    Xception65_deeplab=XceptionDeepLabConfig(layers=65, middle=16),
)
class XceptionDeepLab(ChainModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes]."""

    head = ("_fc",)
    config: XceptionDeepLabConfig

    def __init__(self, config: XceptionDeepLabConfig) -> None:
        super().__init__(config)
        prefix = f"xception_{config.layers}"
        self.append("stem", "_conv1", Conv(config.in_channels, 32, 3, 2, act=nn.ReLU()), 32, 2)
        self.append("stem", "_conv2", Conv(32, 64, 3, act=nn.ReLU()), 64)
        for number, channels in enumerate(ENTRY_CHANNELS, start=1):
            entry = ResidualBlock(self.out_channels, (channels,) * 3, 2, project=True)
            self.append(f"entry{number}", f"{prefix}/entry_flow/block{number}", entry, channels, 2)
        for number in range(1, config.middle + 1):
            middle = ResidualBlock(self.out_channels, (self.out_channels,) * 3, 1, project=False)
            self.append("middle", f"{prefix}/middle_flow/block{number}", middle, self.out_channels)
        first, last = EXIT_CHANNELS
        self.append(
            "exit",
            "_exit_flow_1",
            ResidualBlock(self.out_channels, first, 2, project=True),
            first[2],
            2,
        )
        self.append(
            "exit",
            "_exit_flow_2",
            LastBlock(self.out_channels, last, config.last_dilation),
            last[2],
        )
        # Halves the features in evaluation rather than doubling them in training.
        self.close(self.out_channels, nn.Dropout(0.5, mode="downscale_in_infer"))
