"""The program of one rank: ``python -m ppclas_engine.rank``, started by ``launch``."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path

from ppclas_core.errors import PpclasError

from ppclas_engine.console import Console
from ppclas_engine.ranks.failure import report_failure
from ppclas_engine.ranks.launch import console_descriptor


def main() -> None:
    """Train as the job on stdin says. Ends the process itself: threads can delay an exit."""
    job = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    descriptor = console_descriptor()
    stream = sys.stderr
    if descriptor is not None:
        stream = os.fdopen(
            descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace"
        )
    code = 0
    try:
        from ppclas_engine.fitting import run_rank

        run_rank(
            Path(job["run"]) if job["run"] is not None else None,
            Console(stream=stream),
            device=job["device"],
            join_seconds=job["join_seconds"],
            resumed=job["resumed"],
        )
    except BaseException as error:  # any end is reported: the other ranks wait for this one
        if not isinstance(error, PpclasError):
            traceback.print_exc()
        else:
            print(error, file=sys.stderr)
        report_failure(error)
        code = 1
    for opened in (stream, sys.stdout, sys.stderr):
        opened.flush()
    os._exit(code)


def _end_with_parent() -> None:
    """The parent's end of the line closes when it goes, however it goes."""
    while sys.stdin.buffer.read(1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
