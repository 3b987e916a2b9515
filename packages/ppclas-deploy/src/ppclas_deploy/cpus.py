"""How many CPUs there are to use."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """CPUs that this process may run on: fewer than the machine's where it is pinned."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
