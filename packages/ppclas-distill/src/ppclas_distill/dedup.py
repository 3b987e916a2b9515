"""Find photos of a pool that are validation photos in disguise: the same, mirrored, cropped,
recompressed, brightened.

Three steps, each slower than the one before and for fewer photos. Each photo has a hash of its
thumbnail; validation photos also have hashes of many crops of them and of their mirror image, and
so has a pool photo for the case that the validation photo is the crop. The nearest hashes are
compared by their thumbnails' grey values. The few that are left are candidates: each is matched by
SIFT features (ratio test of Lowe 2004), a homography is fitted to the matches (RANSAC), and what it
maps onto each other must agree in its pixels.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import ImageError
from ppclas_core.params import Params
from ppclas_data.decoding.decode import decode
from ppclas_data.decoding.web import read_file
from pydantic import Field, PositiveFloat, PositiveInt

from ppclas_distill.select import check_listable

Grey = NDArray[np.uint8]
"""[H, W] uint8."""

_SIDE = 16
"""Thumbnail side of a hash: 256 bits."""
_CROPS: tuple[tuple[float, int], ...] = ((1.0, 1), (0.88, 3), (0.77, 4), (0.67, 5), (0.58, 6))
"""Side of a crop as a share of the photo's, and positions along each axis."""
_SIFT_SIDE = 320
"""Short side of what features are looked for in, in pixels."""
_BLOCK = 1 << 17
"""Hashes that are compared at once; OpenCV's matcher takes no more than 2^18."""
_NEAREST = 400
"""Nearest hashes that are looked at: many belong to one photo, whose crops overlap."""
_SMALL = 64
"""Side of the reduced photos that thumbnails of crops are cut from."""
Outline = tuple[tuple[float, float], ...]
_WHOLE: Outline = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
_ALIKE = 0.5
"""Smallest correlation of a candidate's thumbnail."""


class DedupOptions(Params):
    """How much two photos must have in common."""

    hash_bits: Annotated[int, Field(ge=0, le=256)] = 80
    """Largest number of different bits, of 256, between the hashes of a candidate. Unrelated photos
    differ in 128."""
    candidates: PositiveInt = 6
    """Validation photos that are matched by features, for each pool photo, the most alike
    thumbnails first."""
    ratio: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.8
    """Lowe's ratio test: how much nearer the best match of a feature must be than the second
    best."""
    inliers: PositiveInt = 15
    """Fewest matches that one homography explains."""
    correlation: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.93
    """Smallest correlation of the grey values where the homography lays one photo over the
    other."""
    reprojection: PositiveFloat = 4.0
    """Largest distance, in pixels, of a match from where the homography puts it."""


@dataclass(frozen=True)
class Match:
    """A pool photo and the validation photo that it shows."""

    pool: str
    validation: str
    mirrored: bool
    bits: int
    """Different bits of the nearest hashes."""
    inliers: int
    """Feature matches that the homography explains; 0 where thumbnails alone agree (photos almost
    without features)."""
    correlation: float
    """Of the grey values, -1..1."""
    outline: Outline
    """Where the corners of the pool photo (top left, then clockwise) lie in the validation photo: x
    and y as shares of its width and height."""


@dataclass(frozen=True)
class _Features:
    points: NDArray[np.float32]
    """[K, 2] x and y in pixels."""
    descriptors: NDArray[np.float32] | None
    """[K, 128]."""
    grey: Grey


