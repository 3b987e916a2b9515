"""``ppclas doctor``: find what is wrong with this installation."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from ppclas_core.plugins import get_plugin_manager

from ppclas_cli import output
from ppclas_cli.diagnosis import Finding, check_import, diagnose
from ppclas_cli.machine import Machine, as_text, probe_machine
from ppclas_cli.main import PACKAGES

if TYPE_CHECKING:
    from ppclas_core.plugins import PluginInfo

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
    broken = check_import() if deep else None
    found = [broken] if broken is not None else []
    plugins = get_plugin_manager().plugins
    if not print_report(probe_machine(), plugins, found, as_json=as_json):
        click.get_current_context().exit(1)


def print_report(
    machine: Machine,
    plugins: Iterable[PluginInfo],
    found: Sequence[Finding] = (),
    *,
    as_json: bool = False,
) -> bool:
    """Print what is true of ``machine`` and what is wrong with it, with its plugins, and with what
    was ``found`` otherwise. Whether there is no error.
    """
    findings = [*diagnose(machine), *_failed_plugins(plugins), *found]
    facts = _facts(machine)
    if as_json:
        output.print_json({"facts": facts, "findings": [asdict(finding) for finding in findings]})
    else:
        output.print_facts(facts)
        click.echo()
        _print_findings(findings)
    return not any(finding.level == "error" for finding in findings)


def _facts(machine: Machine) -> dict[str, Any]:
    build = machine.gpu_build
    return {
        "python": f"{as_text(machine.python)} ({platform.python_implementation()})",
        "system": f"{machine.system} {platform.release()} {machine.architecture}",
        "cpus": f"{machine.cpus} of {machine.all_cpus}",
        "memory": _gib(machine.memory),
        "shared memory": _gib(machine.shared_memory),
        "gpus": {
            str(index): f"{gpu.name}, {_gib(gpu.memory)}, compute capability "
            f"{as_text(gpu.capability)}"
            for index, gpu in enumerate(machine.gpus)
        },
        "driver": machine.gpus[0].driver if machine.gpus else None,
        "driver's CUDA": as_text(machine.driver_cuda) if machine.driver_cuda else None,
        "Paddle's CUDA": build.cuda if build else None,
        "Paddle's kernels": ", ".join(map(as_text, build.kernels)) if build else None,
        "packages": {name: machine.packages[name] for name in _SHOWN if name in machine.packages},
    }


def _gib(size: int | None) -> str | None:
    return None if size is None else f"{size / (1 << 30):.1f} GiB"


def _failed_plugins(plugins: Iterable[PluginInfo]) -> list[Finding]:
    return [
        Finding(
            "warning",
            f"plugin {info.name!r} of {info.distribution} is left out: {info.reason}",
            "ppclas plugins -v",
        )
        for info in plugins
        if info.reason
    ]


def _print_findings(findings: list[Finding]) -> None:
    for finding in findings:
        click.echo(f"{finding.level}: {finding.what}")
        click.echo(f"  to do: {finding.fix}")
    if not any(finding.level != "note" for finding in findings):
        click.echo("Nothing is wrong.")
