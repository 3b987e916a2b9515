"""What this machine and this Python environment have, found without importing Paddle."""

from __future__ import annotations

import ast
import importlib.util
import platform
import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

Capability = tuple[int, int]
"""The compute capability of a card: (major, minor)."""


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA card and its driver."""

    name: str
    capability: Capability
    memory: int
    """Bytes."""
    driver: str
    """Version of the driver, such as ``570.86.10``."""


@dataclass(frozen=True)
class GpuBuild:
    """What a GPU build of Paddle says of itself."""

    cuda: str
    """The CUDA version that it is compiled with, such as ``12.6``."""
    kernels: tuple[Capability, ...] = ()
    """Compute capabilities that it is compiled for; empty where it does not say."""


@dataclass(frozen=True)
class Machine:
    """A machine and a Python environment."""

    python: tuple[int, ...]
    system: str
    """``Linux``, ``Windows`` or ``Darwin``."""
    architecture: str
    """``x86_64``, ``AMD64``, ``arm64`` …"""
    gpus: tuple[Gpu, ...] = ()
    driver_cuda: tuple[int, int] | None = None
    """Newest CUDA that the driver runs; None where there is no driver."""
    cpus: int = 1
    """CPUs that this process may use."""
    all_cpus: int = 1
    memory: int | None = None
    """Bytes of memory; None where the system does not say."""
    shared_memory: int | None = None
    """Bytes of /dev/shm; None where there is none."""
    packages: dict[str, str] = field(default_factory=dict)
    """Installed distributions, normalised name → version."""
    gpu_build: GpuBuild | None = None
    """The GPU build of Paddle that is installed; None for the CPU build and for none."""

    def version(self, package: str) -> Version | None:
        """An installed package's version, None where it is not installed or says no version."""
        return parse_version(self.packages[package]) if package in self.packages else None


def probe_machine() -> Machine:
    """Look at this machine."""
    import psutil  # type: ignore[import-untyped]  # deferred: help and listings do not pay for it

    gpus, driver_cuda = probe_gpus()
    all_cpus = psutil.cpu_count() or 1
    process = psutil.Process()
    return Machine(
        python=sys.version_info[:3],
        system=platform.system(),
        architecture=platform.machine(),
        gpus=gpus,
        driver_cuda=driver_cuda,
        # macOS does not pin processes to CPUs.
        cpus=len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else all_cpus,
        all_cpus=all_cpus,
        memory=psutil.virtual_memory().total,
        shared_memory=shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else None,
        packages=installed_packages(),
        gpu_build=installed_gpu_build(),
    )


def probe_gpus(nvml: Any = None) -> tuple[tuple[Gpu, ...], tuple[int, int] | None]:
    """The NVIDIA cards, and the newest CUDA that their driver runs.

    ``nvml`` is the module ``pynvml`` unless another is given. Without a driver: no cards, and None.
    """
    if nvml is None:
        import pynvml  # type: ignore[import-untyped]  # deferred, as psutil is

        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:  # no library, no driver, or one that is broken
        return (), None
    try:
        driver = nvml.nvmlSystemGetDriverVersion()
        cuda = nvml.nvmlSystemGetCudaDriverVersion_v2()
        handles = [
            nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())
        ]
        gpus = tuple(
            Gpu(
                name=nvml.nvmlDeviceGetName(handle),
                capability=tuple(nvml.nvmlDeviceGetCudaComputeCapability(handle)),
                memory=nvml.nvmlDeviceGetMemoryInfo(handle).total,
                driver=driver,
            )
            for handle in handles
        )
    except nvml.NVMLError:  # a card that has fallen off the bus, or that this user may not see
        return (), None
    finally:
        nvml.nvmlShutdown()
    return gpus, (cuda // 1000, cuda % 1000 // 10)  # NVML says 12080 for 12.8


def installed_packages() -> dict[str, str]:
    """Normalised name → version of every distribution in this environment."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # a half-removed package has none
            # The first on sys.path is the one that is imported.
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return found


def installed_gpu_build() -> GpuBuild | None:
    """What the GPU build of Paddle in this environment says of itself; None where there is none."""
    found = importlib.util.find_spec("paddle")
    if found is None or found.origin is None:
        return None
    try:
        text = (Path(found.origin).parent / "version" / "__init__.py").read_text(encoding="utf-8")
    except OSError:  # half-removed
        return None
    return read_gpu_build(text)


def read_gpu_build(text: str) -> GpuBuild | None:
    """The build that ``paddle/version/__init__.py`` with this ``text`` describes, without running
    it; None for a CPU build.
    """
    try:
        lines = ast.parse(text).body
    except SyntaxError:
        return None
    said = {
        line.targets[0].id: line.value.value if isinstance(line.value, ast.Constant) else line.value
        for line in lines
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)
    }
    cuda, compiled = said.get("cuda_version"), said.get("compiled_cuda_archs")
    if not isinstance(cuda, str) or parse_version(cuda) is None:  # 'False' in a CPU build
        return None
    try:
        numbers = ast.literal_eval(compiled) if isinstance(compiled, ast.List | ast.Tuple) else ()
        return GpuBuild(cuda, tuple(divmod(int(number), 10) for number in numbers))
    except ValueError:  # a form that no release has had yet
        return GpuBuild(cuda)


def parse_version(text: str) -> Version | None:
    """``text`` as a version, None where it is none."""
    try:
        return Version(text)
    except InvalidVersion:
        return None


def as_text(numbers: Iterable[int]) -> str:
    """(12, 0) → ``12.0``."""
    return ".".join(map(str, numbers))
