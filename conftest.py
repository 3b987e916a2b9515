"""What every test session needs, wherever it was started from."""

from __future__ import annotations

import random
import signal
import sys
from typing import Any

import numpy as np
import pytest

# A shell that starts pytest in the background has it ignore Ctrl-C, and every process of a test
# would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Random weights are those of the test and its fixtures, whatever ran before them in the same
    worker.
    """
    random.seed(0)
    np.random.seed(0)
    if (paddle := sys.modules.get("paddle")) is not None:
        paddle.seed(0)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """``--dist loadfile``: a file's tests share dear fixtures; the zoo's share none and fill the
    end one by one.
    """
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class FilesFirst(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return (
                nodeid
                if nodeid.startswith("packages/ppclas-models/")
                else nodeid.partition("::")[0]
            )

    return FilesFirst(config, log)


GPU_REPORT = "gpu-report.txt"
"""Written by ``pytest -m gpu``, for people who send back what their card did."""


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """After ``-m gpu``: the machine and each check with its time, printed and in a file."""
    if config.option.markexpr != "gpu":
        return
    lines = [*_machine(), ""]
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.getreports(outcome):
            facts = "; ".join(f"{name}: {value}" for name, value in report.user_properties)
            why = report.longrepr[2] if outcome == "skipped" else ""
            if outcome in ("failed", "error"):
                why = str(report.longrepr).strip().splitlines()[-1]
            said = " - ".join(text for text in (facts, why) if text)
            lines.append(f"{outcome:8}{report.duration:7.1f} s  {report.nodeid}  {said}".rstrip())
    file = config.rootpath / GPU_REPORT
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    terminalreporter.section("GPU report", sep="-")
    terminalreporter.write_line("\n".join(lines))
    terminalreporter.write_line(f"\nIt is in {file}: please send it back.")


def _machine() -> list[str]:
    """The facts of ``ppclas doctor``."""
    import subprocess

    command = [sys.executable, "-m", "ppclas_cli", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().splitlines()
