"""How a rank says why it ends, and how it tells that it ends because of another one."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

from ppclas_core.errors import PpclasError, TrainingError

FAILURE_FILE = "PPCLAS_FAILURE_FILE"
"""Environment variable: the file that a rank writes its failure to."""


class PeerLostError(TrainingError):
    """This rank cannot go on because another one is gone: never the cause itself."""


class RankLostError(TrainingError):
    """A rank was ended from outside, or lost its peers: another start may go well."""

    def __init__(self, message: str, rank: int | None = None) -> None:
        super().__init__(message)
        self.rank = rank
        """Which one was ended; None where the ranks here lost one of another machine."""


def report_failure(error: BaseException) -> None:
    """Tell whoever started this rank why it ends."""
    file = os.environ.get(FAILURE_FILE)
    message = str(error) if isinstance(error, PpclasError) else f"{type(error).__name__}: {error}"
    if file is None:
        print(
            f"rank {os.environ.get('PADDLE_TRAINER_ID', '0')}: {message}",
            file=sys.stderr,
            flush=True,
        )
        return
    said = {"message": message, "follows": isinstance(error, PeerLostError)}
    with contextlib.suppress(OSError):  # a full disk: the log's last line has to do
        Path(file).write_text(json.dumps(said), encoding="utf-8")
