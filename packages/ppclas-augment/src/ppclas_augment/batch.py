"""Augmentations of a whole normalised batch [N, C, H, W] and its labels: Mixup, CutMix, FMix.

Importing this module does not import Paddle.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from ppclas_core.config.schema import Fraction
from ppclas_core.contracts.data import BatchTransform, Draw
from ppclas_core.errors import ConfigError, ShapeError
from pydantic import Field, NonNegativeFloat, PositiveFloat, field_validator

from ppclas_augment.mixing import (
    Blend,
    Mask,
    Mix,
    Paste,
    box_shares,
    cut_boxes,
    largest_mask,
    low_frequency_image,
)

if TYPE_CHECKING:
    from paddle import Tensor
    from ppclas_core.contracts.training import Targets


def partners(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Another sample for each of ``count``: [count] indices, none its own, each sample used once.

    Every other sample is equally likely. A plain permutation would leave one sample on itself on
    average.
    """
    order = rng.permutation(count)
    partner = np.empty(count, dtype=np.int64)
    partner[order] = np.roll(order, 1)
    return partner


class _Mixing(BatchTransform):
    """What the mixing transforms share: partners, probability and targets."""

    per: Literal["sample", "batch"] = "sample"
    """Draw for each sample, or once for the whole batch as the authors' code does."""
    probability: Fraction = 1.0
    """Share of the batches that are mixed."""

    def __call__(self, images: Tensor, targets: Targets, draw: Draw) -> tuple[Tensor, Targets]:
        self._check(images, targets)
        count, _, height, width = images.shape
        if draw.rng.random() >= self.probability:
            return images, targets
        if count == 1:
            _note_a_batch_of_one(type(self).__name__)
            return images, targets
        mix = self.draw_mix(count, height, width, draw.rng)
        partner = partners(count, draw.rng)
        return _mixed_images(images, mix, partner), _mixed_targets(targets, mix.shares, partner)

    def draw_mix(self, count: int, height: int, width: int, rng: np.random.Generator) -> Mix:
        """How ``count`` samples of ``height`` x ``width`` pixels are mixed."""
        raise NotImplementedError

    def _draw_shares(
        self, count: int, alpha: float, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """[count] draws from Beta(alpha, alpha), or one, repeated."""
        if self.per == "sample":
            return rng.beta(alpha, alpha, count)
        return np.full(count, rng.beta(alpha, alpha))

    def _check(self, images: Tensor, targets: Targets) -> None:
        name = type(self).__name__
        if images.ndim != 4 or targets.labels.shape[0] != images.shape[0]:
            raise ShapeError(
                f"{name} takes images [N, C, H, W] and labels [N]; "
                f"got {list(images.shape)} and {list(targets.labels.shape)}."
            )
        if targets.mixed_labels is not None:
            raise ConfigError(
                f"{name} got a batch that is mixed already. List only one mixing transform in "
                "data.batch_transforms; MixupOrCutMix alternates between two."
            )
        if targets.teacher_logits is not None:
            raise ConfigError(
                f"{name} got the teacher's answers to the unmixed images. Ask the teacher after "
                "the batch transforms."
            )


class Mixup(_Mixing):
    """Blend each image with another, ``λ · own + (1 - λ) · other``, and the labels alike.

    λ is drawn from Beta(alpha, alpha). Images are mixed where they lie, in place, on a CPU.

    Example:
        What a black and a white image keep of their own is the weight of their labels:

        >>> import numpy as np
        >>> import paddle
        >>> from ppclas_core.contracts.data import Draw
        >>> from ppclas_core.contracts.training import Targets
        >>> black_white = paddle.stack([paddle.zeros([3, 8, 8]), paddle.ones([3, 8, 8])])
        >>> targets = Targets(paddle.to_tensor([0, 1]))
        >>> draw = Draw(np.random.default_rng(0))
        >>> images, mixed = Mixup(alpha=1.0)(black_white, targets, draw)
        >>> own = 1.0 - abs(images.mean(axis=[1, 2, 3]) - paddle.to_tensor([0.0, 1.0]))
        >>> list(images.shape), bool(paddle.allclose(own, mixed.weight, atol=1e-6))
        ([2, 3, 8, 8], True)
        >>> mixed.mixed_labels.tolist()
        [1, 0]

    Paper: "mixup: Beyond Empirical Risk Minimization", Zhang et al. 2018,
    https://arxiv.org/abs/1710.09412
    """

    alpha: PositiveFloat = 0.2
    """Small: mostly one of the two; 1: every λ equally likely. 0.2 is the paper's value for
    ImageNet."""

    def draw_mix(self, count: int, height: int, width: int, rng: np.random.Generator) -> Mix:
        return Blend(self._draw_shares(count, self.alpha, rng).astype(np.float32))


class CutMix(_Mixing):
    """Paste a box of another image of the batch into each: ``M · own + (1 - M) · other``.

    λ is drawn from Beta(alpha, alpha); the box has ``√(1 - λ)`` of the height and of the width. The
    labels are weighted by the area that the box really covers: it may reach over the border.

    Example:
        >>> import numpy as np
        >>> import paddle
        >>> from ppclas_core.contracts.data import Draw
        >>> from ppclas_core.contracts.training import Targets
        >>> black_white = paddle.stack([paddle.zeros([3, 8, 8]), paddle.ones([3, 8, 8])])
        >>> targets = Targets(paddle.to_tensor([0, 1]))
        >>> draw = Draw(np.random.default_rng(0))
        >>> images, mixed = CutMix()(black_white, targets, draw)
        >>> own = 1.0 - abs(images.mean(axis=[1, 2, 3]) - paddle.to_tensor([0.0, 1.0]))
        >>> list(images.shape), bool(paddle.allclose(own, mixed.weight, atol=1e-6))
        ([2, 3, 8, 8], True)
        >>> mixed.mixed_labels.tolist()
        [1, 0]

    Paper: "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
    Yun et al. 2019, https://arxiv.org/abs/1905.04899
    """

    alpha: PositiveFloat = 1.0
    """1: every λ equally likely, the paper's choice."""

    def draw_mix(self, count: int, height: int, width: int, rng: np.random.Generator) -> Mix:
        drawn = self._draw_shares(count, self.alpha, rng)
        centres = rng.integers((height, width), size=(count if self.per == "sample" else 1, 2))
        boxes = cut_boxes(height, width, drawn, centres)
        return Paste(box_shares(height, width, boxes), boxes)


class FMix(_Mixing):
    """Mix by masks M of random, connected shapes: ``M · own + (1 - M) · other``.

    A mask is the brightest λ of a picture whose amplitudes fall as ``1 / f ** decay_power`` with
    the frequency f.

    Example:
        >>> import numpy as np
        >>> import paddle
        >>> from ppclas_core.contracts.data import Draw
        >>> from ppclas_core.contracts.training import Targets
        >>> black_white = paddle.stack([paddle.zeros([3, 8, 8]), paddle.ones([3, 8, 8])])
        >>> targets = Targets(paddle.to_tensor([0, 1]))
        >>> draw = Draw(np.random.default_rng(0))
        >>> images, mixed = FMix()(black_white, targets, draw)
        >>> own = 1.0 - abs(images.mean(axis=[1, 2, 3]) - paddle.to_tensor([0.0, 1.0]))
        >>> list(images.shape), bool(paddle.allclose(own, mixed.weight, atol=1e-6))
        ([2, 3, 8, 8], True)
        >>> mixed.mixed_labels.tolist()
        [1, 0]

    Paper: "FMix: Enhancing Mixed Sample Data Augmentation", Harris et al. 2020,
    https://arxiv.org/abs/2002.12047
    """

    alpha: PositiveFloat = 1.0
    """λ is drawn from Beta(alpha, alpha); 1 in the paper."""
    decay_power: NonNegativeFloat = 3.0
    """How fast the amplitude falls with the frequency: more gives larger shapes; 3 in the paper."""
    max_soft: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the pixels on each side of a shape's edge over which it is soft; at most what the
    smaller side has."""

    def draw_mix(self, count: int, height: int, width: int, rng: np.random.Generator) -> Mix:
        masks = [
            self._draw_mask(height, width, rng) for _ in range(count if self.per == "sample" else 1)
        ]
        stacked = np.broadcast_to(np.stack(masks), (count, height, width))
        return Mask(stacked.mean(axis=(1, 2), dtype=np.float64).astype(np.float32), stacked)

    def _draw_mask(self, height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
        share, up = rng.beta(self.alpha, self.alpha), rng.random() < 0.5
        shape = (height, width // 2 + 1)
        noise = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
        pixels = share * height * width
        count = int(np.ceil(pixels) if up else np.floor(pixels))
        return largest_mask(
            low_frequency_image(height, width, noise, self.decay_power), count, self.max_soft
        )


_ALPHA_BESIDE_CUTMIX = 0.8


class MixupOrCutMix(BatchTransform):
    """Mixup for some batches, CutMix for the others, by ``cutmix_share``.

    Example:
        With a share of 1 every pixel comes from one of the two images, as CutMix pastes them:

        >>> import numpy as np
        >>> import paddle
        >>> from ppclas_core.contracts.data import Draw
        >>> from ppclas_core.contracts.training import Targets
        >>> black_white = paddle.stack([paddle.zeros([3, 8, 8]), paddle.ones([3, 8, 8])])
        >>> targets = Targets(paddle.to_tensor([0, 1]))
        >>> draw = Draw(np.random.default_rng(0))
        >>> images, mixed = MixupOrCutMix(cutmix_share=1.0)(black_white, targets, draw)
        >>> sorted(set(images.flatten().tolist()))
        [0.0, 1.0]

    Paper: "Training data-efficient image transformers & distillation through attention", Touvron et
    al. 2020, https://arxiv.org/abs/2012.12877 (both, one or the other by chance, in appendix A)
    """

    mixup: Mixup = Mixup(alpha=_ALPHA_BESIDE_CUTMIX)
    """Parameters of Mixup; alpha is 0.8 unless given, as is usual beside CutMix."""
    cutmix: CutMix = CutMix()
    """Parameters of CutMix."""
    cutmix_share: Fraction = 0.5
    """Share of the batches that get CutMix."""

    @field_validator("mixup", mode="before")
    @classmethod
    def _alpha_unless_given(cls, mixup: Any) -> Any:
        return {"alpha": _ALPHA_BESIDE_CUTMIX, **mixup} if isinstance(mixup, dict) else mixup

    def __call__(self, images: Tensor, targets: Targets, draw: Draw) -> tuple[Tensor, Targets]:
        chosen = self.cutmix if draw.rng.random() < self.cutmix_share else self.mixup
        return chosen(images, targets, draw)


@functools.cache
def _note_a_batch_of_one(name: str) -> None:
    # Not through logging, to which importing Paddle adds a handler that puts a date and a file
    # before each line.
    print(
        f"warning: {name} leaves a batch of a single image as it is: there is none to mix with",
        file=sys.stderr,
    )


def _mixed_images(images: Tensor, mix: Mix, partner: NDArray[np.int64]) -> Tensor:
    import paddle

    if images.place.is_cpu_place() and images.dtype == paddle.float32:
        # A view of the tensor's own memory; Paddle's broadcasting takes ten times as long on a CPU.
        mix.apply(np.asarray(np.from_dlpack(images), np.float32), partner)
        return images
    weights = paddle.to_tensor(mix.weights(*images.shape[2:]), place=images.place).astype(
        images.dtype
    )
    others = images.index_select(paddle.to_tensor(partner, place=images.place))
    return weights * images + (1.0 - weights) * others


def _mixed_targets(
    targets: Targets, shares: NDArray[np.float32], partner: NDArray[np.int64]
) -> Targets:
    """Two class indices and a weight for each sample; of targets [N, C] the mixture."""
    import paddle

    labels = targets.labels
    others = paddle.to_tensor(partner, place=labels.place)
    weight = paddle.to_tensor(shares, place=labels.place)
    soft = targets.soft
    if soft is None and labels.ndim == 2:
        soft = labels.astype("float32")
    if soft is not None:
        column = weight.unsqueeze(1)
        soft = column * soft + (1.0 - column) * soft.index_select(others)
    if labels.ndim == 2:
        return dataclasses.replace(targets, soft=soft)
    return dataclasses.replace(
        targets, mixed_labels=labels.index_select(others), weight=weight, soft=soft
    )
