"""A limit on what nothing in this process can interrupt.

Paddle waits for peers inside a call that may keep the interpreter's lock, so neither a timer nor a
signal handler of this process would run. Another process watches instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ppclas_core.errors import TrainingError

from ppclas_engine.ranks.failure import report_failure


@contextmanager
def deadline(seconds: float, message: str) -> Iterator[None]:
    """End this process, with ``message`` as the failure of its rank, unless the body is done within
    ``seconds``.
    """
    watcher = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        start_new_session=True,
    )
    assert watcher.stdin is not None
    try:
        job = {"process": os.getpid(), "seconds": seconds, "message": message}
        watcher.stdin.write(json.dumps(job).encode() + b"\n")
        watcher.stdin.flush()
        yield
    finally:
        with contextlib.suppress(OSError):  # it has ended by itself
            watcher.stdin.close()
        watcher.wait()


def _watch() -> None:
    """The watcher: its input ends when the work is done, and when the process is gone."""
    job = json.loads(sys.stdin.buffer.readline())
    reader = threading.Thread(target=sys.stdin.buffer.read, daemon=True)
    reader.start()
    reader.join(job["seconds"])
    if reader.is_alive():
        report_failure(TrainingError(job["message"]))
        # Where there is no SIGKILL, SIGTERM ends a process at once.
        os.kill(job["process"], getattr(signal, "SIGKILL", signal.SIGTERM))
        os._exit(0)


if __name__ == "__main__":
    _watch()
