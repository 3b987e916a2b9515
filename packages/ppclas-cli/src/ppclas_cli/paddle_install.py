"""Which PaddlePaddle fits this machine, and how to install it here.

The CPU build is ``paddlepaddle`` on the default package index. GPU builds of Paddle 3 are not
there: they are ``paddlepaddle-gpu`` on PaddlePaddle's own index, one address for each CUDA version
(https://www.paddlepaddle.org.cn/en/install/quick). The two overwrite each other's files.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import click
from ppclas_core.errors import PpclasError

from ppclas_cli import output
from ppclas_cli.cuda_builds import CudaBuild, choose_build, missing_kernels, old_driver
from ppclas_cli.machine import Machine, as_text, probe_machine

Device = Literal["auto", "cpu", "gpu"]
Runner = Callable[[Sequence[str]], int]
"""Runs a command and returns its exit code."""
Ask = Callable[[str], bool]
"""Asks the person a question and returns whether the answer is yes."""

GPU_INDEX = "https://www.paddlepaddle.org.cn/packages/stable/{}/"
_PYTHONS = ((3, 10), (3, 13))
# item() waits for the card, so that a build without kernels for it fails here.
_CHECK = (
    "import paddle; assert paddle.ones([2, 2]).sum().item() == 4; "
    "print('PaddlePaddle', paddle.__version__, 'works on', paddle.get_device())"
)


@dataclass(frozen=True)
class Plan:
    """What to install, why, and the commands that do it."""

    device: Literal["cpu", "gpu"]
    reason: str
    commands: tuple[tuple[str, ...], ...]
    """Empty where the right build is installed already."""
    removes: tuple[str, ...] = ()
    """Packages that the commands uninstall."""


def make_plan(machine: Machine, device: Device = "auto") -> Plan:
    """Choose the build for ``machine``.

    Raises:
        PpclasError: there is no build for this Python, or none for this GPU where ``device`` asks
            for it.
    """
    low, high = _PYTHONS
    if not low <= machine.python[:2] <= high:
        raise PpclasError(
            f"ppclas runs on Python {as_text(low)} to {as_text(high)}; this is "
            f"{as_text(machine.python[:2])} ({sys.executable}). Make an environment with another "
            "Python."
        )
    if device != "cpu" and (reason := _installed_gpu_build(machine)):
        return Plan("gpu", reason, _setuptools(machine))
    build, reason = _gpu_build(machine)
    if device == "gpu" and build is None:
        raise PpclasError(f"There is no GPU build for this machine: {reason}. Use --device cpu.")
    if device == "cpu":
        build, reason = None, "asked for with --device cpu"
    wanted, other = (
        ("paddlepaddle-gpu", "paddlepaddle") if build else ("paddlepaddle", "paddlepaddle-gpu")
    )
    chosen: Literal["cpu", "gpu"] = "gpu" if build else "cpu"
    if build is None and _is_alone(machine, wanted, other):
        reason = f"{wanted} {machine.packages[wanted]} is installed already"
        return Plan(chosen, reason, _setuptools(machine))
    index = ("-i", GPU_INDEX.format(build.name)) if build else ()
    # Where both were installed, the files on disk are a mix; and a GPU build that is to be replaced
    # lacks kernels, while pip would be content with its version: the wanted one goes as well.
    stays = build is None and other not in machine.packages
    removes = tuple(name for name in (other, wanted) if name in machine.packages and not stays)
    commands = [
        # Environments of uv have no pip.
        *([] if "pip" in machine.packages else [(sys.executable, "-m", "ensurepip", "--upgrade")]),
        *([_pip("uninstall", "-y", *removes)] if removes else []),
        # Paddle imports setuptools without declaring it.
        _pip("install", "setuptools>=61"),
        _pip("install", f"{wanted}>={build.paddle if build else '3.0'}", *index),
    ]
    return Plan(chosen, reason, tuple(commands), removes)


def run_command(command: Sequence[str]) -> int:
    """Run ``command`` and return its exit code. pip's progress is for the person, not data: it goes
    to stderr.
    """
    # Not -P, which would stand in the commands that people are shown.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    return subprocess.call(command, stdout=sys.stderr, env=environment)


def set_up(plan: Plan, ask: Ask | None, run: Runner) -> bool:
    """Show the plan, ask whether to carry it out, and do so. Whether that was done.

    Args:
        ask: None where nobody can be asked; then nothing is done.
        run: what runs the plan's commands.

    Raises:
        PpclasError: a command failed, or Paddle does not import afterwards; the message names the
            command.
    """
    show(plan)
    if not plan.commands or ask is None or not ask("Run this now?"):
        return False
    install(plan, run)
    return True


def install(plan: Plan, run: Runner) -> None:
    """Run the plan's commands and check that Paddle then computes.

    Raises:
        PpclasError: one of them failed; the message names it.
    """
    check = (sys.executable, "-W", "ignore", "-c", _CHECK)
    for command in (*plan.commands, check):
        click.echo(f"$ {shlex.join(command)}", err=True)
        code = run(command)
        if code:
            raise PpclasError(
                f"'{shlex.join(command)}' ended with exit code {code}; its own words are above."
            )


def offer_setup(
    arguments: Sequence[str],
    ask: Ask | None,
    probe: Callable[[], Machine] = probe_machine,
    run: Runner = run_command,
) -> None:
    """After an error for want of Paddle: offer to install it. ``arguments`` are those of the
    command that needed it.
    """
    if ask is None:
        return
    try:
        if set_up(make_plan(probe()), ask, run):
            click.echo(f"Done. Now run again: ppclas {shlex.join(arguments)}", err=True)
    except PpclasError as error:
        output.error(str(error))
    except click.Abort:
        click.echo(err=True)


def terminal() -> Ask | None:
    """Asks on the terminal; None where there is none."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return lambda question: click.confirm(question, default=True, err=True)


