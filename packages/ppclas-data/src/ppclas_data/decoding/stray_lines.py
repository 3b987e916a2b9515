"""What C libraries write about strangers' photos: the first lines of it, not a disk full."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import re
import sys
import threading
import time
from collections.abc import Iterator

_LONGEST = 500  # bytes of a line
OF_DECODERS = re.compile(
    rb"Corrupt JPEG data|Premature end of JPEG|Invalid (SOS|JPEG)|Unsupported marker type|"
    rb"libpng (warning|error)|TIFF(FetchNormalTag|ReadDirectory)"
)
"""What decoders of photos say of damage, without the name of the file; ppclas says it with."""


@contextlib.contextmanager
def few_stray_lines(
    most: int = 100, seconds: float = 3600.0, drop: re.Pattern[bytes] | None = None
) -> Iterator[None]:
    """Inside the block, pass on at most ``most`` lines in ``seconds`` of what is written to file
    descriptor 2, and count the others. Lines that ``drop`` is found in are not passed on at all.

    libjpeg and libtiff write there about each damaged photo, and cannot be told not to. Python's
    own ``sys.stderr`` goes past the limit. A library that ends the process may lose its last line;
    Python's account of where that was is written.
    """
    try:
        straight = os.dup(2)
    except OSError:  # there is no stderr at all
        yield
        return
    source, sink = os.pipe()
    # A full pipe loses lines: a library that waited for room while it holds Python's lock would
    # wait for ever.
    os.set_blocking(sink, False)
    python = sys.stderr
    if _is_descriptor_2(python):
        python.flush()
        sys.stderr = open(  # noqa: SIM115 - closed below
            os.dup(straight), "w", encoding="utf-8", errors="backslashreplace", buffering=1
        )
    os.dup2(sink, 2)
    os.close(sink)
    faulthandler.enable(straight)
    passing = threading.Thread(
        target=_pass_on,
        args=(source, straight, most, seconds, drop),
        name="ppclas-stray",
        daemon=True,
    )
    passing.start()
    try:
        yield
    finally:
        faulthandler.disable()
        os.dup2(straight, 2)
        passing.join(1.0)
        if sys.stderr is not python:
            sys.stderr.close()
            sys.stderr = python
        if not passing.is_alive():  # a process that was started from here may still write
            os.close(straight)


def _is_descriptor_2(stream: object) -> bool:
    try:
        return isinstance(stream, io.TextIOWrapper) and stream.fileno() == 2
    except OSError:
        return False


def _pass_on(
    source: int, sink: int, most: int, seconds: float, drop: re.Pattern[bytes] | None
) -> None:
    """Copy lines until nobody can write any more."""
    left, until, more = most, time.monotonic() + seconds, 0
    with open(source, "rb") as lines:
        while line := lines.readline(_LONGEST):
            if drop is not None and drop.search(line):
                continue
            if time.monotonic() > until:
                if more:
                    os.write(sink, f"({more} more lines like those before)\n".encode())
                left, until, more = most, time.monotonic() + seconds, 0
            if left:
                os.write(sink, line)
            left, more = max(0, left - 1), more + (not left)
