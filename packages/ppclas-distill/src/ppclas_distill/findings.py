"""What a comparison with the validation photos has found, on disk: a stopped one goes on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ppclas_core.errors import ImageError

from ppclas_distill.dedup import Match

Result = Match | str | None
"""The validation photo that a photo shows, why it cannot be read, or None."""

_SECONDS_BETWEEN_SAVES = 10.0


class Findings:
    """A file of JSON lines: the settings, then path and result of a photo each, in the pool's
    order.

    Iterating over it gives the photos; no more than a line is held.
    """

    def __init__(self, path: Path, settings: str) -> None:
        self.path, self._settings = path, settings

    def go_on(
        self, pool: Callable[[], Iterator[str]], note: Callable[[str], None]
    ) -> Iterator[str]:
        """The photos of ``pool()`` that have no result yet.

        Results of other settings, or of another pool, are thrown away, and ``note`` is told.
        """
        if not self.path.is_file():
            self._start()
            return pool()
        photos, done = pool(), 0
        with open(self.path, "rb") as file:
            same = _parsed(file.readline()) == self._settings
            end = file.tell()
            while same and (row := _parsed(line := file.readline())) is not None:
                same = next(photos, None) == row[0]
                done, end = done + 1, end + len(line)
        if not same:
            note(
                f"{self.path.parent} holds a comparison of other photos or with other options: "
                "starting anew"
            )
            self._start()
            return pool()
        os.truncate(self.path, end)  # half a line is what a kill leaves
        note(f"going on after {done} photos of the pool")
        return photos

    @contextmanager
    def adding(self) -> Iterator[Callable[[str, Match | ImageError | None], None]]:
        """A function that adds a photo's result; every few seconds they go to disk."""
        with open(self.path, "a", encoding="utf-8") as file:
            saved = time.monotonic()

            def add(path: str, result: Match | ImageError | None) -> None:
                nonlocal saved
                told = (
                    asdict(result)
                    if isinstance(result, Match)
                    else None
                    if result is None
                    else str(result)
                )
                file.write(json.dumps([path, told]) + "\n")
                if time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
                    file.flush()
                    saved = time.monotonic()

            yield add

    def __iter__(self) -> Iterator[tuple[str, Result]]:
        with open(self.path, "rb") as file:
            file.readline()
            for line in file:
                path, told = json.loads(line)
                yield path, _match(told) if isinstance(told, dict) else told

    def _start(self) -> None:
        self.path.write_text(json.dumps(self._settings) + "\n", encoding="utf-8")


def _parsed(line: bytes) -> Any:
    """The value of a whole line; None for half of one, or none."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


def _match(told: dict[str, Any]) -> Match:
    return Match(**{**told, "outline": tuple((x, y) for x, y in told["outline"])})
