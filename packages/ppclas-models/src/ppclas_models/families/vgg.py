"""VGG: 3x3 convolutions in five blocks, each ending in a max pool, and three fully connected
layers.

Paper: "Very Deep Convolutional Networks for Large-Scale Image Recognition", Simonyan & Zisserman
    2015,
https://arxiv.org/abs/1409.1556
"""

from __future__ import annotations

from paddle import nn
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.fully_connected import FullyConnectedModel

models = Variants()

BLOCK_CHANNELS = (64, 128, 256, 512, 512)


class VGGConfig(ModelConfig):
    """A VGG network."""

    depths: tuple[PositiveInt, ...]
    """Convolutions a block: columns A, B, D and E of the paper's table 1."""


@models.register(
    VGG11=VGGConfig(depths=(1, 1, 2, 2, 2)),
    VGG13=VGGConfig(depths=(2, 2, 2, 2, 2)),
    VGG16=VGGConfig(depths=(2, 2, 3, 3, 3)),
    VGG19=VGGConfig(depths=(2, 2, 4, 4, 4)),
)
class VGG(FullyConnectedModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes]. The published convolutions have no
    bias.
    """

    grid = 7
    hidden = ("fc1", "fc2")
    head = ("fc3",)
    dropped = ("fc2", "fc3")
    config: VGGConfig

    def __init__(self, config: VGGConfig) -> None:
        super().__init__(config)
        for block, (channels, depth) in enumerate(
            zip(BLOCK_CHANNELS, config.depths, strict=True), start=1
        ):
            stage, prefix = f"block{block}", f"conv_block_{block}"
            for position in range(1, depth + 1):
                self.append(
                    stage,
                    f"{prefix}.conv{position}",
                    conv2d(self.out_channels, channels, 3),
                    channels,
                )
                self.append(stage, f"{prefix}.relu{position}", nn.ReLU(), channels)
            self.append(stage, f"{prefix}.max_pool", nn.MaxPool2D(2, 2), channels, 2)
        self.close_fully_connected()
