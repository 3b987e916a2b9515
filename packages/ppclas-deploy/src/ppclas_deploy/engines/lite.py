"""Paddle-Lite on this machine, in the older Python that has it."""

from __future__ import annotations

import subprocess
import tempfile
import weakref
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.export import Engine, export_facts
from ppclas_core.errors import BundleError
from ppclas_data.leftovers import temporary_folder
from pydantic import PrivateAttr

from ppclas_deploy.isolate import last_words, offline_environment
from ppclas_deploy.lite.interpreters import find_runtime, make_ready
from ppclas_deploy.lite.script import HEADER, SHAPE
from ppclas_deploy.marks import checked_file

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle


class LiteEngine(Engine):
    """Run a Lite export on x86: its ``model.nb`` where that is for x86, else the twin.

    Paddle-Lite answers in a process of its own, one thread; batches go through a pipe.
    """

    lite_python: str | None = None
    """A CPython 3.7. Nothing: $PPCLAS_LITE_PYTHON, or one that is found here."""

    _process: LiteProcess | None = PrivateAttr(None)
    _versions: dict[str, str] = PrivateAttr(default_factory=dict)

    def open(self, bundle: Bundle) -> None:
        """Start Paddle-Lite with the model.

        Raises:
            MissingDependencyError: there is no Python that can load it.
            BundleError: the export has no model for x86.
        """
        facts, model = export_facts(bundle), checked_file(bundle)
        if model.suffix != ".nb":
            raise BundleError(
                f"{bundle.folder} holds no model.nb for x86. Export it where CPython 3.7 is "
                "installed."
            )
        runtime = find_runtime(self.lite_python, computing=True)
        with temporary_folder() as folder:
            make_ready(runtime, Path(folder) / "log")
        self._process = LiteProcess(runtime.script("run", str(model.resolve())))
        ran = f"{model.name}, {'this machine' if facts.get('place') == 'x86' else 'x86 twin'}"
        self._versions = {"paddlelite": runtime.version, "model": ran}

    def run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Answers of one batch.

        Args:
            images: contiguous, as ``prepare`` gives them: float32 [N, 3, H, W], normalised, or
                uint8 [N, H, W, 3] where normalisation is in the export.

        Returns:
            float32 [N, C]: logits, or probabilities where the activation is in the export.

        Raises:
            BundleError: Paddle-Lite died of it; the message has its last words.
        """
        assert self._process is not None  # load() comes first
        return self._process.ask(images)

    def versions(self) -> dict[str, str]:
        """Paddle-Lite, and which file it ran."""
        return dict(self._versions)


class LiteProcess:
    """A running ``script.py run``; it ends with this object."""

    def __init__(self, command: list[str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed by _stop)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=offline_environment(),
        )
        weakref.finalize(self, _stop, self._process, self._said)

    def ask(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Answers [N, C] for one batch.

        Raises:
            BundleError: Paddle-Lite died of it; the message has its last words.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        kind = 1 if images.dtype == np.uint8 else 0
        try:
            self._process.stdin.write(HEADER.pack(kind, *images.shape) + images.tobytes())
            self._process.stdin.flush()
            rows, columns = SHAPE.unpack(self._read(self._process.stdout, SHAPE.size))
            values = self._read(self._process.stdout, 4 * rows * columns)
        except (OSError, EOFError):
            self._process.wait()
            self._said.seek(0)
            words = last_words(self._said.read().decode("utf-8", "replace"))
            raise BundleError(
                f"Paddle-Lite ended (exit code {self._process.returncode}): {words}"
            ) from None
        return np.frombuffer(values, np.float32).reshape(rows, columns)

    @staticmethod
    def _read(stream: IO[bytes], count: int) -> bytes:
        data = stream.read(count)
        if len(data) < count:
            raise EOFError
        return data


def _stop(process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    for stream in (process.stdin, process.stdout, said):
        if stream is not None:
            stream.close()
    process.kill()
    process.wait()
