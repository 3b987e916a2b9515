"""What can be wrong with an installation, and what to do about it. A check looks at a ``Machine``
and nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from packaging.version import Version

from ppclas_cli.cuda_builds import choose_build, missing_kernels, old_driver
from ppclas_cli.machine import Machine, as_text

Level = Literal["error", "warning", "note"]

_MIB = 1 << 20


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing."""

    level: Level
    what: str
    fix: str


def diagnose(machine: Machine) -> list[Finding]:
    """Every finding, the worst first."""
    found = [finding for check in CHECKS for finding in check(machine)]
    order = ("error", "warning", "note")
    return sorted(found, key=lambda finding: order.index(finding.level))


def check_python(machine: Machine) -> Iterator[Finding]:
    """Paddle has wheels for some Pythons only."""
    if not (3, 10) <= machine.python[:2] <= (3, 13):
        yield Finding(
            "error",
            f"Python {as_text(machine.python[:2])}: ppclas and Paddle run on 3.10 to 3.13",
            "make an environment with Python 3.12",
        )


def check_paddle(machine: Machine) -> Iterator[Finding]:
    """None, two, an old one, or the wrong one."""
    has_cpu, has_gpu = (name in machine.packages for name in ("paddlepaddle", "paddlepaddle-gpu"))
    if not has_cpu and not has_gpu:
        yield Finding(
            "error",
            "PaddlePaddle is not installed; training and predicting need it",
            "ppclas setup",
        )
    if has_cpu and has_gpu:
        yield Finding(
            "error",
            "paddlepaddle and paddlepaddle-gpu are both installed; they overwrite each other's "
            "files",
            "ppclas setup (it asks before it uninstalls both and installs the one that fits)",
        )
    for version in (machine.version("paddlepaddle"), machine.version("paddlepaddle-gpu")):
        if version is not None and version.major < 3:
            yield Finding("error", f"PaddlePaddle {version} is too old", "ppclas setup")
    if has_cpu and not has_gpu and machine.gpus:
        yield Finding(
            "warning",
            f"there is a GPU ({machine.gpus[0].name}), but the CPU build of PaddlePaddle is "
            "installed",
            "ppclas setup --device gpu",
        )
    if has_gpu and not machine.gpus:
        yield Finding(
            "warning",
            "the GPU build of PaddlePaddle is installed, but the NVIDIA driver shows no GPU",
            "install the NVIDIA driver (in a container: start it with --gpus all), or ppclas "
            "setup --device cpu",
        )
    if (has_cpu or has_gpu) and "setuptools" not in machine.packages:
        yield Finding(
            "error",
            "setuptools is missing; PaddlePaddle 3.3 imports it without declaring it",
            "pip install 'setuptools>=61'",
        )


def check_gpu_build(machine: Machine) -> Iterator[Finding]:
    """A GPU build that was not compiled for a card of this machine, or not for its driver."""
    if machine.gpu_build is None:
        return
    paddle = machine.version("paddlepaddle-gpu")
    cards = {gpu.capability: gpu for gpu in machine.gpus}.values()
    missing = {
        gpu: missing_kernels(machine.gpu_build, paddle, gpu, machine.system) for gpu in cards
    }
    for gpu, what in missing.items():
        if what is not None:
            build, reason = choose_build((gpu,), machine.system)
            # Where another card works, this one is only left unused.
            level: Level = "error" if all(missing.values()) else "warning"
            yield Finding(level, what, "ppclas setup --device gpu" if build else reason)
    if cards and not any(missing.values()):
        what = old_driver(machine.gpu_build, machine.gpus[0], machine.system)
        if what is not None:
            yield Finding("warning", what, "update the NVIDIA driver")


