"""Photos that look alike: a hash of the picture that recompression and resizing hardly change.

A difference hash (dHash) with three values in each of 16 x 16 places of a grey thumbnail: brighter
to the right, darker to the right, or about the same. Two bits say which, so that places where
neither photo has anything to compare (a white ground, the bars of a film) do not make two photos
alike: what counts is the share of differing bits among those set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

SAME_SHARE = 0.1
"""Most differing bits of copies, as a share of those that are set in the one and in the other,
added up."""
_SIDE = 16
_NOISE = 1
"""Difference of neighbouring places (of 0..255) up to which they are about the same."""
_FEWEST = 40
"""Places with a difference that a picture needs to be compared: with fewer, unlike things have the
same outline."""
_ASKED_AT_ONCE, _KNOWN_AT_ONCE = 512, 4096
_ROUNDING = 0.01
"""Above any rounding of a margin, whose steps are (1 - SAME_SHARE) / 2."""


def picture_hash(image: NDArray[np.uint8]) -> bytes:
    """64 bytes for pixels [H, W, 3] uint8 RGB; None for a picture that shows too little."""
    thumbnail = cv2.cvtColor(
        cv2.resize(image, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
    )
    steps = np.diff(thumbnail.astype(np.int16), axis=1)
    bits = np.stack([steps > _NOISE, steps < -_NOISE])
    return np.packbits(bits).tobytes() if bits.sum() >= _FEWEST else b""


def alike(queries: Sequence[bytes], others: Sequence[bytes]) -> Iterator[tuple[int, int, int]]:
    """(place in ``queries``, place in ``others``, different bits) of each query that has a copy
    among ``others``.

    A mirrored copy is one too. Of several the nearest is given. Empty hashes are like nothing.
    """
    asked = [place for place, value in enumerate(queries) if value]
    known = [place for place, value in enumerate(others) if value]
    if not asked or not known:
        return
    upright = _bits([queries[place] for place in asked])
    sides = np.concatenate([upright, _mirrored(upright)])
    best, nearest = np.full(len(sides), -_ROUNDING, np.float32), np.full(len(sides), -1)
    for start in range(0, len(known), _KNOWN_AT_ONCE):
        rows = _factors(
            _bits([others[place] for place in known[start : start + _KNOWN_AT_ONCE]]), flip=True
        ).T
        for first in range(0, len(sides), _ASKED_AT_ONCE):
            chunk = slice(first, first + _ASKED_AT_ONCE)
            margins = _factors(sides[chunk]) @ rows
            places = margins.argmax(axis=1)
            tops = margins[np.arange(len(places)), places]
            better = tops > best[chunk]
            best[chunk][better], nearest[chunk][better] = tops[better], start + places[better]
    for query in range(len(asked)):
        side = max(query, query + len(asked), key=best.__getitem__)
        if nearest[side] >= 0:
            other = known[nearest[side]]
            yield asked[query], other, int((sides[side] != _bits([others[other]])).sum())


def _factors(bits: NDArray[np.uint8], flip: bool = False) -> NDArray[np.float32]:
    """[N, 514] of bits [N, 512]: with those of others, flipped, their products are margins, from 0
    on of a copy.

    With a and b bits set, c of them in common, a + b - 2c differ. That is at most the share s of a
    + b where c - (1 - s) / 2 (a + b) is 0 or more: one product of matrices, with a column for a and
    one for b.
    """
    factors = np.empty((len(bits), bits.shape[1] + 2), np.float32)
    factors[:, :-2], factors[:, -2:] = bits, 1.0
    factors[:, -1 if flip else -2] = -(1.0 - SAME_SHARE) / 2 * bits.sum(axis=1)
    return factors


def _bits(hashes: Sequence[bytes]) -> NDArray[np.uint8]:
    """[N, 512] of 0 and 1."""
    packed = np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), -1)
    return np.unpackbits(packed, axis=1)


def _mirrored(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bits [N, 512] of the mirror images: left is right, so brighter is darker."""
    return bits.reshape(-1, 2, _SIDE, _SIDE)[:, ::-1, :, ::-1].reshape(bits.shape)
