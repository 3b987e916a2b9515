"""DemoNet: three strided convolutions and a linear classifier. Importing this module imports
Paddle.
"""

from __future__ import annotations

from paddle import Tensor, nn
from ppclas_core.contracts.image_model import Feature, ImageModel
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

models = Variants()


class DemoNetConfig(ModelConfig):
    """A DemoNet; adds to in_channels=3 and num_classes=1000."""

    width: PositiveInt
    """Channels of the first convolution; each later one has twice as many."""


@models.register(DemoNet_small=DemoNetConfig(width=16), DemoNet_large=DemoNetConfig(width=32))
class DemoNet(ImageModel):
    """Images [N, in_channels, H, W] (float32, normalised) → logits [N, num_classes]."""

    head = ("fc",)
    config: DemoNetConfig

    def __init__(self, config: DemoNetConfig) -> None:
        super().__init__(config)
        width = config.width
        self.conv1 = conv_norm_act(config.in_channels, width)
        self.conv2 = conv_norm_act(width, 2 * width)
        self.conv3 = conv_norm_act(2 * width, 4 * width)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2D(1), nn.Flatten())
        if config.num_classes:
            self.fc = nn.Linear(4 * width, config.num_classes)

    def forward_features(self, images: Tensor) -> Tensor:
        """[N, 4 * width, H / 8, W / 8]."""
        return self.conv3(self.conv2(self.conv1(images)))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits, or the pooled features [N, 4 * width] if ``pre_logits``."""
        pooled = self.pool(features)
        return pooled if pre_logits or not self.config.num_classes else self.fc(pooled)

    def feature_info(self) -> list[Feature]:
        """One map for each convolution."""
        return [
            Feature(f"conv{i + 1}", self.config.width * 2**i, stride=2 ** (i + 1)) for i in range(3)
        ]

    def stages(self) -> dict[str, tuple[str, ...]]:
        """A stage for each convolution, and the head."""
        return {"stage1": ("conv1",), "stage2": ("conv2",), "stage3": ("conv3",), "head": ("fc",)}


def conv_norm_act(in_channels: int, out_channels: int) -> nn.Sequential:
    """[N, in_channels, H, W] → [N, out_channels, H / 2, W / 2]."""
    conv = nn.Conv2D(in_channels, out_channels, 3, stride=2, padding=1, bias_attr=False)
    return nn.Sequential(conv, nn.BatchNorm2D(out_channels), nn.ReLU())
