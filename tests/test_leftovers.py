"""Commands that are killed in the middle: the next start clears what they left, and no process of
theirs goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc"),
]


@pytest.fixture
def killed(environment, tmp_path):
    """``killed(command, folder)``: start it, wait until something is in ``folder``, kill -9 it."""
    system = tmp_path / "system"
    system.mkdir()

    def kill(command, folder, count=1):
        process = subprocess.Popen(
            [sys.executable, "-m", "ppclas_cli", *command],
            cwd=tmp_path,
            env={**environment, "TMPDIR": str(system)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 120
        while sum(1 for _ in folder.iterdir()) < count:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        time.sleep(0.5)
        process.kill()
        process.wait()
        return process.pid

    return kill, system


def using(folder: Path) -> list[int]:
    """Processes that have ``folder`` as TMPDIR."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.fsencode(f"TMPDIR={folder}") in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def wait_until_gone(folder: Path) -> None:
    end = time.monotonic() + 60
    while using(folder):
        assert time.monotonic() < end, "processes of the killed command go on"
        time.sleep(0.2)


def test_a_killed_export(killed, ppclas, tmp_path):
    kill, system = killed
    kill(["export", "MobileNetV2", "--target", "onnx", "-o", "out/onnx"], system, 3)
    assert list(system.glob("ppclas-*"))
    assert [path.name for path in (tmp_path / "out").iterdir()] != []
    wait_until_gone(system)
    ppclas("export", "MobileNetV2", "--target", "onnx", "-o", "out/onnx", cwd=tmp_path,
           TMPDIR=str(system))  # fmt: skip
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["onnx"]
    assert list(system.glob("ppclas-*")) == []  # other libraries have theirs there


def test_a_killed_server(killed, ppclas, tmp_path):
    kill, system = killed
    ppclas("export", "MobileNetV2", "--target", "onnx", "-o", "onnx", cwd=tmp_path)
    line = ["serve", "onnx", "--workers", "2", "--port", "0"]
    kill(line, system)
    assert list(system.glob("ppclas-*"))
    wait_until_gone(system)
    ppclas("export", "MobileNetV2", "--target", "onnx", "-o", "again", cwd=tmp_path,
           TMPDIR=str(system))  # fmt: skip
    assert list(system.glob("ppclas-*")) == []  # other libraries have theirs there
