"""TNT: a transformer in a transformer, for the pixels within each patch and for the patches.

Paper: "Transformer in Transformer", Han et al. 2021, https://arxiv.org/abs/2103.00112
"""

from __future__ import annotations

import paddle
from paddle import Tensor, nn
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.contracts.image_model import Feature, ImageModel
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import Field, PositiveInt

from ppclas_models.layers.attention import attend, split_heads
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.encoder import TokensToMap
from ppclas_models.layers.mlp import Mlp, linear
from ppclas_models.layers.positions import Grid, patch_grid, resize_embedding
from ppclas_models.layers.stochastic_depth import DropPath, drop_path_rates
from ppclas_models.layers.window import partition

models = Variants()

PATCH_SIZE = 16
"""Side of a patch, in pixels of the image."""
INNER_SIDE = 4
"""Side of a patch, in inner tokens: each stands for 4x4 pixels."""
INNER_HEADS = 4
MLP_RATIO = 4
"""Hidden features of an MLP per feature of a token."""


class TNTConfig(ModelConfig):
    """A TNT."""

    embed_dim: PositiveInt
    """Features per patch."""
    inner_dim: PositiveInt
    """Features per inner token."""
    depth: PositiveInt = 12
    """Blocks."""
    num_heads: PositiveInt
    """Of the attention across patches."""
    image_size: PositiveInt = 224
    """Side of the images, in pixels; it decides the number of position embeddings."""
    drop_path_rate: float = Field(0.1, ge=0, lt=1)
    """Stochastic depth of the last block; it grows linearly from 0."""


