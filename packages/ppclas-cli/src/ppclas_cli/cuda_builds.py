"""The CUDA builds of Paddle 3, and which of them a card can use.

A build works on a card where the driver is new enough and kernels were compiled for the card.
Kernels compiled for compute capability X.y run on X.z with z >= y, and on no other X
(https://docs.nvidia.com/cuda/cuda-c-programming-guide/, "Binary Compatibility").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from packaging.version import Version

from ppclas_cli.machine import Capability, Gpu, GpuBuild, as_text, parse_version


@dataclass(frozen=True)
class Wheels:
    """What the wheels of one build for one system have, and need."""

    driver: str
    """The oldest driver that runs them."""
    kernels: tuple[Capability, ...]
    """Compute capabilities that are known to be compiled in."""


@dataclass(frozen=True)
class CudaBuild:
    """One build of ``paddlepaddle-gpu`` for x86-64."""

    name: str
    """The last part of the address of its package index."""
    cuda: str
    """The CUDA version that it is compiled with and brings along."""
    paddle: str
    """The first Paddle release whose wheels are as described here."""
    wheels: dict[str, Wheels]
    """``Linux`` and ``Windows``, as ``platform.system()`` calls them."""


BUILDS = (
    # Drivers: NVIDIA, "Minor Version Compatibility", table 1 (CUDA 13.x: 580 or newer). Kernels:
    # PaddlePaddle/Paddle#78720, cmake/cuda.cmake ("75 80 86 90 100"; 12.0 is not in that list).
    # CUDA 13 cannot compile for anything older than 7.5 (CUDA 13.0 release notes).
    CudaBuild(
        "cu130",
        "13.0",
        "3.2.1",
        {
            "Linux": Wheels("580", ((7, 5), (8, 0), (8, 6), (9, 0), (10, 0))),
            "Windows": Wheels("580", ((7, 5), (8, 0), (8, 6))),
        },
    ),
    # Drivers: paddleocr.ai, "PaddleOCR-VL NVIDIA Blackwell" asks for a driver of CUDA 12.9, which
    # is 575.51.03 and 576.02 in NVIDIA's CUDA 12.9 release notes, table 3. Kernels:
    # PaddlePaddle/Paddle#76037 (12.0, since Paddle 3.2), #78720 (10.0 with CUDA 12), #73937 (Linux)
    # and #73687 (Windows) for the others. 6.1 is out: PaddlePaddle/PaddleX#4682.
    CudaBuild(
        "cu129",
        "12.9",
        "3.2",
        {
            "Linux": Wheels(
                "575.51.03", ((7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0))
            ),
            "Windows": Wheels("576.02", ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0))),
        },
    ),
    # Drivers: PaddleX, "PaddlePaddle Local Installation Tutorial". Kernels: PaddlePaddle/Paddle
    # #73937 and PaddlePaddle/PaddleMIX#836 (Linux), PaddlePaddle/Paddle#73687 (Windows).
    CudaBuild(
        "cu126",
        "12.6",
        "3.0",
        {
            "Linux": Wheels("550.54.14", ((6, 1), (7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0))),
            "Windows": Wheels("550.54.14", ((7, 5), (8, 0), (8, 6), (8, 9))),
        },
    ),
    # Drivers: the same page of PaddleX. Kernels: PaddlePaddle/Paddle#74088 (Linux), #75016 and
    # PaddlePaddle/PaddleX#4682 (Windows). 9.0 is out: PaddlePaddle/PaddleHelix#369.
    CudaBuild(
        "cu118",
        "11.8",
        "3.0",
        {
            "Linux": Wheels("450.80.02", ((6, 0), (6, 1), (7, 0), (7, 5), (8, 0), (8, 6))),
            "Windows": Wheels("452.39", ((6, 1), (7, 5), (8, 0), (8, 6))),
        },
    ),
)
"""Newest CUDA first, which is the order of preference."""


def has_kernels(kernels: Iterable[Capability], card: Capability) -> bool:
    """Whether code compiled for ``kernels`` runs on a card of compute capability ``card``."""
    return any(major == card[0] and minor <= card[1] for major, minor in kernels)


def driver_runs(gpu: Gpu, oldest: str) -> bool:
    """Whether the driver is ``oldest`` or newer; one whose version cannot be read is not."""
    driver = parse_version(gpu.driver)
    return driver is not None and driver >= Version(oldest)


def missing_kernels(
    installed: GpuBuild, paddle: Version | None, gpu: Gpu, system: str
) -> str | None:
    """Why the ``installed`` build of release ``paddle`` cannot run on ``gpu``; None where it can,
    or where it is not known. What the build says of itself counts more than the table.
    """
    kernels = installed.kernels
    row = _find_row(installed.cuda)
    if not kernels and row and paddle is not None and paddle >= Version(row.paddle):
        kernels = row.wheels[system].kernels if system in row.wheels else ()
    if not kernels or has_kernels(kernels, gpu.capability):
        return None
    return (
        f"this build of PaddlePaddle (CUDA {installed.cuda}) has no kernels for this card: "
        f"{gpu.name} has compute capability {as_text(gpu.capability)}, the build has "
        f"{', '.join(map(as_text, kernels))}"
    )


def old_driver(installed: GpuBuild, gpu: Gpu, system: str) -> str | None:
    """Why the driver of ``gpu`` is too old for the ``installed`` build; None where it is not."""
    row = _find_row(installed.cuda)
    if row is None or system not in row.wheels or driver_runs(gpu, row.wheels[system].driver):
        return None
    return (
        f"this build of PaddlePaddle is for CUDA {installed.cuda} and needs driver "
        f"{row.wheels[system].driver} or newer; the one of {gpu.name} is {gpu.driver}"
    )


def choose_build(gpus: Sequence[Gpu], system: str) -> tuple[CudaBuild | None, str]:
    """The build for the most capable of ``gpus`` that any build runs on, and why it fits; or None,
    and why no build fits and what to do.

    Of several builds for that card it is the one that runs on most of the others, then the newest.
    """
    ranked = sorted(gpus, key=lambda gpu: gpu.capability, reverse=True)
    for gpu in ranked:
        running = [
            build
            for build in _compiled_for(gpu, system)
            if driver_runs(gpu, build.wheels[system].driver)
        ]
        if running:
            # max takes the first of equals, and the newest comes first.
            chosen = max(running, key=lambda build: _count_cards(build.wheels[system], gpus))
            return chosen, (
                f"{_describe(gpu, gpus)}, driver {gpu.driver}: the build for CUDA {chosen.cuda} "
                "has kernels for it"
            )
    best = ranked[0]
    compiled = _compiled_for(best, system)
    if not compiled:
        return None, (
            f"{_describe(best, gpus)}: no build of Paddle 3 has kernels for that compute "
            "capability; use the CPU, or compile Paddle for this card"
        )
    oldest = compiled[-1]
    return None, (
        f"{_describe(best, gpus)}: the build for CUDA {oldest.cuda} has kernels for it and needs "
        f"driver {oldest.wheels[system].driver} or newer, this one is {best.driver}: update the "
        "driver"
    )


def _compiled_for(gpu: Gpu, system: str) -> list[CudaBuild]:
    return [
        build
        for build in BUILDS
        if system in build.wheels and has_kernels(build.wheels[system].kernels, gpu.capability)
    ]


def _count_cards(wheels: Wheels, gpus: Iterable[Gpu]) -> int:
    return sum(has_kernels(wheels.kernels, gpu.capability) for gpu in gpus)


def _describe(gpu: Gpu, gpus: Sequence[Gpu]) -> str:
    count = f"{len(gpus)} GPUs, among them" if len(gpus) > 1 else "1 GPU,"
    return f"{count} {gpu.name} (compute capability {as_text(gpu.capability)})"


def _find_row(cuda: str) -> CudaBuild | None:
    return next((build for build in BUILDS if build.cuda == cuda), None)
