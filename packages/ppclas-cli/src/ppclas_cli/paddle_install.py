"""Which PaddlePaddle fits this machine, and how to install it here.

The CPU build is ``paddlepaddle`` on the default package index. GPU builds of Paddle 3 are not
there: they are ``paddlepaddle-gpu`` on PaddlePaddle's own index, one address for each CUDA version
(https://www.paddlepaddle.org.cn/en/install/quick). The two overwrite each other's files.
"""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import click
from ppclas_core.errors import PpclasError
from ppclas_core.paddle_runtime import has_paddle

from ppclas_cli.machine import Machine, probe_machine

Device = Literal["auto", "cpu", "gpu"]
Runner = Callable[[Sequence[str]], int]
"""Runs a command and returns its exit code."""

GPU_INDEX = "https://www.paddlepaddle.org.cn/packages/stable/{}/"
_CUDA_BUILDS = {(13, 0): "cu130", (12, 9): "cu129", (12, 6): "cu126", (11, 8): "cu118"}
"""CUDA versions that Paddle 3 is built for, newest first; a driver runs its own version and older
ones."""
_PYTHONS = ((3, 10), (3, 13))


@dataclass(frozen=True)
class Plan:
    """What to install, why, and the commands that do it."""

    device: Literal["cpu", "gpu"]
    reason: str
    commands: tuple[tuple[str, ...], ...]
    """Empty where the right build is installed already."""
    removes: tuple[str, ...] = ()
    """Packages that the commands uninstall."""


def make_plan(machine: Machine, device: Device = "auto", *, has_pip: bool = True) -> Plan:
    """Choose the build for ``machine``.

    Raises:
        PpclasError: there is no build for this Python, or none for this GPU where ``device`` asks
            for it.
    """
    low, high = _PYTHONS
    if not low <= machine.python[:2] <= high:
        raise PpclasError(
            f"ppclas runs on Python {_text(low)} to {_text(high)}; this is "
            f"{_text(machine.python[:2])} ({sys.executable}). Make an environment with another "
            "Python."
        )
    build, reason = _gpu_build(machine)
    if device == "gpu" and build is None:
        raise PpclasError(f"There is no GPU build for this machine: {reason}. Use --device cpu.")
    if device == "cpu":
        build, reason = None, "asked for with --device cpu"
    wanted, other = (
        ("paddlepaddle-gpu", "paddlepaddle") if build else ("paddlepaddle", "paddlepaddle-gpu")
    )
    chosen: Literal["cpu", "gpu"] = "gpu" if build else "cpu"
    version = machine.version(wanted)
    if version is not None and version >= (3,) and other not in machine.packages:
        missing = () if "setuptools" in machine.packages else (_pip("install", "setuptools>=61"),)
        return Plan(chosen, f"{wanted} {machine.packages[wanted]} is installed already", missing)
    index = ("-i", GPU_INDEX.format(build)) if build else ()
    # Where both were installed, the files on disk are a mix: the wanted one has to go as well.
    removes = tuple(
        name for name in (other, wanted) if other in machine.packages and name in machine.packages
    )
    commands = [
        *([] if has_pip else [(sys.executable, "-m", "ensurepip", "--upgrade")]),
        *([_pip("uninstall", "-y", *removes)] if removes else []),
        # Paddle imports setuptools without declaring it.
        _pip("install", "setuptools>=61"),
        _pip("install", f"{wanted}>=3.0", *index),
    ]
    return Plan(chosen, reason, tuple(commands), removes)


def install(plan: Plan, run: Runner | None = None) -> None:
    """Run the plan's commands and check that Paddle then imports.

    Raises:
        PpclasError: one of them failed; the message names it.
    """
    run = run or _run
    check = (
        sys.executable,
        "-W",
        "ignore",
        "-c",
        "import paddle; print('PaddlePaddle', paddle.__version__, 'works')",
    )
    for command in (*plan.commands, check):
        click.echo(f"$ {shlex.join(command)}", err=True)
        code = run(command)
        if code:
            raise PpclasError(
                f"'{shlex.join(command)}' ended with exit code {code}; its own words are above."
            )


def offer_setup(arguments: Sequence[str]) -> int:
    """After an error for want of Paddle: on a terminal, ask whether to install it. Returns the exit
    code.
    """
    if has_paddle() or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return 1
    try:
        plan = make_plan(probe_machine(), has_pip=has_pip())
        show(plan)
        if click.confirm("Run this now?", default=True, err=True):
            install(plan)
            click.echo(f"Done. Now run again: ppclas {shlex.join(arguments)}", err=True)
    except PpclasError as error:
        click.echo(f"error: {error}", err=True)
    except click.Abort:
        click.echo(err=True)
    return 1


def show(plan: Plan) -> None:
    """Say on stderr what the plan is."""
    click.echo(f"PaddlePaddle for {plan.device.upper()}: {plan.reason}.", err=True)
    for command in plan.commands:
        click.echo(f"  {shlex.join(command)}", err=True)
    if plan.removes:
        click.echo(
            f"This uninstalls {' and '.join(plan.removes)} first: the two builds overwrite each "
            "other.",
            err=True,
        )


def has_pip() -> bool:
    """Whether this environment has pip; those of uv have none."""
    return importlib.util.find_spec("pip") is not None


def _gpu_build(machine: Machine) -> tuple[str | None, str]:
    """The name of the CUDA build and why it fits, or None and why none does."""
    if machine.gpu is None:
        return None, "no NVIDIA GPU found (nvidia-smi)"
    gpus = (
        f"{len(machine.gpu.names)} GPU{'s' if len(machine.gpu.names) > 1 else ''} "
        f"({machine.gpu.names[0]})"
    )
    if machine.system not in ("Linux", "Windows") or machine.architecture.lower() not in (
        "x86_64",
        "amd64",
    ):
        return None, f"{gpus}, but Paddle has GPU builds for Linux and Windows on x86-64 only"
    if machine.gpu.cuda is None:
        return None, f"{gpus}, but nvidia-smi does not say which CUDA the driver runs"
    for cuda, build in _CUDA_BUILDS.items():
        if machine.gpu.cuda >= cuda:
            return (
                build,
                f"{gpus}; the driver runs CUDA {_text(machine.gpu.cuda)}, the build is for "
                f"{_text(cuda)}",
            )
    return (
        None,
        f"{gpus}, but the driver runs CUDA {_text(machine.gpu.cuda)} and Paddle needs 11.8: update "
        "the driver",
    )


def _pip(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pip", *arguments)


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _run(command: Sequence[str]) -> int:
    # pip's progress is for the person, not data: it goes to stderr.
    return subprocess.call(command, stdout=sys.stderr)
