"""The frame of the ConvNeXts: four stages of blocks around a depthwise 7x7 convolution, a layer
norm before each convolution that shrinks the map.

Paper: "A ConvNet for the 2020s", Liu et al. 2022, https://arxiv.org/abs/2201.03545
"""

from __future__ import annotations

from functools import partial

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from paddle.nn.initializer import Constant, TruncatedNormal
from ppclas_core.contracts.model_config import ModelConfig
from pydantic import Field, PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels_last import (
    MapLayerNorm,
    to_channels_first,
    to_channels_last,
)
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.mlp import linear
from ppclas_models.layers.pool import global_average_pool
from ppclas_models.layers.stochastic_depth import DropPath, drop_path_rates

EPSILON = 1e-6
"""Added to the variances of the layer norms."""

Conv = partial(conv2d, bias=True, weight=TruncatedNormal(std=0.02))


class ConvNeXtConfig(ModelConfig):
    """A ConvNeXt."""

    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Blocks in each stage."""
    channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Of each stage's maps."""
    drop_path_rate: float = Field(0.1, ge=0, lt=1)
    """Of the last block; the paper trains the larger ones with up to 0.5."""


class ConvNeXtBlock(nn.Layer):
    """[N, channels, H, W] → the same: a depthwise 7x7, then two linear layers on each position,
    added to the input.

    ``layer_scale`` is the first value of one factor for each channel of the branch; None: there
    are no such factors. Between the linear layers ``grn`` follows the activation.
    """

    def __init__(
        self,
        channels: int,
        drop_path_rate: float,
        layer_scale: float | None,
        grn: nn.Layer | None = None,
    ) -> None:
        super().__init__()
        self.dwconv = Conv(channels, channels, 7, groups=channels)
        self.norm = nn.LayerNorm(channels, EPSILON)
        self.pwconv1 = linear(channels, 4 * channels)
        self.grn = grn or nn.Identity()
        self.pwconv2 = linear(4 * channels, channels)
        self.gamma = (
            self.create_parameter([channels], default_initializer=Constant(layer_scale))
            if layer_scale is not None
            else None
        )
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(to_channels_last(self.dwconv(x)))
        y = self.pwconv2(self.grn(F.gelu(self.pwconv1(y))))
        if self.gamma is not None:
            y = y * self.gamma
        return x + self.drop_path(to_channels_first(y))


class ConvNeXtModel(ChainModel):
    """Four stages of blocks, each after a convolution that shrinks the map. Images [N,
    in_channels, H, W] → logits [N, num_classes].

    The stage ``head`` holds the norm of the pooled features as well.
    """

    head = ("head",)
    config: ConvNeXtConfig

    def __init__(self, config: ConvNeXtConfig) -> None:
        super().__init__(config)
        rates = drop_path_rates(config.drop_path_rate, config.depths)
        for index, channels in enumerate(config.channels):
            stage, shrink = f"stage{index + 1}", f"downsample_layers.{index}"
            if index == 0:
                conv = Conv(self.out_channels, channels, 4, 4, padding=0)
                norm = MapLayerNorm(channels, EPSILON)
                self.append("stem", shrink, nn.Sequential(conv, norm), channels, 4)
            else:
                norm = MapLayerNorm(self.out_channels, EPSILON)
                conv = Conv(self.out_channels, channels, 2, 2, padding=0)
                self.append(stage, shrink, nn.Sequential(norm, conv), channels, 2)
            for position, rate in enumerate(rates[index]):
                self.append(
                    stage, f"stages.{index}.{position}", self.block(channels, rate), channels
                )
        self.norm = nn.LayerNorm(self.out_channels, EPSILON)
        self.close(self.out_channels, weight=TruncatedNormal(std=0.02))

    def block(self, channels: int, drop_path_rate: float) -> nn.Layer:
        """A block of a stage with ``channels`` channels."""
        raise NotImplementedError

    def pool(self, features: Tensor) -> Tensor:
        """[N, C, h, w] → [N, C]: the mean over all positions, normalised."""
        return self.norm(global_average_pool(features))

    def stages(self) -> dict[str, tuple[str, ...]]:
        return {**super().stages(), "head": ("norm", *self.head)}
