"""Which images make up which batch: a pure function of (seed, epoch), entered at any batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ppclas_core.config.schema import SamplingConfig
from ppclas_core.contracts.data import ImageSet
from ppclas_core.errors import ConfigError
from ppclas_core.wording import near_names


@dataclass(frozen=True)
class Shares:
    """How often images are shown, relative to each other."""

    weights: NDArray[np.float64]
    """[N] sum 1."""
    groups: NDArray[np.int64]
    """[N] images of one group (class) are drawn together, so that its number in an epoch is right
    to within one."""


def image_shares(images: ImageSet, sampling: SamplingConfig) -> Shares | None:
    """The shares that ``sampling`` gives the images of a set; None where each is shown once.

    An image with several labels is shown as often as the class of it that is shown most.

    Raises:
        ConfigError: a weight for a class that is not there.
    """
    if not sampling.balance and not sampling.weights:
        return None
    factors = np.ones(len(images.class_names))
    places = {name: index for index, name in enumerate(images.class_names)}
    for name, factor in sampling.weights.items():
        if name not in places:
            near = near_names(name, tuple(places), 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"data.sampling.weights: {images.origin} has no class {name!r}.{hint}"
            )
        factors[places[name]] = factor
    classes = [[label for label in record.class_ids if label >= 0] for record in images.records]
    counts = np.bincount([label for own in classes for label in own], minlength=len(factors))
    factors *= np.maximum(counts, 1) ** -sampling.balance
    mean_size = len(images) / max(1, int(np.count_nonzero(counts)))
    without_class: float = mean_size**-sampling.balance
    weights = np.array(
        [max((factors[label] for label in own), default=without_class) for own in classes]
    )
    groups = np.array([max(own, key=factors.__getitem__, default=-1) for own in classes], np.int64)
    weights /= weights.max()  # so that the sum of large ones is finite
    return Shares(weights / weights.sum(), groups)


def epoch_order(
    num_images: int,
    *,
    shuffle: bool,
    seed: int,
    epoch: int,
    shares: Shares | None = None,
    repeats: int = 1,
) -> NDArray[np.int64]:
    """[num_images] image indices in the order of ``epoch`` (0-based).

    All of them once, or as often as ``shares`` says. With ``repeats`` each comes so many times in a
    row, and as many fewer images come at all; a batch that is no multiple may cut such a row.
    """
    different = -(-num_images // repeats)
    if not shuffle:
        order = np.arange(num_images, dtype=np.int64)
    else:
        # The spawn key keeps this generator apart from others that are made from (seed, epoch).
        rng = np.random.default_rng(np.random.SeedSequence((seed, epoch), spawn_key=(0,)))
        order = rng.permutation(num_images).astype(np.int64)
        if shares is not None:
            order = rng.permutation(_drawn(order, different, shares, rng.random()))
    return np.repeat(order[:different], repeats)[:num_images] if repeats > 1 else order


def _drawn(
    order: NDArray[np.int64], count: int, shares: Shares, offset: float
) -> NDArray[np.int64]:
    """[count] draws by systematic sampling (Madow 1949): each image's share, rounded either way."""
    grouped = order[np.argsort(shares.groups[order], kind="stable")]
    ends = np.cumsum(shares.weights[grouped]) * count
    picks = np.searchsorted(ends, np.arange(count) + offset, side="right")
    return grouped[np.minimum(picks, len(order) - 1)]


def count_earlier(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] how many times each image has come before in ``order``."""
    by_image = np.argsort(order, kind="stable")
    images = order[by_image]
    starts = np.flatnonzero(np.r_[True, images[1:] != images[:-1]])
    lengths = np.diff(np.r_[starts, len(order)])
    earlier = np.empty_like(order)
    earlier[by_image] = np.arange(len(order)) - np.repeat(starts, lengths)
    return earlier


def count_batches(num_images: int, batch_size: int, *, drop_last: bool) -> int:
    """Batches per epoch; ``drop_last`` leaves out an incomplete last one if there are others."""
    whole, rest = divmod(num_images, batch_size)
    return whole if whole and (drop_last or not rest) else whole + (rest > 0)


def cut(order: NDArray[np.int64], batch_size: int, *, drop_last: bool) -> list[NDArray[np.int64]]:
    """The batches of an order; a batch's place in the list is its position."""
    count = count_batches(len(order), batch_size, drop_last=drop_last)
    return [order[i * batch_size : (i + 1) * batch_size] for i in range(count)]
