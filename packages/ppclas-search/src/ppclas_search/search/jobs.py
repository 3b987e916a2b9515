"""Processes that train the trials of a search, several at a time, and survive one that dies."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

from ppclas_core.errors import TrainingError
from ppclas_data.loading.loader import available_cpus
from ppclas_engine.runs.run import RunFolder

Message: TypeAlias = Mapping[str, Any]
_SECONDS_TO_STOP = 40.0
_RUNS = 20
"""Runs after which a process is replaced: what Paddle keeps of each adds up."""


class Job:
    """One process and the run that it trains."""

    def __init__(self, number: int, jobs: int, log: Path, events: queue.Queue[Any]) -> None:
        self.number = number
        self.trial: int | None = None
        self._jobs, self._log, self._events = jobs, log, events
        self._process: subprocess.Popen[str] | None = None
        self._runs = 0

    def start(self, trial: int, order: Message) -> None:
        """Train what ``order`` says."""
        if self._process is None or self._runs >= _RUNS:
            self.close()
            self._process = self._spawn()
            self._runs = 0
        self._runs += 1
        self.trial = trial
        self._write(order)

    def answer(self, *, go: bool) -> None:
        """After an epoch: go on, or end the run there."""
        self._write({"go": go})

    def lost(self) -> str:
        """How the process ended; the next run gets another one."""
        assert self._process is not None
        code = self._process.wait()
        self._process = None
        return f"its process ended {'by signal ' if code < 0 else 'with code '}{abs(code)}"

    def close(self) -> None:
        """End the process; its run, if there is one, writes a checkpoint."""
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _spawn(self) -> subprocess.Popen[str]:
        threads = str(max(1, available_cpus() // self._jobs))
        environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, **os.environ}
        environment |= self._gpu()
        with open(self._log, "a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ppclas_search.search.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=environment,
                start_new_session=True,  # Ctrl-C is for the search, which then stops its jobs
            )
        assert process.stdout is not None
        threading.Thread(target=self._listen, args=(process.stdout,), daemon=True).start()
        return process

    def _gpu(self) -> dict[str, str]:
        """Of several visible GPUs, each job has one of its own."""
        visible = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
        if self._jobs < 2 or len(visible) < 2:
            return {}
        return {"CUDA_VISIBLE_DEVICES": visible[self.number % len(visible)]}

    def _listen(self, lines: IO[str]) -> None:
        ended = False
        with lines:
            for line in lines:
                message = json.loads(line)
                ended = "done" in message
                self._events.put((self.number, message))
        if not ended:
            self._events.put((self.number, {"lost": True}))

    def _write(self, message: Message) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died, which stdout tells
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()


class Pool:
    """``jobs`` processes, started when they are needed; a context that ends them."""

    def __init__(self, jobs: int, folder: Path) -> None:
        self._events: queue.Queue[Any] = queue.Queue()
        folder.mkdir(parents=True, exist_ok=True)
        self._all = [
            Job(number, jobs, folder / f"job-{number}.log", self._events) for number in range(jobs)
        ]

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        closing = [threading.Thread(target=job.close) for job in self._all]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

    @property
    def free(self) -> list[Job]:
        """Those without a run."""
        return [job for job in self._all if job.trial is None]

    @property
    def busy(self) -> list[Job]:
        """Those with one."""
        return [job for job in self._all if job.trial is not None]

    def next(self, alive: Callable[[], None]) -> tuple[Job, Message]:
        """What a job says next; ``alive`` is called about once a second until then."""
        while True:
            with contextlib.suppress(queue.Empty):
                number, message = self._events.get(timeout=1.0)
                return self._all[number], message
            alive()


def wait_until_free(folders: Sequence[Path], seconds: float = _SECONDS_TO_STOP + 5) -> None:
    """Wait for processes of a search that was killed to leave their runs.

    Raises:
        TrainingError: one still trains there after ``seconds``.
    """
    ends = time.monotonic() + seconds
    for folder in folders:
        run = RunFolder(folder)
        while run.config.is_file():
            try:
                with run.locked():
                    break
            except TrainingError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.2)