class Attention(nn.Layer):
    """Tokens [N, L, dim] → the same shape: self-attention without biases before the products."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qk = linear(dim, 2 * dim, bias=False)
        self.v = linear(dim, dim, bias=False)
        self.proj = linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys = split_heads(self.qk(x), self.num_heads, 2)
        (values,) = split_heads(self.v(x), self.num_heads)
        return self.proj(attend(queries, keys, values, self.scale))


class Block(nn.Layer):
    """Inner tokens [N * patches, 16, inner_dim] and patches [N, 1 + patches, embed_dim] → the same
    shapes. The inner tokens look at those of their patch, tell the patch what they see, and the
    patches look at each other.
    """

    def __init__(self, config: TNTConfig, drop_path_rate: float) -> None:
        super().__init__()
        inner, outer = config.inner_dim, config.embed_dim
        self.drop_path = DropPath(drop_path_rate)
        self.norm_in = nn.LayerNorm(inner)
        self.attn_in = Attention(inner, INNER_HEADS)
        self.norm_mlp_in = nn.LayerNorm(inner)
        self.mlp_in = Mlp(inner, MLP_RATIO * inner)
        self.norm1_proj = nn.LayerNorm(INNER_SIDE**2 * inner)
        self.proj = linear(INNER_SIDE**2 * inner, outer, bias=False)
        self.norm2_proj = nn.LayerNorm(outer)
        self.norm_out = nn.LayerNorm(outer)
        self.attn_out = Attention(outer, config.num_heads)
        self.norm_mlp = nn.LayerNorm(outer)
        self.mlp = Mlp(outer, MLP_RATIO * outer)

    def forward(self, pixels: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        pixels = pixels + self.drop_path(self.attn_in(self.norm_in(pixels)))
        pixels = pixels + self.drop_path(self.mlp_in(self.norm_mlp_in(pixels)))
        within = pixels.reshape([-1, patches.shape[1] - 1, INNER_SIDE**2 * pixels.shape[-1]])
        told = self.norm2_proj(self.proj(self.norm1_proj(within)))
        patches = paddle.concat([patches[:, :1], patches[:, 1:] + told], axis=1)
        patches = patches + self.drop_path(self.attn_out(self.norm_out(patches)))
        return pixels, patches + self.drop_path(self.mlp(self.norm_mlp(patches)))


# The paper's table 1.
@models.register(
    TNT_small=TNTConfig(embed_dim=384, inner_dim=24, num_heads=6),
    TNT_base=TNTConfig(embed_dim=640, inner_dim=40, num_heads=10),
)
class TNT(ImageModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes].

    Raises:
        ShapeError: an image is smaller than a patch.
    """

    head = ("head",)
    config: TNTConfig

    def __init__(self, config: TNTConfig) -> None:
        super().__init__(config)
        inner, outer = config.inner_dim, config.embed_dim
        self.grid = config.image_size // PATCH_SIZE
        self.pixel_embed = nn.LayerDict(
            {"proj": conv2d(config.in_channels, inner, 7, 4, bias=True)}
        )
        self.cls_token = self.embedding(1, outer)
        self.patch_pos = self.embedding(1 + self.grid**2, outer)
        self.pixel_pos = self.embedding(INNER_SIDE**2, inner)
        self.norm1_proj = nn.LayerNorm(INNER_SIDE**2 * inner)
        self.proj = linear(INNER_SIDE**2 * inner, outer)
        self.norm2_proj = nn.LayerNorm(outer)
        rates = drop_path_rates(config.drop_path_rate, [config.depth])[0]
        self.blocks = nn.LayerList(Block(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(outer)
        self.patch_map = TokensToMap(1)
        if config.num_classes:
            self.add_sublayer("head", linear(outer, config.num_classes))

    def embedding(self, count: int, dim: int) -> Tensor:
        """New parameters [1, count, dim]."""
        initial = TruncatedNormal(std=0.02)
        return self.create_parameter([1, count, dim], default_initializer=initial)

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images → what the first block gets."""
        rows, columns = self.places(images)
        images = images[:, :, : rows * PATCH_SIZE, : columns * PATCH_SIZE]
        side = (PATCH_SIZE, PATCH_SIZE)
        squares = partition(images.transpose([0, 2, 3, 1]), side).flatten(0, 1)
        # Each patch on its own, with a border of zeros: no pixel sees those of another patch.
        squares = squares.transpose([0, 2, 1]).reshape([0, 0, *side])
        pixels = self.pixel_embed["proj"](squares).flatten(2).transpose([0, 2, 1]) + self.pixel_pos
        within = pixels.reshape([-1, rows * columns, INNER_SIDE**2 * pixels.shape[-1]])
        patches = self.norm2_proj(self.proj(self.norm1_proj(within)))
        # Zeros of the batch's size: an export knows it only when it runs.
        token = paddle.zeros_like(patches[:, :1]) + self.cls_token
        positions = resize_embedding(self.patch_pos, (rows, columns), 1)
        return pixels, paddle.concat([token, patches], axis=1) + positions

    def places(self, images: Tensor) -> Grid:
        """Rows and columns of patches in images [N, C, H, W]."""
        return patch_grid(self, images, PATCH_SIZE, self.grid)

    def forward_features(self, images: Tensor) -> Tensor:
        """Tokens [N, 1 + patches, embed_dim]: the image's, then the patches, row by row."""
        pixels, patches = self.embed(images)
        for block in self.blocks:
            pixels, patches = block(pixels, patches)
        patches = self.norm(patches)
        self.patch_map(patches, *self.places(images))  # for who listens: see ``feature_info``
        return patches

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = features[:, 0]
        if pre_logits or not self.config.num_classes:
            return pooled
        return self._sub_layers["head"](pooled)

    def feature_info(self) -> list[Feature]:
        return [Feature("patch_map", self.config.embed_dim, PATCH_SIZE)]

    def stages(self) -> dict[str, tuple[str, ...]]:
        embed = (
            "pixel_embed",
            "pixel_pos",
            "norm1_proj",
            "proj",
            "norm2_proj",
            "cls_token",
            "patch_pos",
        )
        blocks = {f"block{index}": (f"blocks.{index}",) for index in range(self.config.depth)}
        last = f"block{self.config.depth - 1}"
        return {"embed": embed, **blocks, last: (*blocks[last], "norm"), "head": self.head}
