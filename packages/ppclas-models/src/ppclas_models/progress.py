"""What a person sees of a download, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_UPDATES = 0.2
_WIDTH = 40


@contextmanager
def shown(title: str) -> Iterator[tuple[Callable[[int, int | None], None], Callable[[str], None]]]:
    """Say that ``title`` is downloaded; gives what shows bytes (done, all) and what says more."""
    line = _Line(sys.stderr)
    line.say(f"downloading {title}")
    try:
        yield line.progress, line.say
    finally:
        line.clear()


class _Line:
    """Written over on a terminal; now and then a new line elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._pause = _SECONDS_BETWEEN_UPDATES if self._terminal else _SECONDS_BETWEEN_LINES
        self._last = time.monotonic()

    def say(self, text: str) -> None:
        self.clear()
        print(text, file=self._stream)

    def progress(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - self._last < self._pause:
            return
        self._last = now
        text = f"  {done / 2**20:.1f}{'' if total is None else f' of {total / 2**20:.1f}'} MiB"
        if self._terminal:
            print(f"\r{text:{_WIDTH}}", end="", file=self._stream, flush=True)
        else:
            print(text, file=self._stream)

    def clear(self) -> None:
        if self._terminal:
            print(f"\r{'':{_WIDTH}}\r", end="", file=self._stream, flush=True)
