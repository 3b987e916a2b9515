"""AlexNet: five convolutions and three fully connected layers.

Papers: "ImageNet Classification with Deep Convolutional Neural Networks", Krizhevsky et al. 2012,
https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks.pdf;
the channels are those of "One weird trick for parallelizing convolutional neural networks",
Krizhevsky 2014, https://arxiv.org/abs/1404.5997, which needs no local response normalisation and no
grouped convolutions.
"""

from __future__ import annotations

from typing import NamedTuple

from paddle import nn
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants

from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.fully_connected import FullyConnectedModel

models = Variants()


class Conv(NamedTuple):
    """A convolution with ReLU, and what follows it."""

    name: str
    out_channels: int
    kernel_size: int
    stride: int
    padding: int
    """Zeros on each side, pixels."""
    pooled: bool
    """Whether a 3x3 max pool of stride 2, without padding, follows."""


CONVS = (
    Conv("_conv1._conv", 64, 11, 4, 2, True),
    Conv("_conv2._conv", 192, 5, 1, 2, True),
    Conv("_conv3", 384, 3, 1, 1, False),
    Conv("_conv4", 256, 3, 1, 1, False),
    Conv("_conv5._conv", 256, 3, 1, 1, True),
)


class AlexNetConfig(ModelConfig):
    """AlexNet, which has no options of its own."""


@models.register(AlexNet=AlexNetConfig())
class AlexNet(FullyConnectedModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes]; each convolution is a stage, with
    what follows it.
    """

    grid = 6
    hidden = ("_fc6", "_fc7")
    head = ("_fc8",)
    dropped = ("_fc6", "_fc7")

    def __init__(self, config: AlexNetConfig) -> None:
        super().__init__(config)
        for number, conv in enumerate(CONVS, start=1):
            channels, kernel_size, stride, padding = conv[1:5]
            layer = conv2d(
                self.out_channels, channels, kernel_size, stride, padding=padding, bias=True
            )
            stage = f"conv{number}"
            self.append(stage, conv.name, layer, channels, stride)
            self.append(stage, f"relu{number}", nn.ReLU(), channels)
            if conv.pooled:
                self.append(stage, f"max_pool{number}", nn.MaxPool2D(3, 2), channels, 2)
        self.close_fully_connected()
