"""Batch norm over the images of all ranks. Importing this module imports Paddle.

Paddle's own ``SyncBatchNorm`` has no CPU kernel; this one is written with collectives, so that the
same code runs on every device. Sync-BN: "MegDet: A Large Mini-Batch Object Detector", Peng et al.
2018, https://arxiv.org/abs/1711.07240
"""

from __future__ import annotations

from typing import Any

import paddle
from paddle import Tensor, nn
from paddle.autograd import PyLayer

from ppclas_engine.ranks.distributed import current


class SyncBatchNorm2D(nn.BatchNorm2D):
    """A ``BatchNorm2D`` whose mean and variance in training are those of the batch of all ranks."""

    counts: bool = True
    """Off while this rank has no images of its own and only keeps step with the others."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → the same shape."""
        if not self.training:
            return super().forward(x)
        output, mean, variance = _Normalize.apply(
            x.astype("float32"), self.weight, self.bias, self._epsilon, type(self).counts
        )
        with paddle.no_grad():
            keep = self._momentum
            self._mean.set_value(keep * self._mean + (1.0 - keep) * mean)
            self._variance.set_value(keep * self._variance + (1.0 - keep) * variance)
        return output.astype(x.dtype)


def synchronize_norms(model: nn.Layer) -> int:
    """Turn every ``BatchNorm2D`` of ``model`` into a ``SyncBatchNorm2D``; how many there are."""
    found = [layer for layer in model.sublayers(include_self=True) if type(layer) is nn.BatchNorm2D]
    for layer in found:
        # The same layer with another forward: parameters, names, hooks and references to it stay
        # what they are.
        layer.__class__ = SyncBatchNorm2D
    return len(found)


class _Normalize(PyLayer):
    """``(x - mean) / √(variance + epsilon) · weight + bias``; all sums are over all ranks."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, counts: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        ranks, channels = current(), x.shape[1]
        share = 1.0 if counts else 0.0
        count = share * x.shape[0] * x.shape[2] * x.shape[3]
        sums = paddle.concat(
            [share * x.sum(axis=[0, 2, 3]), paddle.to_tensor([count], dtype="float32")]
        )
        ranks.sum(sums)
        total = sums[channels:].clip(min=1.0)
        mean = sums[:channels] / total
        centred = x - mean.reshape([1, -1, 1, 1])
        # A second sum instead of E[x²] - E[x]², which loses digits.
        variance = share * (centred * centred).sum(axis=[0, 2, 3])
        ranks.sum(variance)
        variance = variance / total
        scale = paddle.rsqrt(variance + epsilon)
        normal = centred * scale.reshape([1, -1, 1, 1])
        ctx.save_for_backward(normal, weight, scale, total)
        ctx.share = share
        output = normal * weight.reshape([1, -1, 1, 1]) + bias.reshape([1, -1, 1, 1])
        return output, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normal, weight, scale, total = ctx.saved_tensor()
        channels = weight.shape[0]
        d_bias = gradient.sum(axis=[0, 2, 3])
        d_weight = (gradient * normal).sum(axis=[0, 2, 3])
        sums = ctx.share * paddle.concat([d_bias, d_weight])
        current().sum(sums)
        # What did not count towards mean and variance has no gradient through them.
        sums = ctx.share * sums / total
        mean_bias, mean_weight = sums[:channels], sums[channels:]
        d_x = (weight * scale).reshape([1, -1, 1, 1]) * (
            gradient
            - mean_bias.reshape([1, -1, 1, 1])
            - normal * mean_weight.reshape([1, -1, 1, 1])
        )
        return d_x, d_weight, d_bias
