"""Mixing the images of a batch [N, C, H, W] with one another. Nothing here is random.

Each kind knows its weights: how much of each pixel is the sample's own; the rest is its partner's.
On a CPU a batch is mixed where it lies, elsewhere by the device, from the weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mix:
    """How N samples are mixed."""

    shares: NDArray[np.float32]
    """[N] in 0..1: how much of a sample is its own."""

    def weights(self, height: int, width: int) -> NDArray[np.float32]:
        """The share of the sample's own pixel: [N, 1, 1, 1], or [N, 1, height, width]."""
        raise NotImplementedError

    def apply(self, images: NDArray[np.float32], partners: NDArray[np.int64]) -> None:
        """Mix ``images`` [N, C, H, W] in place with those of their ``partners`` [N], a permutation.

        Each is mixed before its partner is, so only what the last of a cycle of partners takes is
        set aside.
        """
        for cycle in _cycles(partners):
            first, last = cycle[0], cycle[-1]
            kept = images[first][self._taken(last)].copy()
            for own, other in itertools.pairwise(cycle):
                taken = self._taken(own)
                self._mix_one(own, images[own][taken], images[other][taken])
            self._mix_one(last, images[last][self._taken(last)], kept)

    def _taken(self, index: int) -> tuple[slice, ...]:
        """What sample ``index`` takes of its partner [C, H, W]."""
        return (slice(None),)

    def _mix_one(self, index: int, image: NDArray[np.float32], other: NDArray[np.float32]) -> None:
        """Mix ``image`` [C, h, w], that part of sample ``index``, in place with ``other``."""
        raise NotImplementedError


@dataclass(frozen=True)
class Blend(Mix):
    """Mixup: every pixel by the sample's share."""

    def weights(self, height: int, width: int) -> NDArray[np.float32]:
        return self.shares.reshape(-1, 1, 1, 1)

    def _mix_one(self, index: int, image: NDArray[np.float32], other: NDArray[np.float32]) -> None:
        share, flat = float(self.shares[index]), image.reshape(1, -1)
        # One pass over memory, where three NumPy operations would take three.
        cv2.addWeighted(flat, share, other.reshape(1, -1), 1.0 - share, 0.0, flat)


@dataclass(frozen=True)
class Paste(Mix):
    """CutMix: a box of the partner."""

    boxes: NDArray[np.int64]
    """[N, 4]: top, bottom, left, right of each sample's box in pixels, the ends excluded."""

    def weights(self, height: int, width: int) -> NDArray[np.float32]:
        weights = np.ones((len(self.boxes), 1, height, width), np.float32)
        for own, weight in enumerate(weights):
            weight[self._taken(own)] = 0.0
        return weights

    def _taken(self, index: int) -> tuple[slice, ...]:
        top, bottom, left, right = self.boxes[index].tolist()
        return slice(None), slice(top, bottom), slice(left, right)

    def _mix_one(self, index: int, image: NDArray[np.float32], other: NDArray[np.float32]) -> None:
        image[...] = other


@dataclass(frozen=True)
class Mask(Mix):
    """FMix: each pixel by a mask."""

    masks: NDArray[np.float32]
    """[N, H, W] in 0..1, the share of the sample's own pixel."""

    def weights(self, height: int, width: int) -> NDArray[np.float32]:
        return self.masks[:, None]

    def _mix_one(self, index: int, image: NDArray[np.float32], other: NDArray[np.float32]) -> None:
        image -= other
        image *= self.masks[index]
        image += other


def _cycles(permutation: NDArray[np.int64]) -> Iterator[list[int]]:
    """The cycles of a permutation: lists of indices, each followed by the one it is sent to."""
    following = permutation.tolist()
    left = set(following)
    while left:
        cycle = [left.pop()]
        while (index := following[cycle[-1]]) != cycle[0]:
            left.remove(index)
            cycle.append(index)
        yield cycle


def cut_boxes(
    height: int, width: int, shares: NDArray[np.float64], centres: NDArray[np.int64]
) -> NDArray[np.int64]:
    """[N, 4]: top, bottom, left, right of CutMix's boxes around ``centres`` [N, 2] (y, x), cut off
    at the borders.

    Uncut, a box has the image's aspect and covers ``1 - share`` of it (paper, equation 2);
    ``shares`` is [N], in 0..1.
    """
    sides = (np.sqrt(1.0 - shares)[:, None] * (height, width)).astype(np.int64)
    starts = centres - sides // 2
    ends = np.minimum(starts + sides, (height, width))
    return np.stack([np.maximum(starts, 0), ends], axis=2).reshape(-1, 4)


def box_shares(height: int, width: int, boxes: NDArray[np.int64]) -> NDArray[np.float32]:
    """[N]: how much of an image is left outside each of ``boxes`` [N, 4]."""
    top, bottom, left, right = boxes.T
    return (1.0 - (bottom - top) * (right - left) / (height * width)).astype(np.float32)


def low_frequency_image(
    height: int, width: int, noise: NDArray[np.complex128], decay_power: float
) -> NDArray[np.float32]:
    """A grey image [height, width] from ``noise`` [height, width // 2 + 1] whose amplitude falls
    with the frequency f.

    The spectrum is ``noise / max(f, 1 / max(height, width)) ** decay_power`` (FMix, equation 4),
    but for a factor: its largest amplitude is that of the noise, so that nothing overflows.
    """
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    lowest = 1.0 / max(height, width)
    spectrum = noise * (lowest / np.maximum(frequencies, lowest)) ** decay_power
    return np.fft.irfft2(spectrum, (height, width)).astype(np.float32)


def largest_mask(image: NDArray[np.float32], count: int, soft: float = 0.0) -> NDArray[np.float32]:
    """[H, W], 1 at the ``count`` largest pixels of ``image`` [H, W], 0 elsewhere.

    ``soft`` is the share of all pixels on each side of that limit over which the mask falls in a
    straight line instead; no more than there are on the smaller side.
    """
    order = np.argsort(-image, axis=None, kind="stable")
    mask = np.zeros(image.size, np.float32)
    half = min(int(soft * image.size), count, image.size - count)
    mask[order[: count - half]] = 1.0
    if half:
        mask[order[count - half : count + half]] = np.linspace(1.0, 0.0, 2 * half, dtype=np.float32)
    return mask.reshape(image.shape)
