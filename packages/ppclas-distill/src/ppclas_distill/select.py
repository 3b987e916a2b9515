"""Pick from a large pool of unlabelled photos those that a teacher is surest of, so many for each
class.

The pool is read once, in order; what is held is a bounded table of scores and places, not of paths.
A stopped selection goes on where it was.
"""

from __future__ import annotations

import csv
import json
import os
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import DataError, ImageError
from ppclas_core.files import write_atomic, write_json
from ppclas_data.csv_cells import csv_cells
from ppclas_data.leftovers import clear_leftovers
from ppclas_data.sources.lists import ListSource
from ppclas_data.sources.photo_files import LeftOut, is_listable, is_photo, walk_photos

Answers = tuple[NDArray[np.float32], list[tuple[int, str]]]
"""Probabilities [N, C] of N photos, NaN for those that cannot be read, and of these place and
reason."""

_SECONDS_BETWEEN_SAVES = 30.0


class TopPerClass:
    """The ``per_class`` most probable photos of each class, among all that were added.

    A photo is a candidate for its most probable class alone. Equal probabilities: the earlier photo
    wins. Memory is 24 bytes for each place of each class that was ever needed.
    """

    def __init__(self, num_classes: int, per_class: int, least: float = 0.0) -> None:
        self._per_class, self._least = per_class, least
        self._scores: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * num_classes
        self._places: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * num_classes
        self._counts = np.zeros(num_classes, np.int64)
        self._bars = np.full(num_classes, -np.inf, np.float32)
        """Of each class the score below which nothing can enter any more."""

    def add(self, places: NDArray[np.int64], probabilities: NDArray[np.float32]) -> None:
        """Consider photos: places [N] in the pool, ascending, and probabilities [N, C] or NaN."""
        readable = ~np.isnan(probabilities).any(axis=1)
        places, probabilities = places[readable], probabilities[readable]
        if not len(places):
            return
        classes = probabilities.argmax(axis=1)
        scores = probabilities[np.arange(len(places)), classes]
        worth = (scores >= self._least) & (scores > self._bars[classes])
        for label in np.unique(classes[worth]).tolist():
            chosen = worth & (classes == label)
            self._extend(label, scores[chosen], places[chosen])

    def best(self) -> list[tuple[int, float, int]]:
        """(place, probability, class) of the chosen photos, in the pool's order."""
        found = []
        for label in range(len(self._scores)):
            scores, places = self._kept(label)
            found += [
                (int(p), float(s), label)
                for p, s in zip(places.tolist(), scores.tolist(), strict=True)
            ]
        return sorted(found)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything, for a file."""
        kept = [self._kept(label) for label in range(len(self._scores))]
        return {
            "counts": np.array([len(scores) for scores, _ in kept], np.int64),
            "scores": np.concatenate([scores for scores, _ in kept]),
            "places": np.concatenate([places for _, places in kept]),
        }

    def restore(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """The inverse of ``arrays``."""
        ends = np.cumsum(arrays["counts"])[:-1]
        parts = zip(np.split(arrays["scores"], ends), np.split(arrays["places"], ends), strict=True)
        for label, (scores, places) in enumerate(parts):
            self._extend(label, scores.astype(np.float32), places.astype(np.int64))

    def _extend(self, label: int, scores: NDArray[np.float32], places: NDArray[np.int64]) -> None:
        count = int(self._counts[label])
        needed = count + len(scores)
        if needed > len(self._scores[label]):
            # Doubling, up to twice what is kept: sorting then comes once in ``per_class``
            # additions.
            room = max(needed, min(max(64, 2 * needed), 2 * self._per_class))
            for table in (self._scores, self._places):
                grown = np.empty(room, table[label].dtype)
                grown[:count] = table[label][:count]
                table[label] = grown
        self._scores[label][count:needed], self._places[label][count:needed] = scores, places
        self._counts[label] = needed
        if needed >= 2 * self._per_class:
            kept_scores, kept_places = self._kept(label)
            self._counts[label] = len(kept_scores)
            self._scores[label][: len(kept_scores)], self._places[label][: len(kept_places)] = (
                kept_scores,
                kept_places,
            )
            self._bars[label] = kept_scores[-1]

    def _kept(self, label: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Best first."""
        count = self._counts[label]
        scores, places = self._scores[label][:count], self._places[label][:count]
        order = np.lexsort((places, -scores))[: self._per_class]
        return scores[order], places[order]