def show(plan: Plan) -> None:
    """Say on stderr what the plan is."""
    click.echo(f"PaddlePaddle for {plan.device.upper()}: {plan.reason}.", err=True)
    for command in plan.commands:
        click.echo(f"  {shlex.join(command)}", err=True)
    if plan.removes:
        click.echo(f"This uninstalls {' and '.join(plan.removes)} first.", err=True)


def _gpu_build(machine: Machine) -> tuple[CudaBuild | None, str]:
    """The CUDA build and why it fits, or None and why none does."""
    if not machine.gpus:
        return None, "the NVIDIA driver shows no GPU, or there is no driver"
    # The wheels are for x86-64, which Windows calls AMD64.
    if machine.system not in ("Linux", "Windows") or machine.architecture.lower() not in (
        "x86_64",
        "amd64",
    ):
        return None, (
            f"{machine.gpus[0].name}, but Paddle has GPU builds for Linux and Windows on x86-64 "
            "only"
        )
    return choose_build(machine.gpus, machine.system)


def _installed_gpu_build(machine: Machine) -> str:
    """What there is to say of the installed GPU build; empty where it is none, is old, or has
    kernels for no card of this machine. An old driver is no reason to replace it.
    """
    if not machine.gpus or not _is_alone(machine, "paddlepaddle-gpu", "paddlepaddle"):
        return ""
    said = f"paddlepaddle-gpu {machine.packages['paddlepaddle-gpu']} is installed already"
    if machine.gpu_build is None:  # of which nothing is known
        return said
    version, system = machine.version("paddlepaddle-gpu"), machine.system
    if all(missing_kernels(machine.gpu_build, version, gpu, system) for gpu in machine.gpus):
        return ""
    driver = old_driver(machine.gpu_build, machine.gpus[0], system)
    return f"{said}, but {driver}: update the driver" if driver else said


def _is_alone(machine: Machine, wanted: str, other: str) -> bool:
    """Whether a Paddle 3 of the one kind is installed and none of the other."""
    version = machine.version(wanted)
    return version is not None and version.major >= 3 and other not in machine.packages


def _setuptools(machine: Machine) -> tuple[tuple[str, ...], ...]:
    return () if "setuptools" in machine.packages else (_pip("install", "setuptools>=61"),)


def _pip(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pip", *arguments)
