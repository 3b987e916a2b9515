"""The frame of Swin Transformers: patches of 4x4 pixels, four stages of blocks with attention
within windows, each at half the resolution of the one before.

Paper: "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", Liu et al. 2021,
https://arxiv.org/abs/2103.14030
"""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn.initializer import TruncatedNormal
from ppclas_core.contracts.model_config import ModelConfig
from pydantic import Field, PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels_last import ChannelsLast, MapLayerNorm, to_channels_last
from ppclas_models.layers.patch_embed import PatchEmbed, check_multiple
from ppclas_models.layers.stochastic_depth import drop_path_rates
from ppclas_models.layers.window import pad_to_multiple

PATCH_SIZE = 4
HEAD_WIDTH = 32
"""Features of an attention head."""
MLP_RATIO = 4
"""Hidden features of an MLP per feature of a token."""


class SwinConfig(ModelConfig):
    """A Swin Transformer."""

    embed_dim: PositiveInt
    """Features of the first stage; each later one has twice as many."""
    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Blocks in each stage."""
    window_size: PositiveInt = 7
    """Side of a window, in patches."""
    drop_path_rate: float = Field(ge=0, lt=1)
    """Stochastic depth of the last block; it grows linearly from 0."""


def merge_neighbours(x: Tensor) -> Tensor:
    """[N, C, H, W] → [N, ⌈H / 2⌉, ⌈W / 2⌉, 4 * C]: of each 2x2 the left column, then the right."""
    x = pad_to_multiple(to_channels_last(x), (2, 2))
    _, height, width, channels = x.shape
    x = x.reshape([-1, height // 2, 2, width // 2, 2, channels])
    return x.transpose([0, 1, 3, 4, 2, 5]).flatten(3)


class SwinNet(ChainModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes].

    A family says what a block and what the layer between two stages is.

    Raises:
        ShapeError: H or W is not a multiple of 4.
    """

    head = ("head",)
    config: SwinConfig

    def __init__(self, config: SwinConfig) -> None:
        super().__init__(config)
        dim = config.embed_dim
        embed = PatchEmbed(config.in_channels, dim, PATCH_SIZE, norm=True)
        self.append("embed", "patch_embed", embed, dim, PATCH_SIZE)
        for index, rates in enumerate(drop_path_rates(config.drop_path_rate, config.depths)):
            stage = f"stage{index + 1}"
            if index > 0:
                self.append(stage, f"layers.{index - 1}.downsample", self.merging(dim), 2 * dim, 2)
                dim *= 2
            shifts = (0, config.window_size // 2)
            blocks = [
                self.block(dim, shifts[position % 2], rate, index)
                for position, rate in enumerate(rates)
            ]
            self.append(stage, f"layers.{index}.blocks", ChannelsLast(*blocks), dim)
        self.append("stage4", "norm", MapLayerNorm(dim), dim)
        self.close(dim, weight=TruncatedNormal(std=0.02))

    def merging(self, dim: int) -> nn.Layer:
        """What stands before a stage: [N, dim, H, W] → [N, 2 * dim, ⌈H / 2⌉, ⌈W / 2⌉]."""
        raise NotImplementedError

    def block(self, dim: int, shift: int, drop_path_rate: float, stage: int) -> nn.Layer:
        """A block of the 0-based ``stage``: [N, H, W, dim] → the same shape."""
        raise NotImplementedError

    def check_images(self, images: Tensor) -> None:
        check_multiple(self, images, PATCH_SIZE)
