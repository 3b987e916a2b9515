"""What killed processes leave half written: cleared at the next start, never under a living one."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from ppclas_core.files import owner

_LEFT = re.compile(r"(?:\..+\.|ppclas-)([0-9a-f]{8})-(\d+)-\w{8}(?:\.(tmp|old))?")
"""Names of temporaries beside what they are to become, and in the system's folder for them."""
_ABANDONED = 7 * 24 * 3600
"""Seconds after which what another machine, or this one before its last start, left is left over:
its processes cannot be looked for."""


_GLANCE = 1.0
"""Seconds between looks at whether our parent is there."""


def clear_leftovers(*folders: Path) -> None:
    """Remove from ``folders``, not below, what processes that ended left half written.

    A folder that was moved aside when its writer was killed is put back where nothing took its
    place.
    """
    for folder in folders:
        with contextlib.suppress(OSError):  # not there, or not ours to read
            for path in list(folder.iterdir()):
                found = _LEFT.fullmatch(path.name)
                if found and _ended(path, found[1], int(found[2])):
                    _clear(path, aside=found[3] == "old")


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for the time of a ``with`` block, which is cleared at a later start if we are
    killed.
    """
    _clear_system()
    return tempfile.TemporaryDirectory(prefix=f"ppclas-{owner()}-")


def end_with(parent: int) -> None:
    """Have this process ended when ``parent``, which started it, is gone or was before: nobody
    waits for what it does, and its folders will be cleared.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_GLANCE)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


@functools.cache
def _clear_system() -> None:
    clear_leftovers(Path(tempfile.gettempdir()))


def _clear(path: Path, *, aside: bool) -> None:
    with contextlib.suppress(OSError):
        for kept in path.iterdir() if aside else ():
            if not (path.parent / kept.name).exists():
                kept.rename(path.parent / kept.name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _ended(path: Path, system: str, process: int) -> bool:
    """Whether nobody writes there any more."""
    if system != owner().partition("-")[0]:
        with contextlib.suppress(OSError):
            return time.time() - path.lstat().st_mtime > _ABANDONED
        return False
    if sys.platform == "win32":  # where asking a process by signal 0 would end it
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # somebody else's
        return False
    return False
