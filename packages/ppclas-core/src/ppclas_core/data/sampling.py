"""Which images make up which batch: a pure function of (seed, epoch), so that an epoch can be entered at any batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def epoch_order(num_images: int, *, shuffle: bool, seed: int, epoch: int) -> NDArray[np.int64]:
    """[num_images] image indices in the order of ``epoch`` (0-based): all of them once."""
    if not shuffle:
        return np.arange(num_images, dtype=np.int64)
    # The spawn key keeps this generator apart from those of the samples, which (seed, epoch) alone would not.
    sequence = np.random.SeedSequence((seed, epoch), spawn_key=(0,))
    return np.random.default_rng(sequence).permutation(num_images).astype(np.int64)


def count_batches(num_images: int, batch_size: int, *, drop_last: bool) -> int:
    """Batches an epoch has; ``drop_last`` leaves an incomplete last one out, unless it is the only one."""
    whole, rest = divmod(num_images, batch_size)
    return whole if whole and (drop_last or not rest) else whole + (rest > 0)


def epoch_batches(
    num_images: int, batch_size: int, *, shuffle: bool, seed: int, epoch: int, drop_last: bool
) -> list[NDArray[np.int64]]:
    """The batches of ``epoch``, each an array of image indices; a batch's place in the list is its position."""
    order = epoch_order(num_images, shuffle=shuffle, seed=seed, epoch=epoch)
    count = count_batches(num_images, batch_size, drop_last=drop_last)
    return [order[i * batch_size : (i + 1) * batch_size] for i in range(count)]
