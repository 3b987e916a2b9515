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
from paddle.nn.initializer import Initializer
from ppclas_core.contracts.model_config import ModelConfig

from ppclas_models.layers.chain import ChainModel

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


class FusibleConfig(ModelConfig):
    """A network whose layers train as several branches."""

    fused: bool = False
    """Build it as ``fuse`` leaves it: for the weights of a fused network. It does not train as
    well."""


class FusibleModel(ChainModel):
    """A chain of layers some of which have branches. Images [N, in_channels, H, W] → logits [N,
    num_classes].
    """

    config: FusibleConfig

    def close(
        self,
        in_features: int,
        dropout: nn.Layer | None = None,
        weight: Initializer | None = None,
        *,
        point: bool = False,
    ) -> None:
        """Add the classifier, as every chain does; a ``fused`` network loses its branches then."""
        super().close(in_features, dropout, weight, point=point)
        if self.config.fused:
            self._fuse_layers()

    def fuse(self) -> None:
        """Turn the branches of each layer into one convolution: the same logits in evaluation,
        faster and smaller.

        In place, and for good: the keys of the branches are gone from the state-dict, and the
        fused network does not train as well. Weights of it fit what ``fused=True`` builds.
        """
        self._fuse_layers()
        self.config = self.config.replace(fused=True)

    @paddle.no_grad()
    def _fuse_layers(self) -> None:
        for layer in self.sublayers():
            if isinstance(layer, Fusible):
                layer.fuse()
