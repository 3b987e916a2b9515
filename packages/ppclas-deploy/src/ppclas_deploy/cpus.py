"""How many CPUs there are to use, and what they can do."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def usable_cpus() -> int:
    """CPUs that this process may run on: fewer than the machine's where it is pinned."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_vnni(cpuinfo: Path = Path("/proc/cpuinfo"), machine: str | None = None) -> bool | None:
    """Whether a CPU multiplies bytes without overflow: x86 with VNNI, or another kind. None: cannot
    be told.

    Args:
        cpuinfo: the file in which Linux lists what the CPU can do.
        machine: its kind, as ``platform.machine()`` says it. Nothing: this machine's.
    """
    if (machine or platform.machine()).lower() not in ("x86_64", "amd64", "i686"):
        return True
    try:
        said = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return None
    return re.search(r"\b(avx512_vnni|avx_vnni|amx_int8)\b", said) is not None
