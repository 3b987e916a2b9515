"""Look at every image and label before training does: what ``ppclas data check`` reports."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from ppclas_core.config.schema import DataSection
from ppclas_core.contracts.data import Image, ImageSet, Record
from ppclas_core.contracts.readers import BadImage
from ppclas_core.errors import DataError, ImageError

from ppclas_data.decoding import jpeg
from ppclas_data.decoding.decode import count_frames
from ppclas_data.decoding.depth import used_range
from ppclas_data.decoding.samples import reader_of
from ppclas_data.inspection.dark import Range, warn_of_dark
from ppclas_data.inspection.likeness import alike, picture_hash
from ppclas_data.loading.loader import allowed_bad, available_cpus
from ppclas_data.sources.splits import open_splits

IMBALANCE = 10.0
"""Largest class over smallest class from which a warning is due."""
_AT_ONCE = 32
"""Images that each thread is handed at a time."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class SideStatistics:
    """Lengths of one side of the readable images, in pixels."""

    smallest: int
    median: int
    largest: int


@dataclass(frozen=True)
class SetReport:
    """What was found in one set."""

    origin: str
    num_images: int
    class_counts: dict[str, int]
    """Images of each class, as ``id name`` in id order, classes without images included."""
    bad_images: tuple[BadImage, ...]
    damaged_images: tuple[BadImage, ...]
    """Images that are read all the same, but lack a part of the picture or the frames after the
    first."""
    num_animated: int
    """Images with several frames, of which the first is used."""
    height: SideStatistics | None
    """None when no image can be read."""
    width: SideStatistics | None


@dataclass(frozen=True)
class Duplicate:
    """Two files with the same bytes."""

    first: str
    second: str
    across_sets: bool
    """One is trained on and the other validated with."""
    same_class: bool


@dataclass(frozen=True)
class Lookalike:
    """A validation photo that shows what a training photo shows."""

    train: str
    val: str
    different_bits: int
    """Of the 512 bits of their hashes, of which few are set in photos with large plain areas."""


@dataclass(frozen=True)
class DataReport:
    """The state of a data set: ``errors`` stop a training, ``warnings`` make it doubtful."""

    train: SetReport | None
    """None when the data could not be opened."""
    val: SetReport | None
    duplicates: tuple[Duplicate, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    lookalikes: tuple[Lookalike, ...] = ()
    """Validation photos that are a training photo recompressed, resized or mirrored; not those with
    the same bytes."""

    @property
    def ok(self) -> bool:
        """Whether a training could start."""
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"ok": self.ok, **asdict(self)}


@dataclass(frozen=True)
class _Look:
    """One image, looked at."""

    record: Record
    digest: bytes = b""
    likeness: bytes = b""
    """``picture_hash``."""
    height: int = 0
    width: int = 0
    frames: int = 1
    reason: str = ""
    """Why it cannot be read; empty when it can."""
    damage: str = ""
    """What is wrong with it although it can be read."""
    used: tuple[int, int] | None = None
    """``used_range``: largest sample and largest possible one, where a sample has above 8 bits."""
    unsearched: bool = False
    """Damage inside it was not looked for."""


def check_data(
    section: DataSection, progress: Callable[[int, int], None] | None = None
) -> DataReport:
    """Open the sets of ``section`` and decode every image; ``progress`` gets (done, total)."""
    try:
        splits = open_splits(section)
    except DataError as error:
        return DataReport(None, None, (), (str(error),), (), ())
    images = [
        (image_set, i) for image_set in (splits.train, splits.val) for i in range(len(image_set))
    ]
    read = reader_of(section)
    looks = look_at_all(lambda place: _look(*images[place], read), len(images), progress)
    in_train, in_val = looks[: len(splits.train)], looks[len(splits.train) :]
    train, val = _report(splits.train, in_train), _report(splits.val, in_val)
    duplicates, lookalikes = _duplicates(in_train, in_val), _lookalikes(in_train, in_val)
    errors = [
        error for report in (train, val) for error in _errors(report, section.max_bad_fraction)
    ]
    doubts = [
        *_imbalance(train),
        *_damaged(train, val),
        *_animated(train, val),
        *warn_of_dark(
            [
                Range(look.record.where, look.used[0], section.max_sample or look.used[1])
                for look in looks
                if look.used
            ]
        ),
        *_doubled(duplicates),
        *_leaked(lookalikes),
    ]
    notes = (*splits.notes, *_unsearched(looks))
    return DataReport(train, val, duplicates, tuple(errors), tuple(doubts), notes, lookalikes)


