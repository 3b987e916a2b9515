"""``ppclas setup``: install PaddlePaddle."""

from __future__ import annotations

import shlex

import click
from ppclas_core.errors import PpclasError

from ppclas_cli.machine import Machine, probe_machine
from ppclas_cli.paddle_install import (
    Ask,
    Device,
    Runner,
    make_plan,
    run_command,
    set_up,
    terminal,
)


@click.command(name="setup")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    show_default=True,
    help="auto: the GPU build where there is one for an NVIDIA GPU of this machine.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Print the commands on stdout and run nothing.")
def command(device: Device, yes: bool, dry_run: bool) -> None:
    """Install the PaddlePaddle that fits this machine, into the Python that ppclas runs on.

    Looks at the Python version, the system, the GPUs' compute capability and their driver, shows
    the commands, asks, and runs them.

    \b
    Examples:
      ppclas setup
      ppclas setup --device cpu --yes
    """
    ask = (lambda _question: True) if yes else terminal()
    choose_and_install(probe_machine(), device, ask, run_command, dry_run=dry_run)


def choose_and_install(
    machine: Machine, device: Device, ask: Ask | None, run: Runner, *, dry_run: bool = False
) -> None:
    """What the command does on ``machine``; ``ask`` and ``run`` are those of ``set_up``.

    Raises:
        PpclasError: there is no build for the machine, nobody to ask, or a command failed.
    """
    plan = make_plan(machine, device)
    if dry_run:
        for line in plan.commands:
            click.echo(shlex.join(line))
        return
    set_up(plan, ask, run)
    if plan.commands and ask is None:
        raise PpclasError(
            "Nothing was installed: there is no terminal to ask on. Run 'ppclas setup --yes'."
        )
