"""FastViT: a hybrid of convolutions and attention, whose convolutions lose their branches and
shortcuts after training.

Paper: "FastViT: A Fast Hybrid Vision Transformer using Structural Reparameterization", Vasu et al.
2023, https://arxiv.org/abs/2303.14189
"""

from __future__ import annotations

from functools import partial

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveInt

from ppclas_models.layers.attention import SelfAttention
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.conv_norm import ConvNorm
from ppclas_models.layers.layer_scale import LayerScale
from ppclas_models.layers.mobileone import Branches, LinearBlock, MobileOneBlock
from ppclas_models.layers.reparam import (
    Folded,
    FusibleConfig,
    FusibleModel,
    fold,
    identity_kernel,
)
from ppclas_models.layers.squeeze_excite import ConvSqueezeExcite, sigmoid
from ppclas_models.layers.stochastic_depth import DropPath, drop_path_rates

models = Variants()

HEAD_WIDTH = 32
"""Features of an attention head."""
LAST_RATIO = 2
"""Features before the classifier over the channels of the last stage."""

_WEIGHT = TruncatedNormal(std=0.02)


class FastViTConfig(FusibleConfig):
    """A FastViT."""

    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Blocks in each stage."""
    channels: PositiveInt = 64
    """Of the first stage; each next one has twice as many."""
    mlp_ratio: PositiveInt = 4
    """Hidden channels of the MLPs over the block's."""
    attention: bool = False
    """Self-attention mixes the positions in the last stage, after a position encoding."""
    drop_path_rate: float = Field(0.0, ge=0, lt=1)
    """Of the last block."""


class LargeKernelConv(Branches):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / 2⌉, ⌈W / 2⌉]: the sum of a 7x7 and a 3x3
    convolution, each input channel by itself.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 7, 2, in_channels)
        self.large_conv = ConvNorm(in_channels, out_channels, 7, 2, in_channels)
        self.small_conv = ConvNorm(in_channels, out_channels, 3, 2, in_channels)

    def branches(self, x: Tensor) -> Tensor:
        return self.large_conv(x) + self.small_conv(x)

    def folded(self) -> list[Folded]:
        return [fold(conv.conv.weight, conv.bn) for conv in (self.large_conv, self.small_conv)]


class RepMixer(Branches):
    """[N, channels, H, W] → the same: neighbours are mixed by a depthwise 3x3, less the input,
    scaled and added to the input (section 3.2).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, 1, channels)
        self.norm = nn.BatchNorm2D(channels)
        self.mixer = LinearBlock(channels, channels, 3, groups=channels)
        self.layer_scale = LayerScale(channels)

    def branches(self, x: Tensor) -> Tensor:
        return x + self.layer_scale(self.mixer(x) - self.norm(x))

    def folded(self) -> list[Folded]:
        gamma = self.layer_scale.gamma
        identity = identity_kernel(self.in_channels, self.groups, gamma.dtype)
        kernel, bias = fold(identity, self.norm)
        scaled = [*self.mixer.folded(), (-kernel, -bias)]
        return [
            (identity, paddle.zeros_like(gamma)),
            *((part * gamma.reshape([-1, 1, 1, 1]), offset * gamma) for part, offset in scaled),
        ]


class PositionEncoding(Branches):
    """[N, channels, H, W] → the same: a depthwise 7x7, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 7, 1, channels)
        self.pos_enc = conv2d(channels, channels, 7, groups=channels, bias=True, linear=True)

    def branches(self, x: Tensor) -> Tensor:
        return x + self.pos_enc(x)

    def folded(self) -> list[Folded]:
        bias = self.pos_enc.bias
        identity = identity_kernel(self.in_channels, self.groups, bias.dtype)
        return [(self.pos_enc.weight, bias), (identity, paddle.zeros_like(bias))]


class MapAttention(SelfAttention):
    """Self-attention between all positions, [N, dim, H, W] → the same."""

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        height, width = x.shape[2:]
        tokens = super().forward(x.flatten(2).transpose([0, 2, 1]), bias)
        return tokens.transpose([0, 2, 1]).reshape([0, 0, height, width])