def look_at_all(
    look: Callable[[int], _T], count: int, progress: Callable[[int, int], None] | None
) -> list[_T]:
    """``look`` at the images 0 to ``count``, by a thread for each CPU; ``progress`` is called with
    (done, count).

    The threads get a few at a time: Ctrl-C waits for all that they have.
    """
    found: list[_T] = []
    at_once = _AT_ONCE * available_cpus()
    # Threads will do: OpenCV, Pillow and hashlib release the interpreter while they work.
    with warnings.catch_warnings(), ThreadPoolExecutor(available_cpus()) as pool:
        # Pillow's, for all threads: each alone would undo the others' filters.
        warnings.simplefilter("ignore")
        for start in range(0, count, at_once):
            for one in pool.map(look, range(start, min(start + at_once, count))):
                found.append(one)
                if progress is not None:
                    progress(len(found), count)
    return found


def _look(image_set: ImageSet, index: int, read: Callable[[bytes, str], Image]) -> _Look:
    record = image_set.records[index]
    try:
        data = image_set.read(index)
        image = read(data, record.where)
    except (ImageError, OSError) as error:
        return _Look(record, reason=BadImage.of(index, record, error).reason)
    several = image.shape[2] != 3  # pages are channels, and Pillow does not know them
    frames, damage = (1, "") if several else _frames(data)
    is_jpeg = data.startswith(jpeg.SIGNATURE)
    if is_jpeg:
        damage = jpeg.find_damage(data)
    return _Look(
        record,
        hashlib.sha256(data).digest(),
        # Of many channels three are enough to find copies by.
        picture_hash(image[..., [0, 1, -1]] if several else image),
        image.shape[0],
        image.shape[1],
        frames,
        damage=damage and record.about(damage),
        used=used_range(data),
        unsearched=is_jpeg and not jpeg.can_find_damage(),
    )


def _frames(data: bytes) -> tuple[int, str]:
    """Number of frames, and what is wrong with those after the first."""
    try:
        return count_frames(data), ""
    except ImageError as error:
        return 1, str(error)


def _report(image_set: ImageSet, looks: Sequence[_Look]) -> SetReport:
    good = [look for look in looks if not look.reason]
    return SetReport(
        origin=image_set.origin,
        num_images=len(image_set),
        class_counts=count_classes(image_set),
        bad_images=tuple(
            BadImage(i, look.record.where, look.reason)
            for i, look in enumerate(looks)
            if look.reason
        ),
        damaged_images=tuple(
            BadImage(i, look.record.where, look.damage)
            for i, look in enumerate(looks)
            if look.damage
        ),
        num_animated=sum(look.frames > 1 for look in good),
        height=side_statistics([look.height for look in good]),
        width=side_statistics([look.width for look in good]),
    )


def count_classes(image_set: ImageSet) -> dict[str, int]:
    """Images of each class, as ``id name`` in id order."""
    counts = Counter(label for record in image_set.records for label in record.class_ids)
    return {f"{label} {name}": counts[label] for label, name in enumerate(image_set.class_names)}


def side_statistics(sides: Sequence[int]) -> SideStatistics | None:
    """Smallest, median and largest; None of nothing."""
    return SideStatistics(min(sides), round(np.median(sides).item()), max(sides)) if sides else None


