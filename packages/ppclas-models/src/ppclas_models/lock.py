"""One process at a time: others wait, and say so."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

Say = Callable[[str], None]
"""Called with a sentence for the person who waits."""


@contextmanager
def locked(path: Path, say: Say) -> Iterator[None]:
    """Hold a file that no other process holds; wait for it if need be."""
    while True:
        with open(path, "ab") as file:
            if not _lock(file, wait=False):
                say(
                    "another process downloads "
                    f"{path.name.removeprefix('.').removesuffix('.lock')}: waiting for it"
                )
                while not _lock(file, wait=True):
                    pass
            if not _is_at(path, file):  # whoever held it before has removed it: it protects nothing
                continue
            try:
                yield
            finally:
                with contextlib.suppress(PermissionError):  # Windows keeps open files
                    path.unlink()
            return


def _is_at(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes], *, wait: bool) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError as error:  # held by another process; waiting ends after ten seconds
            if error.errno in (errno.EACCES, errno.EDEADLOCK):
                return False
            raise
        return True

else:
    import fcntl

    def _lock(file: IO[bytes], *, wait: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True
