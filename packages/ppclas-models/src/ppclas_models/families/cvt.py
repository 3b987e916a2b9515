"""CvT: convolutions make the tokens and the queries, keys and values of a transformer in three
stages; nothing else says where a token stands.

Paper: "CvT: Introducing Convolutions to Vision Transformers", Wu et al. 2021,
https://arxiv.org/abs/2103.15808
"""

from __future__ import annotations

from functools import partial

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.contracts.image_model import Feature, ImageModel
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveInt

from ppclas_models.layers.attention import attend, split_heads
from ppclas_models.layers.conv_norm import ConvNorm
from ppclas_models.layers.encoder import EncoderBlock, TokensToMap
from ppclas_models.layers.mlp import Mlp, linear
from ppclas_models.layers.patch_embed import PatchEmbed
from ppclas_models.layers.stochastic_depth import drop_path_rates

models = Variants()

MLP_RATIO = 4
"""Hidden features of an MLP per feature of a token."""
STRIDES = (4, 8, 16)
"""Input pixels per token along height and width, in each stage."""

Three = tuple[PositiveInt, PositiveInt, PositiveInt]


class CvTConfig(ModelConfig):
    """A CvT."""

    channels: Three = (64, 192, 384)
    """Features of each stage."""
    depths: Three
    """Blocks in each stage."""
    num_heads: Three = (1, 3, 6)
    """Of each stage."""
    drop_path_rate: float = Field(0.1, ge=0, lt=1)
    """Stochastic depth of the last block; it grows linearly from 0 in the last stage and is 0 in
    the others."""


class ConvAttention(nn.Layer):
    """Tokens [N, prefix + H * W, dim] → the same shape: self-attention whose queries, keys and
    values come from depthwise 3x3 convolutions, those of keys and values with stride 2 (section
    3.2). The first ``prefix`` tokens, which stand for no place, are not convolved.
    """

    def __init__(self, dim: int, num_heads: int, prefix: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        # Of the whole width, not of a head's.
        self.scale = dim**-0.5
        self.prefix = prefix
        self.conv_proj_q = ConvNorm(dim, dim, 3, 1, groups=dim)
        self.conv_proj_k = ConvNorm(dim, dim, 3, 2, groups=dim)
        self.conv_proj_v = ConvNorm(dim, dim, 3, 2, groups=dim)
        self.proj_q = linear(dim, dim)
        self.proj_k = linear(dim, dim)
        self.proj_v = linear(dim, dim)
        self.proj = linear(dim, dim)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        first, places = tokens[:, : self.prefix], tokens[:, self.prefix :]
        x = places.transpose([0, 2, 1]).reshape([0, 0, height, width])
        queries = self.proj_q(self.joined(first, self.conv_proj_q(x)))
        keys = self.proj_k(self.joined(first, self.conv_proj_k(x)))
        values = self.proj_v(self.joined(first, self.conv_proj_v(x)))
        heads = [split_heads(part, self.num_heads)[0] for part in (queries, keys, values)]
        return self.proj(attend(heads[0], heads[1], heads[2], self.scale))

    def joined(self, first: Tensor, x: Tensor) -> Tensor:
        """Tokens [N, prefix, dim] and a map [N, dim, h, w] → [N, prefix + h * w, dim]."""
        places = x.flatten(2).transpose([0, 2, 1])
        return paddle.concat([first, places], axis=1) if self.prefix else places


def quick_gelu(x: Tensor) -> Tensor:
    """``x * sigmoid(1.702 x)``, which is close to the GELU."""
    return x * F.sigmoid(1.702 * x)


class Stage(nn.Layer):
    """[N, in_channels, H, W] → tokens [N, prefix + h * w, dim], with the map's ``h`` and ``w``. The
    last stage has one token for the whole image, ``cls_token``, before the others.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        num_heads: int,
        rates: list[float],
        *,
        first: bool,
        last: bool,
    ) -> None:
        super().__init__()
        self.patch_embed = (
            PatchEmbed(in_channels, dim, 7, 4, padding=2, norm=True)
            if first
            else PatchEmbed(in_channels, dim, 3, 2, norm=True)
        )
        self.cls_token = None
        if last:
            self.cls_token = self.create_parameter(
                [1, 1, dim], default_initializer=TruncatedNormal(std=0.02)
            )
        self.blocks = nn.LayerList(
            EncoderBlock(
                dim,
                ConvAttention(dim, num_heads, prefix=int(last)),
                Mlp(dim, MLP_RATIO * dim, quick_gelu),
                drop_path_rate=rate,
            )
            for rate in rates
        )

    def forward(self, x: Tensor) -> tuple[Tensor, int, int]:
        x = self.patch_embed(x)
        height, width = x.shape[2:]
        tokens = x.flatten(2).transpose([0, 2, 1])
        if self.cls_token is not None:
            # Zeros of the batch's size: an export knows it only when it runs.
            first = paddle.zeros_like(tokens[:, :1]) + self.cls_token
            tokens = paddle.concat([first, tokens], axis=1)
        for block in self.blocks:
            tokens = block(tokens, height, width)
        return tokens, height, width


Wide = partial(
    CvTConfig,
    channels=(192, 768, 1024),
    depths=(2, 2, 20),
    num_heads=(3, 12, 16),
    drop_path_rate=0.3,
)


# The paper's table 2.
@models.register(
    CvT_13_224=CvTConfig(depths=(1, 2, 10)),
    CvT_13_384=CvTConfig(depths=(1, 2, 10)),
    CvT_21_224=CvTConfig(depths=(1, 4, 16)),
    CvT_21_384=CvTConfig(depths=(1, 4, 16)),
    CvT_W24_384=Wide(),
)
class CvT(ImageModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes]."""

    head = ("head",)
    config: CvTConfig

    def __init__(self, config: CvTConfig) -> None:
        super().__init__(config)
        in_channels = config.in_channels
        last = len(config.channels) - 1
        for index, dim in enumerate(config.channels):
            depth = config.depths[index]
            rate = config.drop_path_rate if index == last else 0.0
            stage = Stage(
                in_channels,
                dim,
                config.num_heads[index],
                drop_path_rates(rate, [depth])[0],
                first=index == 0,
                last=index == last,
            )
            self.add_sublayer(f"stage{index}", stage)
            self.add_sublayer(f"map{index}", TokensToMap(int(index == last)))
            in_channels = dim
        self.norm = nn.LayerNorm(in_channels)
        if config.num_classes:
            self.add_sublayer("head", linear(in_channels, config.num_classes))

    def forward_features(self, images: Tensor) -> Tensor:
        """Tokens [N, 1 + H / 16 * W / 16, C]: the image's, then one per place, row by row."""
        tokens, height, width = self.stage0(images)
        tokens, height, width = self.stage1(self.map0(tokens, height, width))
        tokens, height, width = self.stage2(self.map1(tokens, height, width))
        tokens = self.norm(tokens)
        self.map2(tokens, height, width)  # for who listens there: see ``feature_info``
        return tokens

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = features[:, 0]
        if pre_logits or not self.config.num_classes:
            return pooled
        return self._sub_layers["head"](pooled)

    def feature_info(self) -> list[Feature]:
        return [
            Feature(f"map{index}", channels, STRIDES[index])
            for index, channels in enumerate(self.config.channels)
        ]

    def stages(self) -> dict[str, tuple[str, ...]]:
        return {
            "stage1": ("stage0",),
            "stage2": ("stage1",),
            "stage3": ("stage2", "norm"),
            "head": self.head,
        }
