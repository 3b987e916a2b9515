"""Augmentations of a whole normalised batch [N, C, H, W] and its labels.

Importing this module does not import Paddle.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from ppclas_core.data import BatchTransform, Draw
from ppclas_core.errors import ConfigError, ShapeError
from pydantic import PositiveFloat

if TYPE_CHECKING:
    from paddle import Tensor
    from ppclas_core.builtin.base import Targets


def partners(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Another sample for each of ``count``: [count] indices, none its own, each sample used once.

    Every other sample is equally likely. A plain permutation would leave one sample on itself on average.
    """
    order = rng.permutation(count)
    partner = np.empty(count, dtype=np.int64)
    partner[order] = np.roll(order, 1)
    return partner


class Mixup(BatchTransform):
    """Blend each image with another of the batch, ``λ · own + (1 - λ) · other``, and the labels alike.

    λ is drawn from Beta(alpha, alpha) (Zhang et al. 2018, https://arxiv.org/abs/1710.09412). A batch of one image is
    left as it is, with λ = 1.
    """

    alpha: PositiveFloat = 0.2
    """Small: mostly one of the two; 1: every λ equally likely. 0.2 is the paper's value for ImageNet."""
    per: Literal["sample", "batch"] = "sample"
    """Draw λ for each sample, or one for the whole batch as the authors' code does."""

    def __call__(self, images: Tensor, targets: Targets, draw: Draw) -> tuple[Tensor, Targets]:
        import paddle

        count = images.shape[0]
        if images.ndim != 4 or targets.labels.shape[0] != count:
            raise ShapeError(
                f"Mixup takes images [N, C, H, W] and labels [N]; "
                f"got {list(images.shape)} and {list(targets.labels.shape)}."
            )
        if targets.mixed_labels is not None:
            raise ConfigError(
                "Mixup got a batch that is mixed already. List only one mixing transform in data.batch_transforms."
            )
        if targets.teacher_logits is not None:
            raise ConfigError(
                "Mixup got the teacher's answers to the unmixed images. Ask the teacher after the batch transforms."
            )
        if count == 1:
            shares = np.ones(1)
        elif self.per == "sample":
            shares = draw.rng.beta(self.alpha, self.alpha, count)
        else:
            shares = np.full(count, draw.rng.beta(self.alpha, self.alpha))
        partner = paddle.to_tensor(partners(count, draw.rng), place=images.place)
        weight = paddle.to_tensor(shares.astype(np.float32), place=images.place)
        share = weight.astype(images.dtype).reshape([count, 1, 1, 1])
        mixed = share * images + (1.0 - share) * images.index_select(partner)
        soft = targets.soft
        if soft is not None:
            column = weight.unsqueeze(1)
            soft = column * soft + (1.0 - column) * soft.index_select(partner)
        return mixed, dataclasses.replace(
            targets, mixed_labels=targets.labels.index_select(partner), weight=weight, soft=soft
        )
