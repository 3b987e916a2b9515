"""What a list of transforms does to a picture's frame, as numbers that DALI can follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ppclas_core.contracts.data import Draw, Transform
from ppclas_data.transforms.basic import (
    CenterCrop,
    RandomFlip,
    RandomResizedCrop,
    Resize,
    size_pair,
)
from ppclas_data.transforms.framing import Letterbox
from ppclas_data.transforms.functional import Interpolation, fill_color, fitting_size
from ppclas_data.transforms.window import Window

FILTERS = {"bilinear": "INTERP_LINEAR", "bicubic": "INTERP_CUBIC", "lanczos": "INTERP_LANCZOS3"}
"""Where DALI resizes as OpenCV does. Its nearest neighbour is another pixel, and it has no area
average."""
_ABLE_TO = (
    "RandomResizedCrop, Resize (size), Resize (short) with CenterCrop, Letterbox, each with "
    "RandomFlip after it"
)


class Placement(NamedTuple):
    """Where a picture goes: a box is resized, of that ``Frame.size`` is cut and mirrored."""

    window: Window
    top: int
    """Of the cut in the resized box, in pixels; negative: rows of the fill colour come first."""
    left: int
    mirrored: tuple[bool, bool]
    """Left-right, and top-bottom."""


@dataclass(frozen=True)
class Frame:
    """What a list of transforms does to the frame of a picture, where that is all that it does."""

    sizing: Resize | RandomResizedCrop | Letterbox
    crop: CenterCrop | None
    flips: tuple[RandomFlip, ...]

    @classmethod
    def of(cls, transforms: Sequence[Transform]) -> Frame | str:
        """The frame, or why there is none."""
        sizing = transforms[0] if transforms else None
        # Not subclasses: they may do more.
        if type(sizing) not in (Resize, RandomResizedCrop, Letterbox):
            name = type(sizing).__name__ if transforms else "no transform at all"
            return f"{name} is not what it can begin with; it can do {_ABLE_TO}"
        assert isinstance(sizing, Resize | RandomResizedCrop | Letterbox)
        rest = list(transforms[1:])
        by_short_side = isinstance(sizing, Resize) and sizing.short is not None
        crop = rest.pop(0) if by_short_side and rest and type(rest[0]) is CenterCrop else None
        assert crop is None or isinstance(crop, CenterCrop)
        for transform in rest:
            if type(transform) is not RandomFlip:
                return f"{type(transform).__name__} is more than it can do, which is {_ABLE_TO}"
        if by_short_side and crop is None:
            return f"Resize (short) alone leaves photos of several sizes; it can do {_ABLE_TO}"
        if not isinstance(sizing, Letterbox) and sizing.antialias:
            return f"it does not average pixels as Pillow does (antialias); it can do {_ABLE_TO}"
        if sizing.interpolation not in FILTERS:
            return (
                f"it has no interpolation {sizing.interpolation!r} as OpenCV has it, only "
                f"{', '.join(FILTERS)}"
            )
        return cls(sizing, crop, tuple(flip for flip in rest if isinstance(flip, RandomFlip)))

    @property
    def interpolation(self) -> Interpolation:
        """Of the resize."""
        assert self.sizing.interpolation != "random"  # refused when it was made
        return self.sizing.interpolation

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what comes out."""
        size = self.sizing.size if self.crop is None else self.crop.size
        assert size is not None  # Resize by its short side has a crop
        return size_pair(size)

    @property
    def fill(self) -> tuple[int, int, int]:
        """RGB of what lies outside the picture."""
        fill = self.crop.fill if self.crop is not None else getattr(self.sizing, "fill", None)
        red, green, blue = fill_color(fill, 3, np.dtype(np.uint8)).tolist()
        return red, green, blue

    def place(self, height: int, width: int, draw: Draw) -> Placement:
        """The placement of a picture; draws what the transforms would, in their order."""
        if isinstance(self.sizing, Letterbox):
            fitting = fitting_size(height, width, self.size)
            window = Window(0, 0, height, width, fitting, self.interpolation)
        else:
            window = self.sizing.window(height, width, draw)
        top, left = (_middle(have, want) for have, want in zip(window.size, self.size, strict=True))
        mirrored = {"horizontal": False, "vertical": False}
        for flip in self.flips:
            if draw.rng.random() < flip.probability:
                for axis in mirrored:
                    mirrored[axis] ^= flip.axis in (axis, "both")
        return Placement(window, top, left, (mirrored["horizontal"], mirrored["vertical"]))


def _middle(have: int, want: int) -> int:
    """Where the middle ``want`` of ``have`` pixels begins; an odd missing one is at the end."""
    return (have - want) // 2 if have >= want else -((want - have) // 2)