class LookAlikes:
    """The validation photos, ready to be compared with.

    Takes about 10 KB of memory a photo.
    """

    def __init__(
        self, paths: Sequence[str], options: DedupOptions | None = None, threads: int = 2
    ) -> None:
        """Hash every photo of ``paths``.

        Raises:
            ImageError: a photo cannot be read: what is not compared with could be trained on.
        """
        self.paths = tuple(paths)
        self.options = options or DedupOptions()
        with ThreadPoolExecutor(max(1, threads)) as pool:
            small = list(pool.map(lambda path: _small(_read(path)), self.paths))
        self._small = np.stack(small)
        hashes = np.stack([np.stack([_views(photo), _views(_mirrored(photo))]) for photo in small])
        self._crops = hashes.shape[2]
        self._views = hashes.reshape(-1, hashes.shape[3])
        self._wholes = np.ascontiguousarray(hashes[:, :, 0].reshape(-1, hashes.shape[3]))
        self._features = functools.lru_cache(maxsize=512)(self._read_features)
        self.fingerprint = hashlib.sha256(
            self._small.tobytes() + os.fsencode("\n".join(self.paths))
        ).hexdigest()[:16]
        """Changes with the validation photos."""

    def find(self, path: str) -> Match | None:
        """The validation photo that ``path`` shows, if any.

        Raises:
            ImageError: the photo cannot be read.
        """
        grey = _read(path)
        candidates = self._candidates(grey)
        if not candidates:
            return None
        ours = _features(grey)
        for bits, number, mirrored in candidates:
            found = self._compare(ours, self._features(number, mirrored))
            if found is not None:
                inliers, correlation, outline = found
                if mirrored:
                    outline = tuple((1.0 - x, y) for x, y in outline)
                return Match(
                    path, self.paths[number], mirrored, bits, inliers, correlation, outline
                )
        return None

    def _candidates(self, grey: Grey) -> list[tuple[int, int, bool]]:
        """(different bits, validation photo, mirrored), most alike first, each of them once."""
        ours = _small(grey)
        views = _views(ours)
        # Bits, photo and side, and which crop of the pool photo looks like which of the validation
        # photo.
        near = [
            (bits, row // self._crops, 0, row % self._crops)
            for _, row, bits in _nearest(views[:1], self._views, _NEAREST)
        ]
        near += [(bits, row, crop, 0) for crop, row, bits in _nearest(views, self._wholes, 4)]
        best: dict[int, tuple[float, int]] = {}
        for bits, side, our_crop, their_crop in near:
            if bits > self.options.hash_bits:
                continue
            theirs = _mirrored(self._small[side // 2]) if side % 2 else self._small[side // 2]
            alike = _correlation(_thumb(_cut(ours, our_crop)), _thumb(_cut(theirs, their_crop)))
            if alike >= _ALIKE and (side not in best or alike > best[side][0]):
                best[side] = (alike, bits)
        order = sorted(best, key=lambda side: -best[side][0])[: self.options.candidates]
        return [(best[side][1], side // 2, side % 2 == 1) for side in order]

    def _read_features(self, number: int, mirrored: bool) -> _Features:
        grey = _read(self.paths[number])
        return _features(_mirrored(grey) if mirrored else grey)

    def _compare(self, ours: _Features, theirs: _Features) -> tuple[int, float, Outline] | None:
        """Inliers, correlation and outline, where the first two are enough."""
        options = self.options
        pairs = _matches(ours, theirs, options.ratio)
        if len(pairs) >= max(4, options.inliers):
            source, target = theirs.points[pairs[:, 1]], ours.points[pairs[:, 0]]
            homography, mask = cv2.findHomography(source, target, cv2.RANSAC, options.reprojection)
            if homography is not None and int(mask.sum()) >= options.inliers:
                correlation = _aligned_correlation(ours.grey, theirs.grey, homography)
                if correlation >= options.correlation:
                    return (
                        int(mask.sum()),
                        correlation,
                        _outline(ours.grey, theirs.grey, homography),
                    )
        if min(len(ours.points), len(theirs.points)) < 2 * options.inliers:
            # Fog, sky, a plain wall: hardly a feature to match. Whole against whole, with less
            # tolerance.
            correlation = _correlation(_small(ours.grey), _small(theirs.grey))
            if correlation >= 1 - (1 - options.correlation) / 5:
                return 0, correlation, _WHOLE
        return None


def find_look_alikes(
    pool: Iterable[str], look_alikes: LookAlikes, threads: int = 2
) -> Iterator[tuple[str, Match | ImageError | None]]:
    """Each pool photo, in order, with its match, None, or why it cannot be read."""

    def look(path: str) -> tuple[str, Match | ImageError | None]:
        try:
            check_listable(path)
            return path, look_alikes.find(path)
        except ImageError as error:
            return path, error

    executor = ThreadPoolExecutor(max(1, threads))
    try:
        paths = iter(pool)
        waiting: list[Future[tuple[str, Match | ImageError | None]]] = [
            executor.submit(look, path) for path in islice(paths, 8 * threads)
        ]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [executor.submit(look, path) for path in islice(paths, 1)]
    finally:
        executor.shutdown(cancel_futures=True)  # Ctrl-C need not wait for those that wait


# Photos


def _read(path: str) -> Grey:
    try:
        data = read_file(path)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}") from error
    grey: Grey = cv2.cvtColor(decode(data, path), cv2.COLOR_RGB2GRAY)
    shrink = _SIFT_SIDE / min(grey.shape)
    if shrink != 1.0:
        width, height = (max(1, round(side * shrink)) for side in grey.shape[::-1])
        grey = cv2.resize(
            grey, (width, height), interpolation=cv2.INTER_AREA if shrink < 1 else cv2.INTER_LINEAR
        )
    return grey


def _mirrored(grey: Grey) -> Grey:
    return np.ascontiguousarray(grey[:, ::-1])


# Hashes


def _small(grey: Grey) -> Grey:
    """[64, 64]."""
    small: Grey = cv2.resize(grey, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA)
    return small


def _views(small: Grey) -> NDArray[np.uint8]:
    """Hashes of a reduced photo and its crops, the whole first: [V, 32]."""
    return np.stack([_hash(_cut(small, crop)) for crop in range(len(_boxes()))])


def _cut(small: Grey, crop: int) -> Grey:
    top, left, side = _boxes()[crop]
    return small[top : top + side, left : left + side]


@functools.lru_cache(maxsize=1)
def _boxes() -> tuple[tuple[int, int, int], ...]:
    """Top, left and side of every crop of a reduced photo."""
    boxes: list[tuple[int, int, int]] = []
    for share, positions in _CROPS:
        side = round(share * _SMALL)
        places = np.linspace(0, _SMALL - side, positions).round().astype(int).tolist()
        boxes += [(top, left, side) for top in places for left in places]
    return tuple(boxes)


def _hash(grey: Grey) -> NDArray[np.uint8]:
    """[32] bytes: which cells of a 16 x 16 thumbnail are brighter than the middle of its range.

    Not than its median: before a black background half of the cells lie next to that.
    """
    thumb = _thumb(grey)
    low, high = np.percentile(thumb, (10, 90))
    return np.packbits(thumb > (low + high) / 2)


def _thumb(grey: Grey) -> Grey:
    """[16, 16]."""
    thumb: Grey = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return thumb


def _nearest(
    queries: NDArray[np.uint8], known: NDArray[np.uint8], count: int
) -> list[tuple[int, int, int]]:
    """(query, row, different bits) of each query's ``count`` nearest rows, block by block."""
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING)
    found = []
    for start in range(0, len(known), _BLOCK):
        for matches in matcher.knnMatch(
            queries, known[start : start + _BLOCK], k=min(count, len(known))
        ):
            found += [(m.queryIdx, start + m.trainIdx, int(m.distance)) for m in matches]
    return found


# Features


def _features(grey: Grey) -> _Features:
    keypoints, descriptors = cv2.SIFT.create(
        nfeatures=600, contrastThreshold=0.02
    ).detectAndCompute(grey, None)
    points = np.array([keypoint.pt for keypoint in keypoints], dtype=np.float32).reshape(-1, 2)
    return _Features(points, descriptors, grey)


def _matches(ours: _Features, theirs: _Features, ratio: float) -> NDArray[np.int64]:
    """[M, 2] places of features that match, in ``ours`` and in ``theirs``; none of theirs twice."""
    if ours.descriptors is None or theirs.descriptors is None or len(theirs.points) < 2:
        return np.empty((0, 2), np.int64)
    pairs: dict[int, tuple[float, int]] = {}
    for best, second in cv2.BFMatcher(cv2.NORM_L2).knnMatch(
        ours.descriptors, theirs.descriptors, k=2
    ):
        known = pairs.get(best.trainIdx)
        if best.distance < ratio * second.distance and (known is None or best.distance < known[0]):
            pairs[best.trainIdx] = (best.distance, best.queryIdx)
    return np.array([(place, train) for train, (_, place) in pairs.items()], np.int64).reshape(
        -1, 2
    )


def _aligned_correlation(ours: Grey, theirs: Grey, homography: NDArray[np.float64]) -> float:
    """Correlation where ``homography`` lays ``theirs`` over ``ours``; -1: hardly anywhere."""
    height, width = ours.shape
    warped = cv2.warpPerspective(theirs, homography, (width, height))
    covered = cv2.warpPerspective(np.full_like(theirs, 255), homography, (width, height)) == 255
    if covered.mean() < 0.2:
        return -1.0
    blurred = (cv2.GaussianBlur(image, (0, 0), 2.0)[covered] for image in (ours, warped))
    return _correlation(*blurred)


def _outline(ours: Grey, theirs: Grey, homography: NDArray[np.float64]) -> Outline:
    """Where the corners of ``ours`` lie in ``theirs``, which ``homography`` lays over it."""
    height, width = ours.shape
    corners = np.array([_WHOLE], np.float64) * (width, height)
    places = cv2.perspectiveTransform(corners, np.linalg.inv(homography))[0] / theirs.shape[::-1]
    return tuple((round(x, 4), round(y, 4)) for x, y in places.tolist())


def _correlation(first: NDArray[Any], second: NDArray[Any]) -> float:
    a, b = (values.astype(np.float64).reshape(-1) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0
