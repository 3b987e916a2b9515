"""Deep pictures that use a small part of their range: seen as they are, they are nearly black."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ppclas_core.contracts.data import ImageSet

from ppclas_data.decoding.depth import used_range

_DEEP_SUFFIXES = (".png", ".tif", ".tiff", ".pgm", ".ppm", ".jp2")
_LOOKED_AT = 64
_SMALL_PART = 4
"""A warning is due where no picture uses more than one part in this many of its range."""


class Range(NamedTuple):
    """What part of its declared range a picture uses."""

    where: str
    largest: int
    full: int


def warn_of_dark(ranges: Sequence[Range]) -> list[str]:
    """A sentence if all deep pictures together use a quarter or less of their range."""
    if not ranges or any(one.largest * _SMALL_PART > one.full for one in ranges):
        return []
    brightest = max(ranges, key=lambda one: one.largest / one.full)
    bits = max(1, brightest.largest.bit_length())
    white = 255 * brightest.largest / brightest.full
    return [
        f"{len(ranges)} photo(s) with more than 8 bits per sample use no more than "
        f"0..{brightest.largest} of 0..{brightest.full} ({bits} bits; first: {ranges[0].where}): "
        f"nothing in them is brighter than {white:.0f} of 255, so they are nearly black. To scale "
        f"them: -o data.max_sample={2**bits - 1}"
    ]


def look_for_dark(images: ImageSet, max_sample: int | None = None) -> list[str]:
    """The same of up to 64 pictures of a set, spread evenly, whose names allow for more than 8 bits
    a sample; ``max_sample`` is the one that becomes white."""
    deep = [
        index
        for index, record in enumerate(images.records)
        if record.name.lower().endswith(_DEEP_SUFFIXES)
    ]
    step = max(1, len(deep) // _LOOKED_AT)
    ranges = []
    for index in deep[::step][:_LOOKED_AT]:
        try:
            found = used_range(images.read(index))
        except Exception:  # said where the photo is decoded
            continue
        if found is not None:
            largest, full = found
            ranges.append(Range(images.records[index].where, largest, max_sample or full))
    return warn_of_dark(ranges)