class ConvMlp(nn.Layer):
    """[N, channels, H, W] → the same: a depthwise 7x7, then two 1x1 convolutions with ``hidden``
    channels between.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv = ConvNorm(channels, channels, 7, groups=channels, weight=_WEIGHT)
        self.fc1 = conv2d(channels, hidden, 1, bias=True, weight=_WEIGHT)
        self.fc2 = conv2d(hidden, channels, 1, bias=True, weight=_WEIGHT)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.conv(x))))


class RepMixerBlock(nn.Layer):
    """[N, channels, H, W] → the same: neighbours are mixed, then an MLP is scaled and added."""

    def __init__(self, channels: int, mlp_ratio: int, drop_path_rate: float) -> None:
        super().__init__()
        self.token_mixer = RepMixer(channels)
        self.mlp = ConvMlp(channels, mlp_ratio * channels)
        self.layer_scale = LayerScale(channels)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = self.token_mixer(x)
        return x + self.drop_path(self.layer_scale(self.mlp(x)))


class AttentionBlock(nn.Layer):
    """[N, channels, H, W] → the same: attention, then an MLP, each scaled and added."""

    def __init__(self, channels: int, mlp_ratio: int, drop_path_rate: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2D(channels)
        self.token_mixer = MapAttention(channels, channels // HEAD_WIDTH, qkv_bias=False)
        self.layer_scale_1 = LayerScale(channels)
        self.mlp = ConvMlp(channels, mlp_ratio * channels)
        self.layer_scale_2 = LayerScale(channels)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.layer_scale_1(self.token_mixer(self.norm(x))))
        return x + self.drop_path(self.layer_scale_2(self.mlp(x)))


# The paper's table 3.
SA = partial(FastViTConfig, attention=True)


@models.register(
    FastViT_t8=FastViTConfig(depths=(2, 2, 4, 2), channels=48, mlp_ratio=3),
    FastViT_t12=FastViTConfig(depths=(2, 2, 6, 2), mlp_ratio=3),
    FastViT_s12=FastViTConfig(depths=(2, 2, 6, 2)),
    FastViT_sa12=SA(depths=(2, 2, 6, 2), drop_path_rate=0.1),
    FastViT_sa24=SA(depths=(4, 4, 12, 4), drop_path_rate=0.1),
    FastViT_sa36=SA(depths=(6, 6, 18, 6), drop_path_rate=0.2),
    FastViT_ma36=SA(depths=(6, 6, 18, 6), channels=76, drop_path_rate=0.35),
)
class FastViT(FusibleModel):
    """A stem and four stages of blocks. Images [N, in_channels, H, W] → logits [N, num_classes].

    ``fuse`` leaves one convolution of a mixing of neighbours, its shortcut included.
    """

    config: FastViTConfig

    def __init__(self, config: FastViTConfig) -> None:
        super().__init__(config)
        first = config.channels
        for index, (kernel_size, stride, groups) in enumerate(
            ((3, 2, 1), (3, 2, first), (1, 1, 1))
        ):
            layer = MobileOneBlock(
                self.out_channels, first, kernel_size, stride, groups, act=nn.GELU()
            )
            self.append("stem", f"stem.{index}", layer, first, stride)
        for index, rates in enumerate(drop_path_rates(config.drop_path_rate, config.depths)):
            stage, channels = f"stage{index + 1}", first * 2**index
            if index > 0:
                self._append_shrinking(stage, f"stages.{index}.downsample", channels)
            block: type[RepMixerBlock | AttentionBlock] = RepMixerBlock
            if config.attention and index == 3:
                block = AttentionBlock
                encoding = PositionEncoding(channels)
                self.append(stage, f"stages.{index}.pos_emb", encoding, channels)
            for position, rate in enumerate(rates):
                layer = block(channels, config.mlp_ratio, rate)
                self.append(stage, f"stages.{index}.blocks.{position}", layer, channels)
        features = LAST_RATIO * channels
        gate = ConvSqueezeExcite(features, features // 16, sigmoid)
        last = MobileOneBlock(
            channels, features, 3, groups=channels, act=nn.GELU(), squeeze_excite=gate
        )
        self.append(stage, "final_conv", last, features)
        self.close(features, weight=_WEIGHT)

    def _append_shrinking(self, stage: str, name: str, channels: int) -> None:
        spread = LargeKernelConv(self.out_channels, channels)
        self.append(stage, f"{name}.0", spread, channels, 2)
        mix = MobileOneBlock(channels, channels, 1, act=nn.GELU())
        self.append(stage, f"{name}.1", mix, channels)
