"""VAN: attention made of large convolutions, each split into a depthwise, a dilated and a 1x1 one.

Paper: "Visual Attention Network", Guo et al. 2022, https://arxiv.org/abs/2202.09741
"""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from paddle.nn.initializer import Constant, Normal, TruncatedNormal
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels_last import MapLayerNorm
from ppclas_models.layers.stochastic_depth import DropPath, drop_path_rates

models = Variants()

MLP_RATIOS = (8, 8, 4, 4)
"""Hidden channels of the MLPs over the block's, in each stage."""
EPSILON = 1e-6
"""Added to the variances of the layer norms."""
LAYER_SCALE = 0.01
"""First value of the factors on each branch."""


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    *,
    dilation: int = 1,
    groups: int = 1,
) -> nn.Conv2D:
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉], with a bias; the
    weights' variance is two over the fan-out.
    """
    fan_out = kernel_size**2 * out_channels // groups
    return nn.Conv2D(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding=dilation * (kernel_size // 2),
        dilation=dilation,
        groups=groups,
        weight_attr=Normal(std=(2 / fan_out) ** 0.5),
    )


class VANConfig(ModelConfig):
    """A VAN."""

    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Blocks in each stage."""
    channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Of each stage's maps."""
    drop_path_rate: float = Field(0.1, ge=0, lt=1)
    """Of the last block."""


class LargeKernelAttention(nn.Layer):
    """[N, channels, H, W] → the same, times what a 21x21 convolution, decomposed, makes of it
    (section 3.1).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = conv(channels, channels, 5, groups=channels)
        self.conv_spatial = conv(channels, channels, 7, dilation=3, groups=channels)
        self.conv1 = conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv1(self.conv_spatial(self.conv0(x)))


class Attention(nn.Layer):
    """[N, channels, H, W] → the same: large-kernel attention between two 1x1 convolutions, added
    to the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj_1 = conv(channels, channels, 1)
        self.spatial_gating_unit = LargeKernelAttention(channels)
        self.proj_2 = conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.proj_2(self.spatial_gating_unit(F.gelu(self.proj_1(x))))


class ConvMlp(nn.Layer):
    """[N, channels, H, W] → the same: 1x1, depthwise 3x3, 1x1, with ``hidden`` channels between."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = conv(channels, hidden, 1)
        self.dwconv = nn.Sequential(("dwconv", conv(hidden, hidden, 3, groups=hidden)))
        self.fc2 = conv(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.dwconv(self.fc1(x))))


class VANBlock(nn.Layer):
    """[N, channels, H, W] → the same: attention, then an MLP, each scaled and added to its
    input.
    """

    def __init__(self, channels: int, mlp_ratio: int, drop_path_rate: float) -> None:
        super().__init__()
        shape, first = [channels, 1, 1], Constant(LAYER_SCALE)
        self.layer_scale_1 = self.create_parameter(shape, default_initializer=first)
        self.layer_scale_2 = self.create_parameter(shape, default_initializer=first)
        self.norm1 = nn.BatchNorm2D(channels)
        self.attn = Attention(channels)
        self.norm2 = nn.BatchNorm2D(channels)
        self.mlp = ConvMlp(channels, mlp_ratio * channels)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.layer_scale_1 * self.attn(self.norm1(x)))
        return x + self.drop_path(self.layer_scale_2 * self.mlp(self.norm2(x)))


@models.register(
    VAN_B0=VANConfig(depths=(3, 3, 5, 2), channels=(32, 64, 160, 256)),
    VAN_B1=VANConfig(depths=(2, 2, 4, 2), channels=(64, 128, 320, 512)),
    VAN_B2=VANConfig(depths=(3, 3, 12, 3), channels=(64, 128, 320, 512)),
    VAN_B3=VANConfig(depths=(3, 5, 27, 3), channels=(64, 128, 320, 512)),
)
class VAN(ChainModel):
    """Four stages of blocks, each between a strided convolution and a norm. Images [N,
    in_channels, H, W] → logits [N, num_classes].
    """

    head = ("head",)
    config: VANConfig

    def __init__(self, config: VANConfig) -> None:
        super().__init__(config)
        rates = drop_path_rates(config.drop_path_rate, config.depths)
        for number, (channels, ratio) in enumerate(
            zip(config.channels, MLP_RATIOS, strict=True), start=1
        ):
            stage = f"stage{number}"
            size, stride = (7, 4) if number == 1 else (3, 2)
            embed = nn.Sequential(
                ("proj", conv(self.out_channels, channels, size, stride)),
                ("norm", nn.BatchNorm2D(channels)),
            )
            self.append(stage, f"patch_embed{number}", embed, channels, stride)
            for position, rate in enumerate(rates[number - 1]):
                block = VANBlock(channels, ratio, rate)
                self.append(stage, f"block{number}.{position}", block, channels)
            self.append(stage, f"norm{number}", MapLayerNorm(channels, EPSILON), channels)
        self.close(channels, weight=TruncatedNormal(std=0.02))
