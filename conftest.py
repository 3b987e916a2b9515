"""What every test session needs, wherever it was started from."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
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
    command = [sys.executable, "-m", "ppclas_cli", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().splitlines()


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


class Browser:
    """A headless Chromium, told what to do through its debugging pipe."""

    def __init__(self, folder: Path) -> None:
        # Chromium reads commands from 3 and writes answers to 4.
        read_there, self._write = os.pipe()
        self._read, write_there = os.pipe()

        def hand_over() -> None:
            # Out of the way first: one of the four may be 3 or 4 itself.
            source, sink = os.dup(read_there), os.dup(write_there)
            os.dup2(source, 3)
            os.dup2(sink, 4)

        self._process = subprocess.Popen(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
             "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--remote-debugging-pipe", f"--user-data-dir={folder}",
             "about:blank"],
            preexec_fn=hand_over, close_fds=False, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(read_there)
        os.close(write_there)
        self._number, self._buffer = 0, b""
        self._session: str | None = None
        self.messages: list[dict[str, Any]] = []
        targets = self._send("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        self._session = self._send(
            "Target.attachToTarget", targetId=page["targetId"], flatten=True
        )["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log", "Network"):
            self._send(f"{domain}.enable")

    def _receive(self) -> Any:
        while b"\0" not in self._buffer:
            self._buffer += os.read(self._read, 1 << 16)
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _send(self, method: str, **params: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.messages.append(answer)

    def open(self, url: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open ``url`` in a window of that many pixels."""
        self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._send("Emulation.setEmulatedMedia", features=[scheme])
        self._send("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of an expression in JavaScript."""
        answer = self._send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 20) -> Any:
        """The first value of an expression that counts as true."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"{script}: {self.run('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def pick(self, files: Sequence[Path]) -> None:
        """Choose ``files`` where the page asks for some."""
        root = self._send("DOM.getDocument")["root"]["nodeId"]
        found = self._send("DOM.querySelector", nodeId=root, selector="#files")["nodeId"]
        self._send("DOM.setFileInputFiles", nodeId=found, files=[str(file) for file in files])

    def key(self, name: str) -> None:
        """Press Tab or Enter."""
        for kind in ("keyDown", "keyUp"):
            self._send("Input.dispatchKeyEvent", type=kind, key=name, code=name,
                       windowsVirtualKeyCode={"Tab": 9, "Enter": 13}[name])  # fmt: skip

    def shot(self, path: Path) -> None:
        """Write the whole page as PNG."""
        content = self._send("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(content))

    def complaints(self) -> list[dict[str, Any]]:
        """What the browser's console says: refused scripts and styles, errors."""
        return [
            m["params"] for m in self.messages
            if m["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")
        ]  # fmt: skip

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(OSError):
            self._send("Browser.close")
        self._process.wait(20)
        os.close(self._write)
        os.close(self._read)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A Chromium; the test is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    found = Browser(tmp_path / "profile")
    yield found
    found.close()
