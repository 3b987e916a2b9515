"""ACNet, deployed: a ResNet whose square convolutions were trained together with vertical and
horizontal ones.

Paper: "ACNet: Strengthening the Kernel Skeletons for Powerful CNN via Asymmetric Convolution
    Blocks", Ding et al.
2019, https://arxiv.org/abs/1908.03930
"""

from __future__ import annotations

from paddle import nn
from ppclas_core.contracts.variants import Variants

from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.residual import INDEXED, Place, ResidualConfig, ResidualNet

models = Variants()


class FusedConv(nn.Sequential):
    """[N, in_channels, H, W] → [N, out_channels, H / stride, W / stride]: the three branches added
    up, rectified.

    Their kernels and batch norms have become one square kernel and a bias (the paper's figure 3).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.conv = conv2d(in_channels, out_channels, kernel_size, stride, bias=True)
        self.act = nn.ReLU()


@models.register(ResNet50_ACNet_deploy=ResidualConfig(depths=(3, 4, 6, 3)))
class ACNet(ResidualNet):
    """Bottlenecks around a fused convolution. Images [N, in_channels, H, W] → logits [N,
    num_classes].

    No dygraph checkpoint was published; the keys are ResNet50's, without the batch norms that are
    gone.
    """

    keys = INDEXED
    head = ("fc",)

    def stem_conv(self, out_channels: int, kernel_size: int, stride: int) -> nn.Layer:
        return FusedConv(self.out_channels, out_channels, kernel_size, stride)

    def branch(self, place: Place) -> dict[str, nn.Layer]:
        width = place.out_channels // 4
        return {**self.bottleneck(place, width), "conv1": FusedConv(width, width, 3, place.stride)}
