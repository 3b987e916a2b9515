"""``FakeNet``, the model of ``FakeNetPlugin``. Importing this module imports Paddle."""

from __future__ import annotations

import itertools

from paddle import Tensor, nn
from pydantic import PositiveInt

from ppclas_core.contracts.image_model import Feature, ImageModel
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants

models = Variants()


class TinyNetConfig(ModelConfig):
    """A TinyNet."""

    width: PositiveInt = 8
    """Channels of the first stage; each later one has twice as many."""


@models.register(FakeNet=TinyNetConfig())
class TinyNet(ImageModel):
    """Three strided convolutions. Images [N, in_channels, H, W] → logits [N, num_classes]."""

    config: TinyNetConfig

    def __init__(self, config: TinyNetConfig) -> None:
        super().__init__(config)
        widths = [config.in_channels, *(config.width * 2**index for index in range(3))]
        self.blocks = nn.LayerList(_block(*channels) for channels in itertools.pairwise(widths))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2D(1), nn.Flatten())
        if config.num_classes:
            self.fc = nn.Linear(widths[-1], config.num_classes)

    def forward_features(self, images: Tensor) -> Tensor:
        """[N, 4 * width, H / 8, W / 8]."""
        features = images
        for block in self.blocks:
            features = block(features)
        return features

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = self.pool(features)
        return pooled if pre_logits or not self.config.num_classes else self.fc(pooled)

    def feature_info(self) -> list[Feature]:
        width = self.config.width
        return [Feature(f"blocks.{i}", width * 2**i, 2 ** (i + 1)) for i in range(3)]

    def stages(self) -> dict[str, tuple[str, ...]]:
        return {**{f"stage{i + 1}": (f"blocks.{i}",) for i in range(3)}, "head": ("fc",)}


def _block(before: int, after: int) -> nn.Layer:
    convolution = nn.Conv2D(before, after, 3, 2, 1, bias_attr=False)
    return nn.Sequential(convolution, nn.BatchNorm2D(after), nn.ReLU())
