"""How much longer than a bare interpreter the listings take: ``python benchmarks/startup.py``.

The target is less than 0.35 s more. CPU time is what counts: it hardly depends on what else the
machine does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPEATS = 7
TARGET = 0.35
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "ppclas --help": ["ppclas", "--help"],
    "ppclas models list": ["ppclas", "models", "list"],
    "ppclas models list --json": ["ppclas", "models", "list", "--json"],
}


def measure(command: list[str]) -> tuple[float, float]:
    """Least CPU and wall time of several starts, in seconds."""
    cpu, wall = [], []
    for _ in range(REPEATS):
        before, started = os.times(), time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        wall.append(time.perf_counter() - started)
        after = os.times()
        cpu.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
    return min(cpu), min(wall)


def main() -> None:
    """Print one table; exit with 1 if a command misses the target."""
    script = shutil.which("ppclas", path=str(Path(sys.executable).parent)) or "ppclas"
    rows = {
        name: measure([script if part == "ppclas" else part for part in command])
        for name, command in COMMANDS.items()
    }
    bare_cpu, bare_wall = rows["python -c pass"]
    print(f"best of {REPEATS}; the target is {TARGET} s more than a bare interpreter")
    print(f"{'command':<28} {'CPU s':>7} {'more':>7} {'wall s':>7} {'more':>7}")
    missed = False
    for name, (cpu, wall) in rows.items():
        print(
            f"{name:<28} {cpu:>7.3f} {cpu - bare_cpu:>7.3f} {wall:>7.3f} {wall - bare_wall:>7.3f}"
        )
        missed |= cpu - bare_cpu >= TARGET
    sys.exit(missed)


if __name__ == "__main__":
    main()
