"""What is found out about a machine: its cards, its memory, its packages, its Paddle."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version
from ppclas_cli.machine import (
    Gpu,
    GpuBuild,
    installed_packages,
    probe_gpus,
    probe_machine,
    read_gpu_build,
)

GIB = 1 << 30


def test_this_machine():
    here = probe_machine()
    assert here.python == sys.version_info[:3]
    assert 1 <= here.cpus <= here.all_cpus == os.cpu_count()
    assert here.version("ppclas-core") == Version(installed_packages()["ppclas-core"])
    assert here.version("no-such-package") is None


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="Windows counts memory in another way")
def test_memory_is_what_the_system_counts():
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert probe_machine().memory == pages


@pytest.mark.gpu
@pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="needs nvidia-smi to compare with")
def test_cards_are_those_of_nvidia_smi():
    asked = "name,compute_cap,memory.total,driver_version"
    command = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader,nounits"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = csv.reader(told.splitlines(), skipinitialspace=True)
    gpus, _ = probe_gpus()
    assert [
        [gpu.name, "{}.{}".format(*gpu.capability), str(gpu.memory >> 20), gpu.driver]
        for gpu in gpus
    ] == list(rows)


class Nvml:
    """What ``pynvml`` answers on a machine with ``cards``; ``broken`` is the function that fails.

    Args:
        cards: (name, compute capability, bytes) of each.
    """

    class NVMLError(Exception):
        pass

    def __init__(self, cards, broken=""):
        self.cards, self.broken, self.is_open = cards, broken, False

    def __getattribute__(self, name):
        if name.startswith("nvml") and name == self.broken:
            raise self.NVMLError
        return super().__getattribute__(name)

    def nvmlInit(self):  # noqa: N802 - NVML's names
        self.is_open = True

    def nvmlShutdown(self):  # noqa: N802
        self.is_open = False

    def nvmlSystemGetDriverVersion(self):  # noqa: N802
        return "570.86.10"

    def nvmlSystemGetCudaDriverVersion_v2(self):  # noqa: N802
        return 12080

    def nvmlDeviceGetCount(self):  # noqa: N802
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return self.cards[index]

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return handle[0]

    def nvmlDeviceGetCudaComputeCapability(self, handle):  # noqa: N802
        return handle[1]

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return type("Memory", (), {"total": handle[2]})


def test_cards_are_read_through_nvml():
    nvml = Nvml([("NVIDIA H100", (9, 0), 80 * GIB), ("Tesla T4", (7, 5), 16 * GIB)])
    assert probe_gpus(nvml) == (
        (
            Gpu("NVIDIA H100", (9, 0), 80 * GIB, "570.86.10"),
            Gpu("Tesla T4", (7, 5), 16 * GIB, "570.86.10"),
        ),
        (12, 8),
    )
    assert not nvml.is_open


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetHandleByIndex"])
def test_a_driver_that_does_not_answer_shows_no_card(broken):
    nvml = Nvml([("Tesla T4", (7, 5), 16 * GIB)], broken)
    assert probe_gpus(nvml) == ((), None)
    assert not nvml.is_open


def test_our_nvml_has_no_function_that_the_real_one_lacks():
    pynvml = pytest.importorskip("pynvml")
    assert all(hasattr(pynvml, name) for name in vars(Nvml) if name.lower().startswith("nvml"))


def test_what_a_build_says_of_itself():
    pytest.importorskip("paddle", reason="reads a wheel's own version file")
    import paddle

    text = Path(paddle.version.__file__).read_text(encoding="utf-8")
    if not paddle.is_compiled_with_cuda():
        assert read_gpu_build(text) is None
        text = text.replace("cuda_version     = 'False'", "cuda_version     = '12.6'")
        text = text.replace("compiled_cuda_archs     = []", "compiled_cuda_archs = [75, 86, 120]")
        assert read_gpu_build(text) == GpuBuild("12.6", ((7, 5), (8, 6), (12, 0)))
    else:
        build = read_gpu_build(text)
        assert build.cuda == paddle.version.cuda()
        assert [10 * major + minor for major, minor in build.kernels] == paddle.version.cuda_archs()
    assert read_gpu_build("cuda_version = '12.6'") == GpuBuild("12.6")
    assert read_gpu_build("cuda_version = '12.6'\ncompiled_cuda_archs = ['x']") == GpuBuild("12.6")
    assert read_gpu_build("half a fi'le") is None
