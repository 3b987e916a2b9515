"""Copies of a photo that have another label: by their bytes, and by what they show."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import ImageError
from ppclas_data.decoding.decode import decode
from ppclas_data.inspection.check import look_at_all
from ppclas_data.inspection.likeness import alike, picture_hash

from ppclas_search.audit.photos import Photo


def find_twins(
    photos: Sequence[Photo],
    labels: NDArray[np.int64],
    progress: Callable[[int, int], None] | None = None,
) -> dict[int, int]:
    """Place of a photo → place of a copy with another label: the same bytes, or the same picture
    recompressed, resized or mirrored.

    Of several the nearest is given. What cannot be read has no copies.
    """
    looks = look_at_all(lambda place: _look(photos[place]), len(photos), progress)
    found = _same_bytes([digest for digest, _ in looks], labels)
    hashes = [likeness for _, likeness in looks]
    for label in np.unique(labels):
        own, others = np.flatnonzero(labels == label), np.flatnonzero(labels != label)
        for query, other, _ in alike([hashes[n] for n in own], [hashes[n] for n in others]):
            found.setdefault(int(own[query]), int(others[other]))
            # Being a copy works both ways, and the list needs both photos.
            found.setdefault(int(others[other]), int(own[query]))
    return found


def _look(photo: Photo) -> tuple[bytes, bytes]:
    try:
        data = photo.read()
        return hashlib.sha256(data).digest(), picture_hash(decode(data, photo.record.where))
    except (OSError, ImageError):
        return b"", b""


def _same_bytes(digests: Sequence[bytes], labels: NDArray[np.int64]) -> dict[int, int]:
    groups: dict[bytes, list[int]] = defaultdict(list)
    for place, digest in enumerate(digests):
        if digest:
            groups[digest].append(place)
    found = {}
    for members in groups.values():
        for place in members:
            other = next((n for n in members if labels[n] != labels[place]), None)
            if other is not None:
                found[place] = other
    return found
