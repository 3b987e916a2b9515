"""Photos that look alike: a hash of the picture that recompression, resizing and mirroring hardly change.

The difference hash (dHash) has a bit for each of 16 x 16 places of a grey thumbnail: whether it gets brighter to the
right. Copies of a photo differ in a few of the 256 bits, unrelated photos in about 128.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

SAME_BITS = 16
"""Most bits in which copies of a photo differ. Of 350 x 700 pairs of unrelated flower photos none differs in so few."""
_SIDE = 16
_FLAT = 4.0
"""Standard deviation of a thumbnail (of 0..255) below which a picture shows too little to be compared."""
_BLOCK = 1 << 17
"""Hashes that are compared at once; OpenCV's matcher takes no more than 2**18."""


def picture_hash(image: NDArray[np.uint8]) -> bytes:
    """32 bytes for pixels [H, W, 3] uint8 RGB, the same for the mirror image; none for a picture of one colour."""
    thumbnail = cv2.cvtColor(cv2.resize(image, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    if thumbnail.std() < _FLAT:
        return b""
    grey = thumbnail.astype(np.int16)
    hashes = (np.packbits(side[:, 1:] > side[:, :-1]).tobytes() for side in (grey, grey[:, ::-1]))
    return min(hashes)


def alike(queries: Sequence[bytes], others: Sequence[bytes]) -> Iterator[tuple[int, int, int]]:
    """(place in ``queries``, place in ``others``, different bits) of each query that has a copy among ``others``.

    Of several copies the nearest is given. Empty hashes are like nothing.
    """
    asked = [place for place, value in enumerate(queries) if value]
    known = [place for place, value in enumerate(others) if value]
    if not asked or not known:
        return
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING)
    table = np.frombuffer(b"".join(queries[place] for place in asked), np.uint8).reshape(len(asked), -1)
    best: dict[int, tuple[int, int]] = {}
    for start in range(0, len(known), _BLOCK):
        block = known[start : start + _BLOCK]
        rows = np.frombuffer(b"".join(others[place] for place in block), np.uint8).reshape(len(block), -1)
        for match in matcher.match(table, rows):
            bits, query = int(match.distance), match.queryIdx
            if bits <= SAME_BITS and (query not in best or bits < best[query][0]):
                best[query] = bits, block[match.trainIdx]
    for query, (bits, other) in sorted(best.items()):
        yield asked[query], other, bits
