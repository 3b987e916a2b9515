"""The folder of this user's caches."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """``$PPCLAS_HOME``, or ``~/.cache/ppclas`` where it is not set."""
    given = os.environ.get("PPCLAS_HOME")
    return Path(given) if given else Path.home() / ".cache" / "ppclas"
