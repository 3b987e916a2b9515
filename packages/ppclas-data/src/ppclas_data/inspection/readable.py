"""Sets of which nothing can be read, found before a model is made for them."""

from __future__ import annotations

from collections.abc import Callable

from ppclas_core.contracts.data import Image, ImageSet
from ppclas_core.errors import DataError, ImageError

_LOOKED_AT = 8


def check_readable(images: ImageSet, read: Callable[[bytes, str], Image]) -> None:
    """Read images, spread evenly over the set, until one of up to eight can be read.

    ``read`` gets an encoded image and the words for its place, and raises ImageError.

    Raises:
        DataError: none of them can be read; the first one's reason.
    """
    first: Exception | None = None
    step = max(1, len(images) // _LOOKED_AT)
    looked_at = range(0, len(images), step)[:_LOOKED_AT]
    for index in looked_at:
        try:
            read(images.read(index), images.records[index].where)
            return
        except (ImageError, OSError) as error:
            first = first or error
    if first is not None:
        raise DataError(
            f"{images.origin}: none of {len(looked_at)} images that were looked at can be read. "
            f"{first}"
        )
