"""Go through a pool with ``dedup``, and write down what was found: lists, a table, a picture."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from ppclas_core.data.decode import decode
from ppclas_core.errors import DataError, ImageError
from ppclas_core.files import write_atomic, write_json, write_text

from ppclas_distill.dedup import DedupOptions, LookAlikes, Match, find_look_alikes
from ppclas_distill.select import pool_paths

_TILE = 160
"""Side of a photo on the contact sheet, in pixels."""
_COLUMNS = 4
"""Pairs a row."""
_PAIRS = 60
"""Pairs that the sheet has room for: those that agree least, which are the ones to look at."""


@dataclass(frozen=True)
class DedupReport:
    """What a pool and the validation photos have in common."""

    photos: int
    """Photos of the pool."""
    against: int
    """Validation photos."""
    matches: tuple[Match, ...]
    unreadable: tuple[str, ...]
    """Photos of the pool that cannot be read, with the reason. They are not kept."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "photos": self.photos,
            "against": self.against,
            "removed": [asdict(match) for match in self.matches],
            "unreadable": list(self.unreadable),
        }


def dedup(
    pool: str,
    against: str,
    output: Path,
    *,
    root: str | None = None,
    options: DedupOptions | None = None,
    threads: int = 2,
    on_photo: Callable[[int], None] = lambda _: None,
) -> DedupReport:
    """Compare ``pool`` with the validation photos ``against``; both are folders or list files.

    Writes into ``output``: ``kept.txt`` (a path a line), ``removed.csv`` and ``removed.json``, and ``removed.png``, a
    contact sheet with each removed photo beside its validation photo. No photo is deleted.

    Raises:
        DataError: one of the two has no photos.
        ImageError: a validation photo cannot be read.
    """
    known = list(pool_paths(against, root))
    if not known:
        raise DataError(f"{against}: expected validation photos, found none")
    look_alikes = LookAlikes(known, options, threads)
    output.mkdir(parents=True, exist_ok=True)
    matches: list[Match] = []
    unreadable: list[str] = []
    photos = 0

    def write_kept(temporary: Path) -> None:
        nonlocal photos
        with open(temporary, "w", encoding="utf-8") as kept:
            for path, found in find_look_alikes(pool_paths(pool, root), look_alikes, threads):
                photos += 1
                on_photo(1)
                if isinstance(found, Match):
                    matches.append(found)
                elif found is not None:
                    unreadable.append(str(found))
                else:
                    kept.write(f"{os.path.abspath(path)}\n")  # noqa: PTH100 - a million Paths take seconds

    write_atomic(output / "kept.txt", write_kept)
    if not photos:
        raise DataError(f"{pool}: expected photos, found none")
    report = DedupReport(photos, len(known), tuple(matches), tuple(unreadable))
    write_text(output / "removed.csv", _table(report.matches))
    write_json(output / "removed.json", report.to_dict())
    if matches:
        draw_pairs(report.matches, output / "removed.png")
    else:
        (output / "removed.png").unlink(missing_ok=True)  # of an earlier call
    return report


def draw_pairs(matches: Sequence[Match], path: Path) -> None:
    """A contact sheet: each pool photo with its validation photo at its right, the least alike first."""
    shown = sorted(matches, key=lambda match: match.correlation)[:_PAIRS]
    pairs = [_pair(match) for match in shown]
    while len(pairs) % _COLUMNS and len(pairs) > _COLUMNS:
        pairs.append(np.full_like(pairs[0], 255))
    rows = [np.hstack(pairs[start : start + _COLUMNS]) for start in range(0, len(pairs), _COLUMNS)]
    sheet = np.vstack(rows)
    done, encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    assert done
    write_atomic(path, lambda temporary: _write(temporary, encoded.tobytes()))


def _pair(match: Match) -> NDArray[np.uint8]:
    """The two photos side by side on white, what was measured below."""
    gap, text = 8, 34
    tile = np.full((_TILE + text, 2 * _TILE + gap, 3), 255, np.uint8)
    for left, path in ((0, match.pool), (_TILE, match.validation)):
        photo = _fitted(path)
        tile[: photo.shape[0], left : left + photo.shape[1]] = photo
    words = f"{match.inliers} features, r {match.correlation:.2f}{', mirrored' if match.mirrored else ''}"
    for line, said in enumerate((Path(match.pool).name[-26:] + " | " + Path(match.validation).name[-20:], words)):
        cv2.putText(tile, said, (2, _TILE + 13 + 15 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0), 1, cv2.LINE_AA)
    return tile


def _fitted(path: str) -> NDArray[np.uint8]:
    try:
        photo = decode(Path(path).read_bytes(), path)
    except (OSError, ImageError):
        return np.full((_TILE, _TILE, 3), 128, np.uint8)  # it went away since
    scale = (_TILE - 4) / max(photo.shape[:2])
    size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))
    fitted: NDArray[np.uint8] = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return fitted


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _table(matches: Sequence[Match]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["pool", "validation", "mirrored", "different_bits", "inliers", "correlation"])
    for m in matches:
        writer.writerow([m.pool, m.validation, m.mirrored, m.bits, m.inliers, f"{m.correlation:.4f}"])
    return text.getvalue()
