"""ConvNeXtV2: ConvNeXt with global response normalisation, made for masked autoencoding.

Paper: "ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders", Woo et al. 2023,
https://arxiv.org/abs/2301.00808
"""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn.initializer import Constant
from ppclas_core.contracts.variants import Variants

from ppclas_models.layers.convnext import ConvNeXtBlock, ConvNeXtConfig, ConvNeXtModel

models = Variants()

EPSILON = 1e-6
"""Added to the mean of the channels' norms."""


class GlobalResponseNorm(nn.Layer):
    """[N, H, W, channels] → the same: channels that answer more strongly than the others, over the
    whole map, are strengthened.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = self.create_parameter([channels], default_initializer=Constant(0.0))
        self.bias = self.create_parameter([channels], is_bias=True)

    def forward(self, x: Tensor) -> Tensor:
        response = x.square().sum(axis=[1, 2], keepdim=True).sqrt()
        relative = response / (response.mean(axis=-1, keepdim=True) + EPSILON)
        return x + self.weight * (x * relative) + self.bias


@models.register(
    ConvNeXtV2_atto=ConvNeXtConfig(depths=(2, 2, 6, 2), channels=(40, 80, 160, 320)),
    ConvNeXtV2_femto=ConvNeXtConfig(depths=(2, 2, 6, 2), channels=(48, 96, 192, 384)),
    ConvNeXtV2_pico=ConvNeXtConfig(depths=(2, 2, 6, 2), channels=(64, 128, 256, 512)),
    ConvNeXtV2_nano=ConvNeXtConfig(depths=(2, 2, 8, 2), channels=(80, 160, 320, 640)),
    ConvNeXtV2_tiny=ConvNeXtConfig(depths=(3, 3, 9, 3), channels=(96, 192, 384, 768)),
    ConvNeXtV2_base=ConvNeXtConfig(depths=(3, 3, 27, 3), channels=(128, 256, 512, 1024)),
    ConvNeXtV2_large=ConvNeXtConfig(depths=(3, 3, 27, 3), channels=(192, 384, 768, 1536)),
    ConvNeXtV2_huge=ConvNeXtConfig(depths=(3, 3, 27, 3), channels=(352, 704, 1408, 2816)),
)
class ConvNeXtV2(ConvNeXtModel):
    """Blocks with global response normalisation. Images [N, in_channels, H, W] → logits [N,
    num_classes].
    """

    def block(self, channels: int, drop_path_rate: float) -> nn.Layer:
        norm = GlobalResponseNorm(4 * channels)
        return ConvNeXtBlock(channels, drop_path_rate, None, norm)
