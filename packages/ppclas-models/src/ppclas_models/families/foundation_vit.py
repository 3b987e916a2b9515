"""ViTs as foundations: what CLIP, MoCo v3, MAE, BEiT v2 and CAE learned without labels.

Papers: "Learning Transferable Visual Models From Natural Language Supervision", Radford et al.
2021, https://arxiv.org/abs/2103.00020 (CLIP);
"An Empirical Study of Training Self-Supervised Vision Transformers", Chen et al. 2021,
https://arxiv.org/abs/2104.02057 (MoCo v3);
"Masked Autoencoders Are Scalable Vision Learners", He et al. 2021,
https://arxiv.org/abs/2111.06377 (MAE);
"BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers", Peng et al. 2022,
https://arxiv.org/abs/2208.06366;
"Context Autoencoder for Self-Supervised Representation Learning", Chen et al. 2022,
https://arxiv.org/abs/2202.03026 (CAE)

Published are the networks before a classifier; its weights are those that fine-tuning starts from.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import paddle
from paddle import Tensor, nn
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.contracts.variants import Variants
from ppclas_core.errors import ShapeError
from pydantic import NonNegativeInt

from ppclas_models.layers.attention import SelfAttention
from ppclas_models.layers.positions import Grid, resize_table
from ppclas_models.layers.vision_transformer import VisionTransformer, VisionTransformerConfig
from ppclas_models.layers.window import relative_position_index

models = Variants()

EMBEDDING = 512
"""Features of the space that CLIP shares with its texts."""

BASE: Any = {"embed_dim": 768, "depth": 12, "num_heads": 12}
LARGE: Any = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
Base = partial(VisionTransformerConfig, **BASE)
Large = partial(VisionTransformerConfig, **LARGE)


class FoundationViT(VisionTransformer):
    """What the five share. Images [N, in_channels, H, W] → logits [N, num_classes].

    All published files hold ``proj`` [embed_dim, 512], which leads to CLIP's space of images and
    texts; logits do not depend on it, and it does not take gradients.
    """

    head = ("head.fc_head",)
    patch_bias = False

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__(config)
        self.proj = self.create_parameter(
            [config.embed_dim, EMBEDDING], default_initializer=TruncatedNormal(std=0.02)
        )
        self.proj.stop_gradient = True

    def stages(self) -> dict[str, tuple[str, ...]]:
        stages = super().stages()
        last = f"block{self.config.depth - 1}"
        return {**stages, last: (*stages[last], "proj")}


class CLIPConfig(VisionTransformerConfig):
    """CLIP's network for images."""

    pooled_token: NonNegativeInt = 0
    """Which token the classifier reads: 0 is the image's own, 1 the first patch."""


@models.register(
    CLIP_vit_base_patch32_224=CLIPConfig(**BASE, patch_size=32, epsilon=1e-5),
    # The published network drops the image's token after the last block, so that the first patch
    # stands where the classifier reads: files fine-tuned there count on it.
    CLIP_vit_base_patch16_224=CLIPConfig(**BASE, epsilon=1e-5, pooled_token=1),
    CLIP_vit_large_patch14_224=CLIPConfig(**LARGE, patch_size=14, epsilon=1e-5),
    CLIP_vit_large_patch14_336=CLIPConfig(**LARGE, patch_size=14, epsilon=1e-5, image_size=336),
)
class CLIPViT(FoundationViT):
    """CLIP's network for images: a norm before the first block. Its activation is the GELU, as the
    published weights are evaluated with; the paper's is an approximation of it.

    Raises:
        ShapeError: an image is smaller than a patch.
    """

    config: CLIPConfig

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config)
        self.ln_pre = nn.LayerNorm(config.embed_dim, config.epsilon)

    def add_positions(self, tokens: Tensor, grid: Grid) -> Tensor:
        return self.ln_pre(super().add_positions(tokens, grid))

    def pool(self, tokens: Tensor) -> Tensor:
        return tokens[:, self.config.pooled_token]

    def stages(self) -> dict[str, tuple[str, ...]]:
        stages = super().stages()
        return {**stages, "embed": (*stages["embed"], "ln_pre")}


@models.register(
    MOCOV3_vit_small=VisionTransformerConfig(embed_dim=384, depth=12, num_heads=12, epsilon=1e-5),
    MOCOV3_vit_base=Base(epsilon=1e-5),
    MAE_vit_base_patch16=Base(epsilon=1e-5),
    MAE_vit_large_patch16=Large(epsilon=1e-5),
    MAE_vit_huge_patch14=VisionTransformerConfig(
        embed_dim=1280, depth=32, num_heads=16, patch_size=14, epsilon=1e-5
    ),
)
class PlainViT(FoundationViT):
    """MoCo v3's and MAE's network: the plain ViT.

    Raises:
        ShapeError: an image is smaller than a patch.
    """


BEYOND = 3
"""Biases after those of the offsets: from the image's token to a patch, back, and to itself."""


class RelativeAttention(SelfAttention):
    """Tokens [N, 1 + side², dim] → the same shape: self-attention with a learned bias for each
    offset between two patches, and three more for the pairs with the image's own token. Where
    ``side`` is not ``grid`` the biases are resized.
    """

    def __init__(self, dim: int, num_heads: int, grid: int) -> None:
        super().__init__(dim, num_heads)
        self.relative_position_bias_table = self.create_parameter(
            [(2 * grid - 1) ** 2 + BEYOND, num_heads],
            default_initializer=TruncatedNormal(std=0.02),
        )

    def position_bias(self, side: int) -> Tensor:
        """[num_heads, 1 + side², 1 + side²]."""
        patches, first = side**2, (2 * side - 1) ** 2
        index = relative_position_index(side).reshape([patches, patches])
        to_patches = paddle.full([1, patches], first, index.dtype)
        from_patches = paddle.full([patches, 1], first + 1, index.dtype)
        itself = paddle.full([1, 1], first + 2, index.dtype)
        top = paddle.concat([itself, to_patches], axis=1)
        rest = paddle.concat([from_patches, index], axis=1)
        table = resize_table(self.relative_position_bias_table, side, BEYOND)
        biases = table[paddle.concat([top, rest]).flatten()]
        return biases.transpose([1, 0]).reshape([self.num_heads, patches + 1, patches + 1])

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        return super().forward(x, self.position_bias(math.isqrt(x.shape[1] - 1)))


@models.register(CAE_vit_base_patch16_224=Base())
class CAEViT(FoundationViT):
    """CAE's encoder: position embeddings and biases, and scaled branches.

    Raises:
        ShapeError: an image is smaller than a patch, or has not as many rows as columns of them.
    """

    layer_scale = 0.1

    def places(self, images: Tensor) -> Grid:
        rows, columns = super().places(images)
        if rows != columns:
            raise ShapeError(
                f"{type(self).__name__} takes square images; got {rows}x{columns} patches of "
                f"{self.config.patch_size} pixels. Crop or squash the images first."
            )
        return rows, columns

    def attention(self) -> nn.Layer:
        return RelativeAttention(self.config.embed_dim, self.config.num_heads, self.grid)


@models.register(
    BEiTv2_vit_base_patch16_224=Base(),
    BEiTv2_vit_large_patch16_224=Large(),
)
class BEiTv2(CAEViT):
    """BEiT v2's network: position biases alone, and scaled branches.

    Raises:
        ShapeError: an image is smaller than a patch.
    """

    def add_position_embedding(self) -> None:
        """Add nothing: the biases say where a token stands."""

    def add_positions(self, tokens: Tensor, grid: Grid) -> Tensor:
        return tokens