def _duplicates(in_train: Sequence[_Look], in_val: Sequence[_Look]) -> tuple[Duplicate, ...]:
    """Each file that has the bytes of an earlier one, with that one; training images come first."""
    first: dict[bytes, tuple[_Look, bool]] = {}
    found = []
    for look, validates in [(look, False) for look in in_train] + [(look, True) for look in in_val]:
        if look.reason:
            continue
        earlier, earlier_validates = first.setdefault(look.digest, (look, validates))
        if earlier is not look:
            across = earlier_validates != validates
            same_class = earlier.record.class_ids == look.record.class_ids
            found.append(Duplicate(earlier.record.where, look.record.where, across, same_class))
    return tuple(found)


def _lookalikes(in_train: Sequence[_Look], in_val: Sequence[_Look]) -> tuple[Lookalike, ...]:
    known = {look.digest for look in in_train}
    new = [look for look in in_val if look.digest not in known]
    pairs = alike([look.likeness for look in new], [look.likeness for look in in_train])
    return tuple(
        Lookalike(in_train[b].record.where, new[a].record.where, bits) for a, b, bits in pairs
    )


def _leaked(lookalikes: Sequence[Lookalike]) -> list[str]:
    if not lookalikes:
        return []
    first = lookalikes[0]
    return [
        f"{len(lookalikes)} validation photo(s) show what a training photo shows, recompressed, "
        f"resized or mirrored (first: {first.val} and {first.train}); look at them, and take them "
        "out of one set if so"
    ]


def _errors(report: SetReport, max_bad_fraction: float) -> list[str]:
    bad = report.bad_images
    allowed, words = allowed_bad(max_bad_fraction, report.num_images)
    if len(bad) <= allowed:
        return []
    return [
        f"{report.origin}: expected at most {words}, got "
        f"{len(bad)} of {report.num_images}; replace or remove them, or raise data.max_bad_fraction"
    ]


def _imbalance(report: SetReport) -> list[str]:
    counts = {name: count for name, count in report.class_counts.items() if count}
    largest, smallest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[largest] < IMBALANCE * counts[smallest]:
        return []
    return [
        f"{report.origin}: class {largest!r} has {counts[largest]} images, {smallest!r} only "
        f"{counts[smallest]}; rare classes will be learned badly, add images of them"
    ]


def _damaged(*reports: SetReport) -> list[str]:
    found = [bad for report in reports for bad in report.damaged_images]
    if not found:
        return []
    return [
        f"{len(found)} image(s) are damaged: they are read, but a part of the picture, or frames "
        f"after the first, are lost (first: {found[0].where}: {found[0].reason}); look at them, "
        "and replace them or take them out"
    ]


def _unsearched(looks: Sequence[_Look]) -> list[str]:
    count = sum(look.unsearched for look in looks)
    if not count:
        return []
    return [
        f"{count} JPEG(s) are not searched for damage inside the picture; that takes simplejpeg "
        f"(pip install 'ppclas-data[turbo]')."
    ]


def _animated(*reports: SetReport) -> list[str]:
    return [
        f"{report.origin}: {report.num_animated} image(s) are animations, of which only the first "
        "frame is used"
        for report in reports
        if report.num_animated
    ]


def _doubled(duplicates: Sequence[Duplicate]) -> list[str]:
    kinds: dict[str, list[Duplicate]] = defaultdict(list)
    for duplicate in duplicates:
        if duplicate.across_sets:
            kinds[
                "validation image(s) are trained on too, so the validation result will be too good"
            ].append(duplicate)
        if not duplicate.same_class:
            kinds[
                "file(s) are there twice with different labels, of which one must be wrong"
            ].append(duplicate)
        if not duplicate.across_sets and duplicate.same_class:
            kinds["file(s) are there twice in one set"].append(duplicate)
    return [
        f"{len(found)} {kind} (first: {found[0].first} and {found[0].second})"
        for kind, found in kinds.items()
    ]
