"""ConvNeXt: a ResNet modernised step by step towards a Swin transformer, still of convolutions.

Paper: "A ConvNet for the 2020s", Liu et al. 2022, https://arxiv.org/abs/2201.03545
"""

from __future__ import annotations

from paddle import nn
from ppclas_core.contracts.variants import Variants

from ppclas_models.layers.convnext import ConvNeXtBlock, ConvNeXtConfig, ConvNeXtModel

models = Variants()

LAYER_SCALE = 1e-6
"""First value of the factors on each block's branch."""


@models.register(
    ConvNeXt_tiny=ConvNeXtConfig(depths=(3, 3, 9, 3), channels=(96, 192, 384, 768)),
    ConvNeXt_small=ConvNeXtConfig(depths=(3, 3, 27, 3), channels=(96, 192, 384, 768)),
    ConvNeXt_base_224=ConvNeXtConfig(depths=(3, 3, 27, 3), channels=(128, 256, 512, 1024)),
    ConvNeXt_base_384=ConvNeXtConfig(depths=(3, 3, 27, 3), channels=(128, 256, 512, 1024)),
    ConvNeXt_large_224=ConvNeXtConfig(depths=(3, 3, 27, 3), channels=(192, 384, 768, 1536)),
    ConvNeXt_large_384=ConvNeXtConfig(depths=(3, 3, 27, 3), channels=(192, 384, 768, 1536)),
)
class ConvNeXt(ConvNeXtModel):
    """Blocks with layer scale. Images [N, in_channels, H, W] → logits [N, num_classes]."""

    def block(self, channels: int, drop_path_rate: float) -> nn.Layer:
        return ConvNeXtBlock(channels, drop_path_rate, LAYER_SCALE)
