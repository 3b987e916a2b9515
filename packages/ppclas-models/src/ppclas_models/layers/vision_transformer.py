"""The frame of plain vision transformers: patches and a class token, encoder blocks, a classifier.

Paper: "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", Dosovitskiy et
al. 2020, https://arxiv.org/abs/2010.11929
"""

from __future__ import annotations

from typing import ClassVar

import paddle
from paddle import Tensor, nn
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.contracts.image_model import Feature, ImageModel
from ppclas_core.contracts.model_config import ModelConfig
from pydantic import Field, PositiveFloat, PositiveInt

from ppclas_models.layers.attention import SelfAttention
from ppclas_models.layers.encoder import EncoderBlock, TokensToMap
from ppclas_models.layers.mlp import Mlp, linear
from ppclas_models.layers.patch_embed import PatchEmbed
from ppclas_models.layers.positions import Grid, patch_grid, resize_embedding
from ppclas_models.layers.stochastic_depth import drop_path_rates


class VisionTransformerConfig(ModelConfig):
    """A plain vision transformer."""

    embed_dim: PositiveInt
    """Features per token."""
    depth: PositiveInt
    """Encoder blocks."""
    num_heads: PositiveInt
    mlp_ratio: PositiveFloat = 4.0
    """Hidden features of an MLP per feature of a token."""
    patch_size: PositiveInt = 16
    """Side of a patch, in pixels."""
    image_size: PositiveInt = 224
    """Side of the images that position embeddings are for, in pixels; for others they are
    resized."""
    epsilon: PositiveFloat = 1e-6
    """Added to the variance in the layer norms."""
    drop_path_rate: float = Field(0.0, ge=0, lt=1)
    """Stochastic depth of the last block; it grows linearly from 0."""


class VisionTransformer(ImageModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes].

    Tokens for the whole image come before those of the patches; the classifier reads the first.
    Position embeddings are resized for images of another size than ``image_size``; rows and columns
    of pixels that are left over beside the patches are not seen.

    Raises:
        ShapeError: an image is smaller than a patch.
    """

    head: ClassVar[tuple[str, ...]] = ("head",)
    image_tokens: ClassVar[tuple[str, ...]] = ("cls_token",)
    """Names of the parameters that the tokens of the whole image start from."""
    patch_bias: ClassVar[bool] = True
    layer_scale: ClassVar[float | None] = None
    """First value of the factors on a block's two branches; None: there are none."""
    config: VisionTransformerConfig

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__(config)
        dim, patch_size = config.embed_dim, config.patch_size
        self.grid = config.image_size // patch_size
        self.patch_embed = PatchEmbed(config.in_channels, dim, patch_size, bias=self.patch_bias)
        for name in self.image_tokens:
            self.add_parameter(name, self.embedding(1))
        self.add_position_embedding()
        self.blocks = nn.LayerList(
            self.block(rate) for rate in drop_path_rates(config.drop_path_rate, [config.depth])[0]
        )
        self.norm = nn.LayerNorm(dim, config.epsilon)
        self.patch_map = TokensToMap(len(self.image_tokens))
        if config.num_classes:
            self.add_sublayer(self.head[0], linear(dim, config.num_classes))

    def embedding(self, count: int) -> Tensor:
        """New parameters [1, count, embed_dim]."""
        initial = TruncatedNormal(std=0.02)
        shape = [1, count, self.config.embed_dim]
        return self.create_parameter(shape, default_initializer=initial)

    def add_position_embedding(self) -> None:
        """Add what says where a token stands: ``pos_embed``, a learned vector each."""
        self.pos_embed = self.embedding(self.grid**2 + len(self.image_tokens))

    def attention(self) -> nn.Layer:
        """The attention of a block."""
        return SelfAttention(self.config.embed_dim, self.config.num_heads)

    def block(self, drop_path_rate: float) -> EncoderBlock:
        """An encoder block."""
        dim = self.config.embed_dim
        mlp = Mlp(dim, int(dim * self.config.mlp_ratio))
        return EncoderBlock(
            dim,
            self.attention(),
            mlp,
            drop_path_rate=drop_path_rate,
            epsilon=self.config.epsilon,
            layer_scale=self.layer_scale,
        )

    def embed(self, images: Tensor) -> Tensor:
        """Images → the tokens that the first block gets, [N, L, embed_dim]."""
        grid = self.places(images)
        patches = self.patch_embed(images).flatten(2).transpose([0, 2, 1])
        # Zeros of the batch's size: an export knows it only when it runs.
        nothing = 0 * patches[:, :1]
        tokens = [nothing + getattr(self, name) for name in self.image_tokens]
        return self.add_positions(paddle.concat([*tokens, patches], axis=1), grid)

    def places(self, images: Tensor) -> Grid:
        """Rows and columns of patches in images [N, C, H, W]."""
        return patch_grid(self, images, self.config.patch_size, self.grid)

    def add_positions(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Tokens [N, L, embed_dim], told where they stand on ``grid``."""
        return tokens + resize_embedding(self.pos_embed, grid, len(self.image_tokens))

    def forward_features(self, images: Tensor) -> Tensor:
        """Tokens [N, L, embed_dim]: those of the whole image, then the patches, row by row."""
        x = self.embed(images)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        self.patch_map(x, *self.places(images))  # for who listens there: see ``feature_info``
        return x

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = self.pool(features)
        return pooled if pre_logits or not self.config.num_classes else self.classify(pooled)

    def pool(self, tokens: Tensor) -> Tensor:
        """[N, L, embed_dim] → what the classifier reads, [N, embed_dim]."""
        return tokens[:, 0]

    def classify(self, pooled: Tensor) -> Tensor:
        """[N, embed_dim] → [N, num_classes]."""
        return self._sub_layers[self.head[0]](pooled)

    def feature_info(self) -> list[Feature]:
        return [Feature("patch_map", self.config.embed_dim, self.config.patch_size)]

    def stages(self) -> dict[str, tuple[str, ...]]:
        blocks = {f"block{index}": (f"blocks.{index}",) for index in range(self.config.depth)}
        last = f"block{self.config.depth - 1}"
        embed = ("patch_embed", "pos_embed", *self.image_tokens)
        return {"embed": embed, **blocks, last: (*blocks[last], "norm"), "head": self.head}
