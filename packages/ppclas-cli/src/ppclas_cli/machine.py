"""What this machine and this Python environment have, found without importing Paddle."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

Version = tuple[int, ...]


@dataclass(frozen=True)
class Gpu:
    """What ``nvidia-smi`` says."""

    names: tuple[str, ...]
    cuda: Version | None
    """Newest CUDA that the driver can run, (major, minor); None where nvidia-smi does not say."""


@dataclass(frozen=True)
class Machine:
    """A machine and a Python environment."""

    python: Version
    system: str
    """``Linux``, ``Windows`` or ``Darwin``."""
    architecture: str
    """``x86_64``, ``AMD64``, ``arm64`` …"""
    gpu: Gpu | None = None
    cpus: int = 1
    """CPUs that this process may use."""
    memory: int | None = None
    """Bytes of memory; None where the system does not say."""
    shared_memory: int | None = None
    """Bytes of /dev/shm; None where there is none."""
    packages: dict[str, str] = field(default_factory=dict)
    """Installed distributions, normalised name → version."""

    def version(self, package: str) -> Version | None:
        """The numbers of an installed package's version, None where it is not installed."""
        return release(self.packages[package]) if package in self.packages else None


def probe_machine() -> Machine:
    """Look at this machine; takes a second where there is a GPU."""
    return Machine(
        python=sys.version_info[:3],
        system=platform.system(),
        architecture=platform.machine(),
        gpu=probe_gpu(),
        cpus=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        memory=_memory(),
        shared_memory=shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else None,
        packages=installed_packages(),
    )


def probe_gpu() -> Gpu | None:
    """The NVIDIA GPUs, None where there are none or no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        listing = subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
        banner = subprocess.run(
            [program], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return read_nvidia_smi(listing, banner)


def read_nvidia_smi(listing: str, banner: str) -> Gpu | None:
    """The GPUs in the output of ``nvidia-smi -L`` and of ``nvidia-smi``."""
    names = tuple(re.findall(r"^GPU \d+: (.*?) \(UUID", listing, flags=re.MULTILINE))
    found = re.search(r"CUDA(?: UMD)? Version\s*:\s*(\d+)\.(\d+)", banner)
    return Gpu(names, (int(found[1]), int(found[2])) if found else None) if names else None


def installed_packages() -> dict[str, str]:
    """Normalised name → version of every distribution in this environment."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # a half-removed package has none
            # The first on sys.path is the one that is imported.
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return found


def release(version: str) -> Version:
    """``3.3.1.post120`` → (3, 3, 1)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return None
