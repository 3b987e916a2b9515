"""``ppclas doctor``: find what is wrong with this installation."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from typing import Any

import click
from ppclas_core.plugins import get_plugin_manager

from ppclas_cli import output
from ppclas_cli.diagnosis import Finding, check_import, diagnose
from ppclas_cli.machine import Machine, probe_machine
from ppclas_cli.main import PACKAGES

_SHOWN = (
    *PACKAGES,
    "paddlepaddle",
    "paddlepaddle-gpu",
    "paddle2onnx",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "pydantic",
    "setuptools",
)


@click.command(name="doctor")
@click.option(
    "--deep", is_flag=True, help="Import Paddle as well and compute something; takes some seconds."
)
@output.JSON_OPTION
def command(deep: bool, as_json: bool) -> None:
    """Find what is wrong with this installation, and say what to do about it.

    Ends with exit code 1 where there is an error. Put its output into a bug report.

    \b
    Example:
      ppclas doctor --deep
    """
    machine = probe_machine()
    findings = [*diagnose(machine), *_failed_plugins()]
    if deep:
        broken = check_import()
        findings += [broken] if broken else []
    facts = _facts(machine)
    if as_json:
        output.print_json({"facts": facts, "findings": [asdict(finding) for finding in findings]})
    else:
        output.print_facts(facts)
        click.echo()
        _print_findings(findings)
    if any(finding.level == "error" for finding in findings):
        click.get_current_context().exit(1)


def _facts(machine: Machine) -> dict[str, Any]:
    gpus = ", ".join(machine.gpu.names) if machine.gpu else None
    cuda = ".".join(map(str, machine.gpu.cuda)) if machine.gpu and machine.gpu.cuda else None
    return {
        "python": f"{'.'.join(map(str, machine.python))} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.release()} {machine.architecture}",
        "cpus": f"{machine.cpus} of {os.cpu_count()}",
        "memory": _gib(machine.memory),
        "shared memory": _gib(machine.shared_memory),
        "gpus": gpus,
        "driver's CUDA": cuda,
        "packages": {name: machine.packages[name] for name in _SHOWN if name in machine.packages},
    }


def _gib(size: int | None) -> str | None:
    return None if size is None else f"{size / (1 << 30):.1f} GiB"


def _failed_plugins() -> list[Finding]:
    return [
        Finding(
            "warning",
            f"plugin {info.name!r} of {info.distribution} is left out: {info.reason}",
            "ppclas plugins -v",
        )
        for info in get_plugin_manager().plugins
        if not info.ok
    ]


def _print_findings(findings: list[Finding]) -> None:
    for finding in findings:
        click.echo(f"{finding.level}: {finding.what}")
        click.echo(f"  to do: {finding.fix}")
    if not any(finding.level != "note" for finding in findings):
        click.echo("Nothing is wrong.")
