"""ViT: a plain transformer reads an image as a row of patches.

Paper: "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", Dosovitskiy et
al. 2020, https://arxiv.org/abs/2010.11929
"""

from __future__ import annotations

from functools import partial

from paddle import nn
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveFloat

from ppclas_models.layers.attention import SelfAttention
from ppclas_models.layers.vision_transformer import VisionTransformer, VisionTransformerConfig

models = Variants()


class ViTConfig(VisionTransformerConfig):
    """A ViT."""

    qkv_bias: bool = True
    """Whether queries, keys and values have one."""
    attention_scale: PositiveFloat | None = None
    """Factor on the products of queries and keys; by default one over the square root of a head's
    width."""


# The paper's table 1.
Base = partial(ViTConfig, embed_dim=768, depth=12, num_heads=12)
Large = partial(ViTConfig, embed_dim=1024, depth=24, num_heads=16)


@models.register(
    # Not in the paper: fewer heads and blocks, and a scale by the whole width.
    ViT_small_patch16_224=ViTConfig(
        embed_dim=768,
        depth=8,
        num_heads=8,
        mlp_ratio=3.0,
        qkv_bias=False,
        attention_scale=768**-0.5,
        epsilon=1e-5,
    ),
    ViT_base_patch16_224=Base(),
    ViT_base_patch16_384=Base(image_size=384),
    ViT_base_patch32_384=Base(patch_size=32, image_size=384),
    ViT_large_patch16_224=Large(),
    ViT_large_patch16_384=Large(image_size=384),
    ViT_large_patch32_384=Large(patch_size=32, image_size=384),
)
class ViT(VisionTransformer):
    """Images [N, in_channels, H, W] → logits [N, num_classes].

    Raises:
        ShapeError: an image is smaller than a patch.
    """

    config: ViTConfig

    def attention(self) -> nn.Layer:
        config = self.config
        return SelfAttention(
            config.embed_dim,
            config.num_heads,
            qkv_bias=config.qkv_bias,
            scale=config.attention_scale,
        )
