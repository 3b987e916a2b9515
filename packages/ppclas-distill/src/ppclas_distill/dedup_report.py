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
from ppclas_core.errors import DataError, ImageError
from ppclas_core.files import write_atomic, write_json, write_text
from ppclas_data.csv_cells import csv_cells
from ppclas_data.decoding.decode import decode
from ppclas_data.leftovers import clear_leftovers
from ppclas_data.sources.photo_files import LeftOut

from ppclas_distill.dedup import DedupOptions, LookAlikes, Match, find_look_alikes
from ppclas_distill.findings import Findings
from ppclas_distill.select import pool_paths

_TILE = 180
"""Side of a photo on the contact sheet, in pixels."""
_GAP = 4
"""Between the two photos of a pair, in pixels."""
_MARGIN = 14
"""Around a pair."""
_LINE = 16
"""Height of a line of text."""
_COLUMNS = 4
"""Pairs a row."""
_CARD, _INK, _OUTLINE = (242, 242, 242), (30, 30, 30), (255, 60, 0)
"""RGB: behind a pair, of text, of the part of a validation photo that the pool photo shows."""
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
    against_root: str | None = None,
    options: DedupOptions | None = None,
    threads: int = 2,
    note: Callable[[str], None] = lambda _: None,
    on_photo: Callable[[int], None] = lambda _: None,
) -> DedupReport:
    """Compare ``pool`` with the validation photos ``against``; both are folders or list files.

    Writes into ``output``: ``kept.txt`` (one path per line), ``removed.csv`` and ``removed.json``,
    and ``removed.png``, a contact sheet with each removed photo beside its validation photo. No
    photo is deleted. What a stopped comparison of the same photos with the same options found
    in ``output`` is gone on with.

    Args:
        pool: photos to look through.
        against: validation photos.
        output: folder to write into.
        root: folder that paths in lists are relative to; by default the list's own.
        against_root: the same for ``against`` alone; by default ``root``.
        options: how much two photos must have in common.
        threads: photos looked at at once.
        note: called with lines for the person.
        on_photo: called with 1 for each photo of the pool that was compared.

    Raises:
        DataError: one of the two has no photos.
        ImageError: a validation photo cannot be read.
    """
    known = list(pool_paths(against, against_root or root))
    if not known:
        raise DataError(f"{against}: expected validation photos, found none")
    left_out = LeftOut()
    if sum(1 for _ in pool_paths(pool, root, left_out)) == 0:
        raise DataError(f"{pool}: expected photos, found none")
    look_alikes = LookAlikes(known, options, threads)
    note(f"{len(known)} validation photos are read")
    for said in left_out.notes(pool):
        note(said)
    output.mkdir(parents=True, exist_ok=True)
    settings = f"{look_alikes.fingerprint} {look_alikes.options!r}"
    found = Findings(output / "progress.jsonl", settings)
    rest = found.go_on(lambda: pool_paths(pool, root), note)
    with found.adding() as add:
        for path, result in find_look_alikes(rest, look_alikes, threads):
            add(path, result)
            on_photo(1)
    report = _written(found, len(known), output)
    found.path.unlink()
    return report


def _written(found: Findings, against: int, output: Path) -> DedupReport:
    """The report on what was found, and its files."""
    matches: list[Match] = []
    unreadable: list[str] = []
    photos = 0

    def write_kept(temporary: Path) -> None:
        nonlocal photos
        with open(temporary, "w", encoding="utf-8") as kept:
            for path, result in found:
                photos += 1
                if isinstance(result, Match):
                    matches.append(result)
                elif result is not None:
                    unreadable.append(result)
                else:
                    kept.write(f"{os.path.abspath(path)}\n")  # noqa: PTH100 - a million Paths take seconds

    clear_leftovers(output)
    write_atomic(output / "kept.txt", write_kept)
    report = DedupReport(photos, against, tuple(matches), tuple(unreadable))
    write_text(output / "removed.csv", _table(report.matches))
    write_json(output / "removed.json", report.to_dict())
    if matches:
        draw_pairs(report, output / "removed.png")
    else:
        (output / "removed.png").unlink(missing_ok=True)  # of an earlier call
    return report


