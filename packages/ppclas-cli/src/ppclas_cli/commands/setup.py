"""``ppclas setup``: install PaddlePaddle."""

from __future__ import annotations

import shlex
import sys

import click
from ppclas_core.errors import PpclasError

from ppclas_cli.machine import probe_machine
from ppclas_cli.paddle_install import Device, has_pip, install, make_plan, show


@click.command(name="setup")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    show_default=True,
    help="auto: the GPU build where there is an NVIDIA GPU with a driver for it.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Print the commands on stdout and run nothing.")
def command(device: Device, yes: bool, dry_run: bool) -> None:
    """Install the PaddlePaddle that fits this machine, into the Python that ppclas runs on.

    Looks at the Python version, the system and the GPU's driver, shows the commands, asks, and runs
    them.

    \b
    Examples:
      ppclas setup
      ppclas setup --device cpu --yes
    """
    plan = make_plan(probe_machine(), device, has_pip=has_pip())
    if dry_run:
        for line in plan.commands:
            click.echo(shlex.join(line))
        return
    show(plan)
    if not plan.commands:
        return
    if not yes and not sys.stdin.isatty():
        raise PpclasError(
            "Nothing was installed: there is no terminal to ask on. Run 'ppclas setup --yes'."
        )
    if yes or click.confirm("Run this now?", default=True, err=True):
        install(plan)