@dataclass(frozen=True)
class Selected:
    """What a selection found."""

    photos: int
    """Photos of the pool that were looked at."""
    unreadable: int
    chosen: int
    per_class: tuple[int, ...]
    """How many of each class."""


def select(
    pool: str,
    answer: Callable[[list[str]], Answers],
    class_names: Sequence[str],
    output: Path,
    *,
    per_class: int,
    least: float = 0.0,
    batch_size: int = 64,
    at_once: int = 1,
    root: str | None = None,
    teacher: str = "",
    note: Callable[[str], None] = lambda _: None,
    on_batch: Callable[[int], None] = lambda _: None,
) -> Selected:
    """Choose photos of ``pool`` and write ``selected.txt`` (one path per line), ``selected.csv``
    and ``summary.json``.

    What was done before in ``output`` with the same pool and settings is gone on with.

    Args:
        pool: a folder, at any depth, or a list file (one path per line; a label after it is not
            looked at).
        answer: the teacher.
        class_names: of the teacher's answers.
        output: folder to write into.
        per_class: photos of a class at most.
        least: smallest probability of a photo's class.
        batch_size: photos the teacher is asked about at once.
        at_once: threads that ask the teacher, each about a batch of its own; what is chosen does
            not depend on it.
        root: folder that a list's paths are relative to; by default its own.
        teacher: what identifies the teacher, for a selection that is gone on with.
        note: called with lines for the person.
        on_batch: called with the number of photos of each batch.

    Raises:
        DataError: no photo in the pool, or it changed since the selection was stopped.
    """
    settings = {
        "pool": str(Path(pool).absolute()),
        "root": root,
        "teacher": teacher,
        "per_class": per_class,
        "least": least,
        "classes": list(class_names),
    }
    output.mkdir(parents=True, exist_ok=True)
    table = TopPerClass(len(class_names), per_class, least)
    progress = _Progress(output, settings)
    progress.load(table, note)
    left_out = LeftOut()
    paths = _skip(pool_paths(pool, root, left_out), progress, pool)
    saved = time.monotonic()
    batches = iter(lambda: list(islice(paths, batch_size)), [])
    for batch, (probabilities, bad) in _answered(batches, answer, at_once):
        table.add(np.arange(progress.done, progress.done + len(batch)), probabilities)
        told = {place for place, _ in bad}
        odd = (
            place
            for place in np.flatnonzero(np.isnan(probabilities).any(axis=1)).tolist()
            if place not in told
        )
        bad = [*bad, *((place, "the teacher's answer is not a number") for place in odd)]
        for place, reason in bad:
            progress.unreadable += 1
            note(f"warning: {batch[place]}: {reason} (left out)")
        progress.done += len(batch)
        progress.last = batch[-1]
        on_batch(len(batch))
        if time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
            progress.save(table)
            saved = time.monotonic()
    if not progress.done:
        raise DataError(f"{pool}: expected photos, found none")
    for said in left_out.notes(pool):
        note(said)
    progress.save(table)
    chosen = table.best()
    counts = np.bincount([label for _, _, label in chosen], minlength=len(class_names))
    _write_lists(output, chosen, class_names, pool_paths(pool, root))
    result = Selected(progress.done, progress.unreadable, len(chosen), tuple(counts.tolist()))
    write_json(
        output / "summary.json",
        {
            "photos": result.photos,
            "unreadable": result.unreadable,
            "chosen": result.chosen,
            "per_class": dict(zip(class_names, result.per_class, strict=True)),
            "settings": {key: value for key, value in settings.items() if key != "classes"},
        },
    )
    return result


def _answered(
    batches: Iterator[list[str]], answer: Callable[[list[str]], Answers], at_once: int
) -> Iterator[tuple[list[str], Answers]]:
    """Each batch with its answers, in order, while the next ones are asked about."""
    if at_once == 1:
        for batch in batches:
            yield batch, answer(batch)
        return
    asked: deque[tuple[list[str], Future[Answers]]] = deque()
    with ThreadPoolExecutor(at_once) as threads:
        try:
            for batch in batches:
                asked.append((batch, threads.submit(answer, batch)))
                if len(asked) > 2 * at_once:
                    batch, coming = asked.popleft()
                    yield batch, coming.result()
            while asked:
                batch, coming = asked.popleft()
                yield batch, coming.result()
        finally:
            for _, coming in asked:
                coming.cancel()