def draw_pairs(report: DedupReport, path: Path) -> None:
    """A contact sheet: each pool photo beside its validation photo, the least alike first."""
    shown = sorted(report.matches, key=lambda match: match.correlation)[:_PAIRS]
    pairs = [_pair(match) for match in shown]
    columns = min(_COLUMNS, len(pairs))
    pairs += [np.full_like(pairs[0], 255)] * (-len(pairs) % columns)
    rows = [np.hstack(pairs[start : start + columns]) for start in range(0, len(pairs), columns)]
    of = f"the {len(shown)} least alike of " if len(shown) < len(report.matches) else ""
    words = (
        f"{of}{len(report.matches)} of {report.photos} photos show one of {report.against} "
        "validation photos.",
        "Left: the photo of the pool. Right: the validation photo, and what of it the left one "
        "shows.",
    )
    header = np.full((_MARGIN + _LINE * len(words), rows[0].shape[1], 3), 255, np.uint8)
    for line, text in enumerate(words):
        _print(header, text, _MARGIN, _MARGIN + _LINE * line)
    sheet = np.pad(
        np.vstack([header, *rows]), ((0, _MARGIN), (0, _MARGIN), (0, 0)), constant_values=255
    )
    done, encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    assert done
    write_atomic(path, lambda temporary: _write(temporary, encoded.tobytes()))


def _pair(match: Match) -> NDArray[np.uint8]:
    """The two photos side by side on a card, what they are called and what was measured below."""
    ours, theirs = _fitted(match.pool), _fitted(match.validation)
    outline = np.array(match.outline) * (theirs.shape[1] - 1, theirs.shape[0] - 1)
    cv2.polylines(theirs, [outline.round().astype(np.int32)], True, _OUTLINE, 2, cv2.LINE_AA)
    width = 2 * _TILE + _GAP
    card = np.full((_TILE + 3 * _LINE + 6, width, 3), _CARD, np.uint8)
    for left, photo in ((0, ours), (_TILE + _GAP, theirs)):
        height, across = photo.shape[:2]
        top, start = (_TILE - height) // 2, left + (_TILE - across) // 2
        card[top : top + height, start : start + across] = photo
    measured = f"{match.inliers} features agree, correlation {match.correlation:.3f}"
    lines = (
        _shortened(Path(match.pool).name, width),
        _shortened(f"shows {Path(match.validation).name}", width),
        f"{measured}{', mirrored' if match.mirrored else ''}",
    )
    for line, text in enumerate(lines):
        _print(card, text, 4, _TILE + 3 + _LINE * line)
    return np.pad(card, ((_MARGIN, 0), (_MARGIN, 0), (0, 0)), constant_values=255)


_FONT = (cv2.FONT_HERSHEY_SIMPLEX, 0.4)


def _print(image: NDArray[np.uint8], text: str, left: int, top: int) -> None:
    cv2.putText(image, text, (left, top + _LINE - 5), *_FONT, _INK, 1, cv2.LINE_AA)


def _shortened(text: str, width: int) -> str:
    """``text`` without its middle if wider than ``width`` pixels; spells out what is not UTF-8."""
    shown = text = text.encode(errors="backslashreplace").decode()  # OpenCV 5 crashes at such bytes
    while cv2.getTextSize(shown, *_FONT, 1)[0][0] > width - 8:
        keep = (len(shown) - 4) // 2
        shown = f"{text[:keep]}...{text[-keep:]}"
    return shown


def _fitted(path: str) -> NDArray[np.uint8]:
    try:
        photo = decode(Path(path).read_bytes(), path)
    except (OSError, ImageError):
        return np.full((_TILE, _TILE, 3), 128, np.uint8)  # it went away since
    scale = _TILE / max(photo.shape[:2])
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
        writer.writerow(
            csv_cells([m.pool, m.validation, m.mirrored, m.bits, m.inliers, f"{m.correlation:.4f}"])
        )
    return text.getvalue()
