"""How far a heat map can be trusted: the answer must hang on what it marks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ppclas_search.heat.maps import Maps, Pixels

Probabilities = Callable[[Pixels], NDArray[np.float32]]
"""Pixels [N, H, W, 3] to probabilities [N, C]."""


@dataclass(frozen=True)
class Faithfulness:
    """Areas under the deletion and the insertion curve of each image, in 0..1.

    Petsiuk et al. 2018, "RISE", section 4.3, https://arxiv.org/abs/1806.07421.
    """

    deletion: NDArray[np.float64]
    """[N] mean probability of the class while its pixels are taken away, the strongest first: small
    is good."""
    insertion: NDArray[np.float64]
    """[N] mean probability while they are put into a blurred image: large is good."""


def measure_faithfulness(
    probabilities: Probabilities,
    pixels: Pixels,
    classes: Sequence[int],
    maps: Maps,
    steps: int = 16,
) -> Faithfulness:
    """Take the pixels that ``maps`` marks out of the images, and put them into blurred ones.

    Args:
        probabilities: of the model, for pixels [N, H, W, 3].
        pixels: [N, H, W, 3].
        classes: [N] the class of each image whose probability is followed.
        maps: [N, H, W], larger where there is more evidence.
        steps: parts in which the pixels go, each as large as the others.
    """
    deletion: list[float] = []
    insertion: list[float] = []
    for image, of_class, heat in zip(pixels, classes, maps, strict=True):
        # A stable order: equal values go from the top left on, as in any map.
        order = np.argsort(-heat, axis=None, kind="stable")
        ends = np.linspace(0, order.size, steps + 1).round().astype(int)
        grey = np.full_like(image, image.reshape(-1, 3).mean(axis=0).round().astype(np.uint8))
        blurred = cv2.GaussianBlur(image, (0, 0), max(image.shape[:2]) / 20)
        for start, goal, curves in ((image, grey, deletion), (blurred, image, insertion)):
            frames = []
            for end in ends:
                frame = start.copy().reshape(-1, 3)
                frame[order[:end]] = goal.reshape(-1, 3)[order[:end]]
                frames.append(frame.reshape(image.shape))
            followed = probabilities(np.stack(frames))[:, int(of_class)]
            curves.append(float(((followed[1:] + followed[:-1]) / 2).mean()))
    return Faithfulness(np.array(deletion), np.array(insertion))


def pointing_game(maps: Maps, boxes: Sequence[tuple[int, int, int, int]]) -> float:
    """Share of the maps whose strongest pixel lies in the object's box.

    Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop", section 4.1,
    https://arxiv.org/abs/1608.00507. A box is (top, left, bottom, right) in pixels, the ends not
    included.
    """
    hits = 0
    for heat, (top, left, bottom, right) in zip(maps, boxes, strict=True):
        row, column = np.unravel_index(int(heat.argmax()), heat.shape)
        hits += bool(top <= row < bottom and left <= column < right and heat.max() > 0)
    return hits / len(maps)