def pool_paths(
    pool: str, root: str | None = None, left_out: LeftOut | None = None
) -> Iterator[str]:
    """Every photo of a folder (as ``walk_photos`` has them) or a list file, one at a time.

    Raises:
        DataError: neither of them, or a line that names no photo.
    """
    path = Path(pool)
    if path.is_dir():
        yield from walk_photos(pool, left_out)
        return
    if not ListSource.recognises(pool):
        raise DataError(
            f"{pool}: expected a folder of photos or a list file with one path per line"
        )
    base = root if root is not None else str(path.parent)
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            text = line.strip()
            if not text:
                continue
            if not is_photo(text):
                text, _, label = text.replace("\t", " ").rpartition(" ")
                if not label.removeprefix("-").isdigit():
                    raise DataError(
                        f"{pool}:{number}: expected the path of a photo, got {line.strip()!r}"
                    )
            yield os.path.join(base, text.strip())  # noqa: PTH118


def check_listable(path: str) -> None:
    """Refuse the path of a photo that a line of a list cannot name.

    Raises:
        ImageError: it is not text in UTF-8, or has a tab or a line end in it.
    """
    if not is_listable(os.path.abspath(path)):  # noqa: PTH100 - a million Paths take seconds
        raise ImageError(
            f"{path}: its name is not UTF-8, or has a tab or a line end in it; rename it"
        )


class _Progress:
    """How far a selection is, in ``progress.json`` and ``progress.npz``."""

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self._file, self._settings = folder / "progress.npz", settings
        self.done = 0
        self.unreadable = 0
        self.last = ""

    def load(self, table: TopPerClass, note: Callable[[str], None]) -> None:
        if not self._file.is_file():
            return
        try:
            with np.load(self._file, allow_pickle=False) as stored:
                state = json.loads(str(stored["state"]))
                arrays = {key: stored[key] for key in ("counts", "scores", "places")}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            note(
                f"warning: {self._file} cannot be read ({error}); the selection starts from the "
                "beginning"
            )
            return
        if state["settings"] != self._settings:
            changed = [
                key for key, value in self._settings.items() if state["settings"].get(key) != value
            ]
            raise DataError(
                f"{self._file.parent} holds a selection with other settings "
                f"({', '.join(changed)}). Choose another output folder, or remove this one."
            )
        table.restore(arrays)
        self.done, self.unreadable, self.last = state["done"], state["unreadable"], state["last"]
        note(f"going on after {self.done} photos of the pool")

    def save(self, table: TopPerClass) -> None:
        state = {
            "settings": self._settings,
            "done": self.done,
            "unreadable": self.unreadable,
            "last": self.last,
        }

        def write(temporary: Path) -> None:
            with open(temporary, "wb") as file:
                arrays = table.arrays()
                np.savez(
                    file,
                    state=np.array(json.dumps(state)),
                    counts=arrays["counts"],
                    scores=arrays["scores"],
                    places=arrays["places"],
                )

        write_atomic(self._file, write)


def _skip(paths: Iterator[str], progress: _Progress, pool: str) -> Iterator[str]:
    """``paths`` after those that are done; they must still be the same ones."""
    if progress.done:
        last = next(islice(paths, progress.done - 1, None), None)
        if last != progress.last:
            raise DataError(
                f"{pool} has changed since the selection was stopped: photo {progress.done} was "
                f"{progress.last}, now it is {last or 'missing'}. Choose another output folder to "
                "start again."
            )
    return paths


def _write_lists(
    output: Path,
    chosen: Sequence[tuple[int, float, int]],
    class_names: Sequence[str],
    paths: Iterator[str],
) -> None:
    """``selected.txt`` and ``selected.csv``; the pool is read once more for the paths."""

    def rows() -> Iterator[tuple[str, str, float]]:
        position = 0
        for place, probability, label in chosen:
            path = next(islice(paths, place - position, None))
            position = place + 1
            yield os.path.abspath(path), class_names[label], probability  # noqa: PTH100

    def write_csv(temporary: Path) -> None:
        with (
            open(temporary, "w", encoding="utf-8", newline="") as table,
            open(names, "w", encoding="utf-8") as plain,
        ):
            writer = csv.writer(table, lineterminator="\n")
            writer.writerow(["path", "class", "probability"])
            for path, name, probability in rows():
                writer.writerow(csv_cells([path, name, f"{probability:.6f}"]))
                plain.write(f"{path}\n")

    clear_leftovers(output)
    names = output / ".selected.txt.tmp"
    write_atomic(output / "selected.csv", write_csv)
    names.replace(output / "selected.txt")
