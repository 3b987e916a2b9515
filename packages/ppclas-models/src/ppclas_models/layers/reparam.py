"""Structural re-parameterisation: parallel convolutions, each with its batch norm, are one
convolution once the statistics stand still.

Paper: "RepVGG: Making VGG-style ConvNets Great Again", Ding et al. 2021,
https://arxiv.org/abs/2101.03697, section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812

Folded = tuple[Tensor, Tensor]
"""Kernel [out_channels, in_channels / groups, k, k] and bias [out_channels]."""


def fold(kernel: Tensor, norm: nn.BatchNorm2D) -> Folded:
    """The convolution with ``kernel`` [C, in_channels / groups, k, k] and then ``norm``, in
    evaluation, as one convolution with a bias.
    """
    scale = norm.weight / paddle.sqrt(norm._variance + norm._epsilon)
    return kernel * scale.reshape([-1, 1, 1, 1]), norm.bias - norm._mean * scale


def identity_kernel(channels: int, groups: int, dtype: paddle.dtype) -> Tensor:
    """[channels, channels / groups, 1, 1]: the convolution that changes nothing."""
    position = paddle.arange(channels) % (channels // groups)
    return F.one_hot(position, channels // groups).astype(dtype).unsqueeze([2, 3])


def set_sum(conv: nn.Conv2D, branches: Sequence[Folded]) -> None:
    """Make ``conv``, which has a bias, the sum of ``branches``; smaller kernels, all of odd sides,
    are centred.
    """
    size = conv.weight.shape[-1]
    weight, bias = paddle.zeros_like(conv.weight), paddle.zeros_like(conv.bias)
    for kernel, offset in branches:
        weight = weight + F.pad(kernel, [(size - kernel.shape[-1]) // 2] * 4)
        bias = bias + offset
    conv.weight.set_value(weight)
    conv.bias.set_value(bias)


class Fusible(nn.Layer):
    """A layer with branches that can become one convolution."""

    def fuse(self) -> None:
        """Replace the branches, in place; once they are gone, do nothing."""
        raise NotImplementedError


@paddle.no_grad()
def fuse_layers(model: nn.Layer) -> None:
    """Fuse each layer of ``model`` that can be, in place."""
    for layer in model.sublayers():
        if isinstance(layer, Fusible):
            layer.fuse()
