"""Numbers about a data set: images of each class, sizes, and colours for ``data.normalize``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from ppclas_core.contracts.data import ImageSet
from ppclas_core.errors import ImageError

from ppclas_data.decoding.decode import decode
from ppclas_data.inspection.check import SideStatistics, count_classes, look_at_all, side_statistics


@dataclass(frozen=True)
class SetStatistics:
    """What ``ppclas data stats`` says of a set."""

    origin: str
    num_images: int
    num_unreadable: int
    """Left out of everything below but the counts."""
    class_counts: dict[str, int]
    """Images of each class, as ``id name`` in id order."""
    height: SideStatistics | None
    """None when no image can be read."""
    width: SideStatistics | None
    mean_bytes: float | None
    """Of an encoded image."""
    mean: tuple[float, float, float] | None
    """Of red, green and blue in 0..1, each image counting the same."""
    std: tuple[float, float, float] | None
    """Standard deviation of a pixel of the set, in 0..1, each image counting the same."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def measure(images: ImageSet, progress: Callable[[int, int], None] | None = None) -> SetStatistics:
    """Decode every image of a set; ``progress`` is called with (done, total) images."""
    looks = look_at_all(lambda index: _look(images, index), len(images), progress)
    good = [look for look in looks if look is not None]
    moments = np.array([look.moments for look in good])  # [N, 2, 3]: mean, mean square
    mean = std = None
    if good:
        first, second = moments.mean(axis=0)
        mean, std = _rgb(first), _rgb(np.sqrt(np.maximum(second - first**2, 0.0)))
    return SetStatistics(
        origin=images.origin,
        num_images=len(images),
        num_unreadable=len(looks) - len(good),
        class_counts=count_classes(images),
        height=side_statistics([look.height for look in good]),
        width=side_statistics([look.width for look in good]),
        mean_bytes=sum(look.size for look in good) / len(good) if good else None,
        mean=mean,
        std=std,
    )


@dataclass(frozen=True)
class _Look:
    """One image, measured."""

    height: int
    width: int
    size: int
    """Of the encoded image, in bytes."""
    moments: tuple[Any, Any]
    """[3] mean and [3] mean square of its pixels, of 0..1."""


def _look(images: ImageSet, index: int) -> _Look | None:
    try:
        data = images.read(index)
        image = decode(data, images.records[index].where)
    except (ImageError, OSError):
        return None
    mean, std = (values.reshape(3) / 255 for values in cv2.meanStdDev(image))
    return _Look(image.shape[0], image.shape[1], len(data), (mean, mean**2 + std**2))


def _rgb(values: Any) -> tuple[float, float, float]:
    red, green, blue = (round(value, 4) for value in values.tolist())
    return red, green, blue
