"""Run a step of this package in a process of its own: without network, with a time limit,
everything it says in a log.

Converters and engines are C++ that can abort, segfault, hang, or try to install packages on the
way. Here all of that is one ``ExportError`` with the step's last words.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_core.bundle import Bundle, Manifest
from ppclas_core.errors import ExportError
from ppclas_data.leftovers import temporary_folder

from ppclas_deploy.progress import Listener

if TYPE_CHECKING:
    from ppclas_engine.console import Console

LOG = "export.log"
"""Name of the log, in the export's folder."""

OFFLINE = {
    "PIP_NO_INDEX": "1",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_NO_INPUT": "1",
    "UV_OFFLINE": "1",
    "UV_PYTHON_DOWNLOADS": "never",
}
"""Environment variables that keep package managers from the network."""
_LAST_WORDS = 400  # characters
_GLANCE = 0.2  # seconds between looks at what a process tells
_CRASH = re.compile(r"^\s*C\+\+ Traceback", re.MULTILINE)
_NOISE = re.compile(r"^[\s\-=*^~]*$|^\s*\[(TimeInfo|SignalInfo)|\x1b\[0m$")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


def run_isolated(
    step: str,
    job: Mapping[str, Any],
    log: Path,
    timeout: float,
    console: Console | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Run ``step`` (a key of ``worker.STEPS``) on ``job`` (plain JSON values) and return what it
    returned.

    The process starts in an empty folder, so that nothing lying in the user's one is imported. Its
    output is appended to ``log``. With ``console`` the step shows progress there: it gets
    ``job["progress"]``, the file of its ``Teller``. Another thread ends it by setting ``stop``.

    Raises:
        ExportError: it raised, crashed, was stopped, or took longer than ``timeout`` seconds.
    """
    with temporary_folder() as name:
        job_file, result, progress = (
            Path(name) / file for file in ("job.json", "result.json", "progress.jsonl")
        )
        job_file.write_text(json.dumps({**job, "progress": str(progress)}), encoding="utf-8")
        listener = Listener(progress, console) if console is not None else None
        failure: ExportError | None = None

        def meanwhile() -> None:
            if listener is not None:
                listener.catch_up()
            if stop is not None and stop.is_set():
                raise ExportError(f"the {step} step was stopped")

        try:
            run_command(
                f"the {step} step",
                [
                    sys.executable,
                    "-m",
                    "ppclas_deploy.worker",
                    step,
                    str(job_file),
                    str(result),
                    str(os.getpid()),
                ],
                log,
                timeout,
                meanwhile=meanwhile,
            )
        except ExportError as error:
            failure = error
        finally:
            if listener is not None:
                listener.close()
        answer: dict[str, Any] = (
            json.loads(result.read_text(encoding="utf-8")) if result.is_file() else {}
        )
    if "error" in answer:
        raise ExportError(str(answer["error"]))
    if failure is not None or "result" not in answer:
        raise failure or ExportError(f"the {step} step ended without an answer")
    returned: dict[str, Any] = answer["result"]
    return returned


def run_command(
    what: str,
    command: Sequence[str],
    log: Path,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Run a command in an empty folder, its output appended to ``log``; ``environment`` as is, or
    ours, offline.

    While it runs ``meanwhile`` is called a few times per second; what that raises ends it.

    Raises:
        ExportError: it failed, crashed, or took longer than ``timeout`` seconds; the message begins
            with ``what``.
    """
    with temporary_folder() as work, open(log, "ab") as output:
        started = output.tell()
        process = subprocess.Popen(
            command,
            cwd=work,
            env=environment if environment is not None else offline_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = _wait(process, timeout, meanwhile)
        except subprocess.TimeoutExpired:
            raise ExportError(
                f"{what} did not finish within {timeout:g} s and was ended. Give it more with "
                "--timeout."
            ) from None
        finally:
            _end(process)
    if code:
        said = log.read_bytes()[started:].decode("utf-8", "replace")
        raise ExportError(f"{what} {_how(code)}: {last_words(said)}")


def offline_environment() -> dict[str, str]:
    """This process's environment, with package managers kept from the network."""
    own = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PIP_FIND_LINKS", "PIP_INDEX_URL")
    }
    # No module of the current folder is imported in place of a library's (from Python 3.11 on).
    return {**own, **OFFLINE, "PYTHONSAFEPATH": "1"}


def last_words(said: str) -> str:
    """The end of a log that tells the cause: the last two lines with content, before the C++ stack
    of a crash.
    """
    crash = _CRASH.search(said)
    before = said[: crash.start()] if crash else said
    lines = [
        _COLOR.sub("", line).strip()
        for line in before.splitlines()
        if not _NOISE.match(_COLOR.sub("", line))
    ]
    if not lines:
        return "it said nothing"
    # An exception's last line says it all; what comes before is the stack.
    words = lines[-1] if re.match(r"[\w.]*(Error|Exception)\b", lines[-1]) else " ".join(lines[-2:])
    return words if len(words) <= _LAST_WORDS else f"…{words[-_LAST_WORDS:]}"


def keep_log(log: Path, output: Path) -> str:
    """Copy the log of an export that came to nothing to ``<output>.log``; the words that say where
    it is.
    """
    if not log.is_file() or not log.stat().st_size:
        return ""
    kept = output.with_name(f"{output.name}.log")
    shutil.copyfile(log, kept)
    return f" Log: {kept}"


def bundle_job(bundle: Bundle) -> dict[str, Any]:
    """A bundle as plain JSON values, also one that exists only around published weights."""
    return {
        "folder": str(bundle.folder.resolve()),
        "manifest": bundle.manifest.model_dump(mode="json"),
        "weights": str(bundle.weights_file.resolve()),
    }


def bundle_of(job: Mapping[str, Any]) -> Bundle:
    """The bundle that ``bundle_job`` described."""
    return Bundle(
        Path(job["folder"]), Manifest.model_validate(job["manifest"]), Path(job["weights"])
    )


def _wait(
    process: subprocess.Popen[bytes], timeout: float, meanwhile: Callable[[], None] | None
) -> int:
    if meanwhile is None:
        return process.wait(timeout)
    end = time.monotonic() + timeout
    while True:
        left = end - time.monotonic()
        try:
            return process.wait(max(0.0, min(_GLANCE, left)))
        except subprocess.TimeoutExpired:
            meanwhile()
            if left <= _GLANCE:
                raise


def _how(code: int) -> str:
    if code < 0:
        return f"crashed ({signal.Signals(-code).name})"
    return f"failed (exit code {code})"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children, if it still runs (a time-out, Ctrl-C)."""
    if process.poll() is not None:
        return
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