def check_known_bad(machine: Machine) -> Iterator[Finding]:
    """Combinations of versions that are known to fail."""
    paddle = machine.version("paddlepaddle") or machine.version("paddlepaddle-gpu")
    if paddle is None:
        return
    if paddle.release[:2] == (3, 3):
        yield Finding(
            "note",
            "PaddlePaddle 3.3: paddle.inference with oneDNN crashes on nets that resize inside "
            "(HRNet and its kin), and they do not export to ONNX; other nets and training are not "
            "affected",
            "for such nets: pip install 'paddlepaddle==3.2.2'",
        )
    numpy = machine.version("numpy")
    if numpy is not None and numpy >= Version("2.4") and paddle <= Version("3.3.1"):
        yield Finding(
            "note",
            f"NumPy {numpy} with PaddlePaddle {paddle}: float(tensor) and int(tensor) raise "
            "TypeError; ppclas does not use them",
            "in your own code write tensor.item()",
        )
    converter = machine.version("paddle2onnx")
    if converter is not None and converter < Version("2.1") and paddle >= Version("3.2"):
        yield Finding(
            "warning",
            f"paddle2onnx {converter} cannot be imported with PaddlePaddle 3.2 or newer",
            "pip install 'paddle2onnx>=2.1'",
        )


def check_onnx(machine: Machine) -> Iterator[Finding]:
    """What an export to ONNX needs, and two runtimes in one place."""
    if "onnxruntime" in machine.packages and "onnxruntime-gpu" in machine.packages:
        yield Finding(
            "warning",
            "onnxruntime and onnxruntime-gpu are both installed; they overwrite each other's files",
            "pip uninstall -y onnxruntime onnxruntime-gpu, then install one of them",
        )
    has_runtime = "onnxruntime" in machine.packages or "onnxruntime-gpu" in machine.packages
    if "paddle2onnx" in machine.packages and not (has_runtime and "onnx" in machine.packages):
        yield Finding(
            "warning",
            "paddle2onnx is installed without onnx and onnxruntime: an ONNX export cannot be "
            "proved right",
            "pip install 'ppclas-deploy[onnx]'",
        )


def check_opencv(machine: Machine) -> Iterator[Finding]:
    """More than one OpenCV in one place."""
    names = (
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    )
    found = [name for name in names if name in machine.packages]
    if len(found) > 1:
        yield Finding(
            "warning",
            f"{' and '.join(found)} are installed together; they overwrite each other's files",
            f"pip uninstall -y {' '.join(found)}, then pip install opencv-python-headless",
        )


def check_packages(machine: Machine) -> Iterator[Finding]:
    """Our own packages."""
    if "ppclas-models" not in machine.packages:
        yield Finding(
            "warning",
            "ppclas-models is not installed: there is no model to train",
            "pip install ppclas-models",
        )


def check_memory(machine: Machine) -> Iterator[Finding]:
    """Memory, and the part of it that loader processes share."""
    if machine.memory is not None and machine.memory < 2048 * _MIB:
        yield Finding(
            "warning",
            f"{machine.memory // _MIB} MiB of memory",
            "use small models, sizes and batches",
        )
    if machine.shared_memory is not None and machine.shared_memory < 256 * _MIB:
        yield Finding(
            "warning",
            f"/dev/shm has {machine.shared_memory // _MIB} MiB; processes that read photos pass "
            "them on through it",
            "start the container with --shm-size=2g, or train with --workers 0",
        )


CHECKS: tuple[Callable[[Machine], Iterator[Finding]], ...] = (
    check_python,
    check_paddle,
    check_gpu_build,
    check_known_bad,
    check_onnx,
    check_opencv,
    check_packages,
    check_memory,
)


def check_import(timeout: float = 120.0) -> Finding | None:
    """Import Paddle in a process of its own and compute something; None where that works."""
    # item() waits for a GPU, whose errors come later than the call that made them.
    code = (
        "import paddle; y = paddle.nn.Conv2D(3, 2, 3)(paddle.ones([1, 3, 8, 8])); "
        "assert y.shape == [1, 2, 6, 6] and paddle.isfinite(y).all().item()"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(
            "error", f"importing Paddle took longer than {timeout:.0f} s", "ppclas setup"
        )
    if done.returncode == 0:
        return None
    words = done.stderr.strip().splitlines()
    last = words[-1] if words else f"exit code {done.returncode}"
    return Finding(
        "error",
        f"Paddle does not work: {last}",
        "ppclas setup; if that does not help, reinstall Paddle",
    )
