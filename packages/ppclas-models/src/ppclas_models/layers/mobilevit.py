"""The frame of MobileViTs since version 2: five stages of inverted residuals, the last three with
a block that attends across patches.

Papers: "Separable Self-attention for Mobile Vision Transformers", Mehta & Rastegari 2022,
https://arxiv.org/abs/2206.02680; "MobileViTv3: Mobile-Friendly Vision Transformer with Simple and
Effective Fusion of Local, Global and Input Features", Wadekar & Chaurasia 2022,
https://arxiv.org/abs/2209.15159
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from paddle import Tensor, nn
from ppclas_core.contracts.model_config import ModelConfig
from pydantic import Field, PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv_norm import ConvNorm, ConvNormKeys

Conv = partial(ConvNorm, keys=ConvNormKeys("conv", "norm"))
Three = tuple[PositiveInt, PositiveInt, PositiveInt]


class MobileViTConfig(ModelConfig):
    """A MobileViT."""

    channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Of the stem and the five stages."""
    embed_dims: Three
    """Features of a token in the last three stages."""
    depths: Three = (2, 4, 3)
    """Transformer blocks in the last three stages."""
    expansion: PositiveInt
    """Hidden channels of an inverted residual per channel of its input."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Of what a transformer's branches add."""


class InvertedResidual(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]: expand, depthwise,
    linear projection; the input is added where the shape stays.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = expansion * in_channels
        self.residual = stride == 1 and in_channels == out_channels
        self.block = nn.Sequential(
            ("exp_1x1", Conv(in_channels, hidden, 1, act=nn.Silu())),
            ("conv_3x3", Conv(hidden, hidden, 3, stride, groups=hidden, act=nn.Silu())),
            ("red_1x1", Conv(hidden, out_channels, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.residual else self.block(x)


class TwoBranches(nn.Layer):
    """A transformer block: ``attention``, called ``name``, then ``mlp``, called ``pre_norm_ffn``,
    each added to what it gets. Both begin with a norm.
    """

    def __init__(self, name: str, attention: nn.Layer, mlp: nn.Layer) -> None:
        super().__init__()
        self.name = name
        self.add_sublayer(name, attention)
        self.pre_norm_ffn = mlp

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._sub_layers[self.name](x)
        return x + self.pre_norm_ffn(x)


class MobileViTNet(ChainModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes].

    A family says what attends, and what comes after the last stage.
    """

    head = ("classifier.fc",)
    small_blocks: ClassVar[int]
    """Inverted residuals of the second stage."""
    config: MobileViTConfig

    def __init__(self, config: MobileViTConfig) -> None:
        super().__init__(config)
        stem, *channels = config.channels
        conv = Conv(config.in_channels, stem, 3, 2, act=nn.Silu())
        self.append("stem", "conv_1", conv, stem, 2)
        for number, out_channels in enumerate(channels, 1):
            stride = 1 if number == 1 else 2
            layers: list[nn.Layer] = [self._residual(self.out_channels, out_channels, stride)]
            if number == 2:
                layers += [
                    self._residual(out_channels, out_channels, 1)
                    for _ in range(self.small_blocks - 1)
                ]
            if number > 2:
                dim, depth = config.embed_dims[number - 3], config.depths[number - 3]
                layers.append(self.attention_block(out_channels, dim, depth))
            stage = nn.Sequential(*layers)
            self.append(f"stage{number}", f"layer_{number}", stage, out_channels, stride)

    def _residual(self, in_channels: int, out_channels: int, stride: int) -> InvertedResidual:
        return InvertedResidual(in_channels, out_channels, stride, self.config.expansion)

    def attention_block(self, channels: int, dim: int, depth: int) -> nn.Layer:
        """What attends across patches: [N, channels, H, W] → the same shape, with ``depth``
        transformer blocks on tokens of ``dim`` features.
        """
        raise NotImplementedError
