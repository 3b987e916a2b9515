"""DINOv2: vision transformers whose features, learned without labels, serve as they are.

Papers: "DINOv2: Learning Robust Visual Features without Supervision", Oquab et al. 2023,
https://arxiv.org/abs/2304.07193; registers: "Vision Transformers Need Registers", Darcet et al.
2023, https://arxiv.org/abs/2309.16588
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.variants import Variants
from pydantic import NonNegativeInt

from ppclas_models.layers.encoder import EncoderBlock, TokensToMap
from ppclas_models.layers.mlp import Mlp, linear
from ppclas_models.layers.vision_transformer import VisionTransformer, VisionTransformerConfig

models = Variants()


class DINOv2Config(VisionTransformerConfig):
    """A DINOv2 ViT."""

    mlp: Literal["gelu", "swiglu"] = "gelu"
    """What stands between the linear layers of a block."""
    num_registers: NonNegativeInt = 0
    """Tokens without a place, beside the class token, for what the network wants to keep."""


class SwiGLU(nn.Layer):
    """[..., dim] → [..., dim]: two linear layers give ``hidden`` features each, one of them gates
    the other (Shazeer 2020, https://arxiv.org/abs/2002.05202).
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = linear(dim, 2 * hidden)
        self.fc2 = linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.fc1(x).chunk(2, axis=-1)
        return self.fc2(F.silu(gate) * value)


ViT = partial(DINOv2Config, patch_size=14, image_size=518)
Small = partial(ViT, embed_dim=384, depth=12, num_heads=6)
Base = partial(ViT, embed_dim=768, depth=12, num_heads=12)
Large = partial(ViT, embed_dim=1024, depth=24, num_heads=16)
# As many weights as with two layers and a ratio of 4.
Giant = partial(ViT, embed_dim=1536, depth=40, num_heads=24, mlp="swiglu", mlp_ratio=8 / 3)


@models.register(
    DINOv2_vit_small_patch14=Small(),
    DINOv2_vit_base_patch14=Base(),
    DINOv2_vit_large_patch14=Large(),
    DINOv2_vit_giant_patch14=Giant(),
    DINOv2_vit_small_patch14_reg4=Small(num_registers=4),
    DINOv2_vit_base_patch14_reg4=Base(num_registers=4),
    DINOv2_vit_large_patch14_reg4=Large(num_registers=4),
    DINOv2_vit_giant_patch14_reg4=Giant(num_registers=4),
)
class DINOv2(VisionTransformer):
    """Images [N, in_channels, H, W] → logits [N, num_classes].

    The published weights have no classifier: ``num_classes=0`` gives their features, those of the
    class token.

    Raises:
        ShapeError: an image is smaller than a patch.
    """

    layer_scale = 1e-5
    config: DINOv2Config

    def __init__(self, config: DINOv2Config) -> None:
        super().__init__(config)
        if config.num_registers:
            self.register_tokens = self.embedding(config.num_registers)
            self.patch_map = TokensToMap(1 + config.num_registers)

    def block(self, drop_path_rate: float) -> EncoderBlock:
        config, dim = self.config, self.config.embed_dim
        hidden = round(dim * config.mlp_ratio)
        return EncoderBlock(
            dim,
            self.attention(),
            SwiGLU(dim, hidden) if config.mlp == "swiglu" else Mlp(dim, hidden),
            drop_path_rate=drop_path_rate,
            epsilon=config.epsilon,
            layer_scale=self.layer_scale,
        )

    def embed(self, images: Tensor) -> Tensor:
        tokens = super().embed(images)
        count = self.config.num_registers
        if not count:
            return tokens
        # Zeros of the batch's size: an export knows it only when it runs.
        registers = 0 * tokens[:, :count] + self.register_tokens
        return paddle.concat([tokens[:, :1], registers, tokens[:, 1:]], axis=1)

    def stages(self) -> dict[str, tuple[str, ...]]:
        stages = super().stages()
        if not self.config.num_registers:
            return stages
        return {**stages, "embed": (*stages["embed"], "register_tokens")}
