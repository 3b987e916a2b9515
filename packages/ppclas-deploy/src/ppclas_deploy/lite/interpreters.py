"""Find a Python that can load Paddle-Lite. Its wheels end with CPython 3.10; ours begin there."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from packaging.version import InvalidVersion, Version
from ppclas_core.errors import ConfigError, ExportError, MissingDependencyError

from ppclas_deploy.isolate import OFFLINE, run_command

VARIABLE = "PPCLAS_LITE_PYTHON"
SCRIPT = Path(__file__).with_name("script.py")

RELEASES = {(3, 7): "2.12", (3, 10): "2.13rc0", (3, 8): "2.13rc0"}
"""CPython → the newest paddlelite with a wheel for it, the best first. Both convert alike; the x86
runtime of 2.13rc0 computes nonsense for most networks, so only 2.12 can run what it made."""

_PROBE = (
    "import json, platform, struct, sys\ntry:\n    import paddlelite.lite as lite, numpy\n    "
    "version = lite.Opt().version()\nexcept ImportError:\n    version = "
    "''\nprint(json.dumps([sys.version_info[:2], platform.python_implementation(), 8 * "
    "struct.calcsize('P'), version]))\n"
)
_FETCH_SECONDS = 600.0


@dataclass(frozen=True)
class LiteRuntime:
    """How to start a Python with Paddle-Lite."""

    python: str
    version: str
    """Of paddlelite."""
    command: tuple[str, ...]
    """What to put before the script."""

    @property
    def computes(self) -> bool:
        """Whether its x86 runtime gives right answers."""
        return (known := _parsed(self.version)) is not None and known.release[:2] == (2, 12)

    def script(self, *arguments: str) -> list[str]:
        """The command line that runs ``script.py``."""
        return [*self.command, str(SCRIPT), *arguments]


def find_runtime(given: str | None = None, *, computing: bool = False) -> LiteRuntime:
    """The best interpreter: ``given`` (a path), else that of PPCLAS_LITE_PYTHON, else one of this
    machine.

    One that has paddlelite is taken as it is; for a bare one uv makes an environment beside it, out
    of its cache.

    Args:
        given: path of a Python interpreter.
        computing: one whose runtime computes on this machine is needed, not just a converter.

    Raises:
        ConfigError: ``given`` is no such interpreter.
        MissingDependencyError: there is none; the message says how to come by one.
    """
    chosen = given or os.environ.get(VARIABLE)
    if chosen is not None:
        runtime = _runtime(chosen)
        if runtime is None:
            raise ConfigError(
                f"{chosen} is no interpreter for Paddle-Lite: expected a 64-bit CPython 3.7, 3.8 "
                "or 3.10, or one in which paddlelite is "
                f"installed{'' if _uv() else ' (without uv, only the latter)'}."
            )
        if computing and not runtime.computes:
            raise MissingDependencyError(
                f"{chosen} has paddlelite {runtime.version}, whose x86 runtime computes nonsense. "
                f"{_instructions(True)}"
            )
        return runtime
    for path in _candidates():
        runtime = _runtime(path)
        if runtime is not None and (runtime.computes or not computing):
            return runtime
    raise MissingDependencyError(_instructions(computing))


def make_ready(runtime: LiteRuntime, log: Path) -> None:
    """Fetch paddlelite into uv's cache unless it is there: the one step of an export that may use
    the network.

    Raises:
        MissingDependencyError: it cannot be fetched.
    """
    if len(runtime.command) == 1:
        return
    test = [*runtime.command, "-c", "import numpy, paddlelite.lite"]
    if (
        subprocess.run(
            test, env={**os.environ, **OFFLINE}, capture_output=True, check=False, cwd=os.sep
        ).returncode
        == 0
    ):
        return
    print(
        f"Fetching paddlelite {runtime.version} for {runtime.python} (once, about 50 MB) …",
        file=sys.stderr,
    )
    try:
        run_command("fetching paddlelite", test, log, _FETCH_SECONDS, dict(os.environ))
    except ExportError as error:
        raise MissingDependencyError(
            f"paddlelite {runtime.version} could not be fetched for {runtime.python}: {error} "
            f"Install it there yourself (pip install paddlelite=={runtime.version} numpy) and name "
            "that Python with --lite-python."
        ) from error


def _candidates() -> Iterator[str]:
    """Interpreters of the right age, the best first, by full path: a version may name a shim that
    starts nothing.
    """
    for major, minor in RELEASES:
        home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
        yield from sorted(
            map(str, home.glob(f"versions/{major}.{minor}.*/bin/python")), reverse=True
        )
        if on_path := shutil.which(f"python{major}.{minor}"):
            yield on_path
    yield from _known_to_uv()


def _known_to_uv() -> Iterator[str]:
    if (uv := _uv()) is None:
        return
    listed = subprocess.run(
        [uv, "python", "list", "--only-installed", "--output-format", "json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **OFFLINE},
    )
    for entry in json.loads(listed.stdout) if listed.returncode == 0 else ():
        if (entry["version_parts"]["major"], entry["version_parts"]["minor"]) in RELEASES:
            yield entry["path"]


def _runtime(python: str) -> LiteRuntime | None:
    """What ``python`` is good for, asked by starting it."""
    try:
        probe = subprocess.run(
            [python, "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=os.sep,  # -c imports from the current folder first, and -P is of Python 3.11
        )
        version, implementation, bits, installed = json.loads(probe.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    if installed:
        return LiteRuntime(python, str(_parsed(installed) or installed), (python,))
    release, uv = RELEASES.get(tuple(version)), _uv()
    if (
        release is None
        or uv is None
        or implementation != "CPython"
        or bits != 64
        or not _has_wheels()
    ):
        return None
    packages = ("--with", f"paddlelite=={release}", "--with", "numpy")
    return LiteRuntime(
        python,
        release,
        (uv, "run", "--quiet", "--no-project", "--python", python, *packages, "python"),
    )


def _parsed(version: str) -> Version | None:
    """What paddlelite calls itself (v2.12, v2.13-rc) as a version; a build of one's own may be
    called by its commit.
    """
    try:
        return Version(version)
    except InvalidVersion:
        return None


def _has_wheels() -> bool:
    return (sys.platform, platform.machine()) in {("linux", "x86_64"), ("win32", "AMD64")}


def _uv() -> str | None:
    if found := shutil.which("uv"):
        return found
    if find_spec("uv") is not None:
        from uv import find_uv_bin

        return find_uv_bin()
    return None


def _instructions(computing: bool) -> str:
    which = (
        "CPython 3.7 (for paddlelite 2.12)"
        if computing
        else "CPython 3.7 (for paddlelite 2.12) or 3.10 or 3.8 (2.13rc0)"
    )
    uv = "" if _uv() else ' and uv (pip install "ppclas-deploy[lite]")'
    return (
        f"Paddle-Lite needs {which} on 64-bit Linux or Windows{uv}; none was found in ~/.pyenv, on "
        "PATH or by uv. Get one with 'pyenv install 3.7' or your system's packages and name it "
        f"with --lite-python PATH or {VARIABLE}. Or export with --target paddle --ir old, and "
        "convert elsewhere."
    )
