"""Start the ranks of this machine, watch them, and say which one failed and why.

Every rank is a process of its own with its output in the run folder; rank 0 also speaks to the
terminal. When one fails, the others are ended: nothing waits for a peer that will not come. When
this process goes, its ranks go too.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from ppclas_core.errors import ConfigError, TrainingError
from ppclas_data.loading.loader import available_cpus

from ppclas_engine.ranks.failure import FAILURE_FILE, RankLostError
from ppclas_engine.ranks.gpus import allotted_gpu

_CONSOLE = "PPCLAS_CONSOLE_FD"
"""Environment variable: the terminal, as rank 0 inherits it."""
_SECONDS_TO_END = 10.0
"""How long ranks may take to end by themselves once one has failed."""


@dataclass(frozen=True)
class Devices:
    """What to train on, on this machine."""

    kind: Literal["cpu", "gpu"]
    names: tuple[str, ...]
    """One a rank: GPU numbers; for CPUs only their count matters."""

    @classmethod
    def parse(cls, text: str) -> Devices:
        """``0,1,2,3`` are GPUs, ``cpu:2`` two processes on the CPU.

        Raises:
            ConfigError: anything else.
        """
        processes = re.fullmatch(r"cpu(?::([1-9]\d*))?", text)
        if processes:
            return cls("cpu", tuple(str(number) for number in range(int(processes[1] or 1))))
        numbers = text.split(",")
        if not all(number.isdecimal() for number in numbers) or len(set(numbers)) != len(numbers):
            raise ConfigError(
                "train.devices: expected GPU numbers (0,1,2,3) or processes on the CPU (cpu:2), "
                f"got {text!r}."
            )
        return cls("gpu", tuple(numbers))


@dataclass(frozen=True)
class Launch:
    """The ranks of a job: this machine's, and where the others are."""

    devices: Devices
    machines: int = 1
    machine: int = 0
    """This one's number, 0-based."""
    master: str | None = None
    """``host:port`` of machine 0, on which the ranks meet; every machine has as many ranks."""
    restarts: int = 0
    """How often the ranks are started again when one was ended from outside."""
    gather: Callable[[Launch], Launch] | None = None
    """Asked before each start where machines may come and go: the ranks of those that are there."""

    def __post_init__(self) -> None:
        if self.machines > 1 and (
            self.master is None or not re.fullmatch(r"[^:\s]+:\d+", self.master)
        ):
            raise ConfigError(
                f"--nnodes {self.machines} needs --master HOST:PORT, an address of machine 0 that "
                f"all can reach; got {self.master!r}."
            )
        if not 0 <= self.machine < self.machines:
            raise ConfigError(
                f"--rank is this machine's number, 0 to {self.machines - 1}; got {self.machine}."
            )

    @property
    def ranks(self) -> int:
        """All of them, on all machines."""
        return self.machines * len(self.devices.names)

    def without(self, rank: int) -> Launch:
        """The same with the device of ``rank`` left out; on one machine."""
        names = tuple(name for place, name in enumerate(self.devices.names) if place != rank)
        return replace(self, devices=replace(self.devices, names=names))

    @property
    def needed(self) -> bool:
        """Whether there is more than this process to start."""
        return self.ranks > 1


@dataclass
class _Rank:
    number: int
    process: subprocess.Popen[bytes]
    log: Path
    failure: Path
    ended: float | None = None
    """When it was seen to have ended."""
    killed: bool = field(default=False)
    """By this process."""


def start_and_watch(launch: Launch, job: Mapping[str, Any], logs: Path) -> None:
    """Run ``python -m ppclas_engine.rank`` for each rank of this machine until all have ended
    well.

    ``job`` is JSON that each gets; ``logs`` is a folder for ``rank-<n>.txt``.

    Raises:
        RankLostError: a rank was ended from outside, or has lost its peers.
        TrainingError: a rank failed, or a stop was asked for; the message is that rank's own.
    """
    logs.mkdir(parents=True, exist_ok=True)
    master = launch.master or f"127.0.0.1:{_free_port()}"
    first = launch.machine * len(launch.devices.names)
    ranks: list[_Rank] = []
    try:
        for place, name in enumerate(launch.devices.names):
            ranks.append(_start(first + place, name, launch, master, job, logs))
        with _forwarding(ranks) as stopped:
            _wait(ranks)
        failed = [rank for rank in ranks if rank.process.returncode != 0]
        if failed:
            raise _explain(failed, stopped=bool(stopped))
    finally:
        for rank in ranks:
            rank.process.kill()
            rank.process.wait()
            if rank.process.stdin is not None:
                with contextlib.suppress(OSError):
                    rank.process.stdin.close()
            rank.failure.unlink(missing_ok=True)


def console_descriptor() -> int | None:
    """The terminal of the process that started this rank; rank 0 alone has it."""
    number = os.environ.get(_CONSOLE)
    return int(number) if number else None


def _start(
    number: int, device: str, launch: Launch, master: str, job: Mapping[str, Any], logs: Path
) -> _Rank:
    host, port = master.rsplit(":", 1)
    log, failure = logs / f"rank-{number}.txt", logs / f".rank-{number}.json"
    failure.unlink(missing_ok=True)
    # Paddle asks for one endpoint a rank and uses the first alone, where its store listens.
    endpoints = [f"{host}:{int(port) + rank}" for rank in range(launch.ranks)]
    environment = {
        **os.environ,
        "PYTHONSAFEPATH": "1",
        "PADDLE_TRAINER_ID": str(number),
        "PADDLE_TRAINERS_NUM": str(launch.ranks),
        "PADDLE_MASTER": master,
        "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints),
        "PADDLE_CURRENT_ENDPOINT": endpoints[number],
        "PADDLE_RANK_IN_NODE": str(number % len(launch.devices.names)),
        FAILURE_FILE: str(failure),
    }
    if launch.devices.kind == "gpu":
        _, gpu = allotted_gpu(device)
        environment |= {"CUDA_VISIBLE_DEVICES": gpu, "FLAGS_selected_gpus": "0"}
    else:
        threads = max(1, available_cpus() // len(launch.devices.names))
        environment.setdefault("OMP_NUM_THREADS", str(threads))
    terminal: tuple[int, ...] = ()
    if number == 0:
        environment[_CONSOLE] = "2"
        # Not where stderr is no file, as in a notebook.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            terminal = (os.dup(sys.stderr.fileno()),)
            os.set_inheritable(terminal[0], True)
            environment[_CONSOLE] = str(terminal[0])
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ppclas_engine.rank"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=environment,
            pass_fds=terminal,
            # Ctrl-C reaches this process alone, which tells the ranks to stop at the same step.
            start_new_session=True,
        )
    for descriptor in terminal:
        os.close(descriptor)
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # gone already: its exit code says so
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
    return _Rank(number, process, log, failure)


def _wait(ranks: list[_Rank]) -> None:
    """Until every rank has ended; soon after one has failed."""
    deadline = None
    while any(rank.ended is None for rank in ranks):
        for rank in ranks:
            if rank.ended is None and rank.process.poll() is not None:
                rank.ended = time.monotonic()
                if rank.process.returncode != 0 and deadline is None:
                    deadline = rank.ended + _SECONDS_TO_END
        if deadline is not None and time.monotonic() > deadline:
            for rank in ranks:
                if rank.ended is None:
                    rank.killed = True
                    rank.process.kill()
        time.sleep(0.05)


def stopping_numbers() -> list[signal.Signals]:
    """SIGINT, SIGTERM, and SIGHUP where there is one and nohup has not switched it off."""
    ending = getattr(signal, "SIGHUP", None)
    ignored = ending is None or signal.getsignal(ending) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *(() if ignored else (ending,))]


@contextmanager
def _forwarding(ranks: list[_Rank]) -> Iterator[list[int]]:
    """Pass what stops a run on, once; a second one ends the ranks. The list holds what came."""
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        for rank in ranks:
            if rank.process.poll() is None:
                rank.process.send_signal(signal.SIGTERM if len(came) == 1 else signal.SIGKILL)

    previous: dict[signal.Signals, Any] = {}
    with contextlib.suppress(ValueError):  # not the main thread: no signals to pass on
        for number in stopping_numbers():
            previous[number] = signal.signal(number, handle)
    try:
        yield came
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _explain(failed: list[_Rank], *, stopped: bool) -> TrainingError:
    """One line: the rank that failed first of its own accord, and why."""
    causes = []
    for rank in sorted(failed, key=lambda rank: (rank.ended or 0.0, rank.number)):
        said = None
        with contextlib.suppress(OSError, ValueError):
            said = json.loads(rank.failure.read_text(encoding="utf-8"))
        if said is not None:
            causes.append((bool(said["follows"]), rank, str(said["message"])))
        elif not rank.killed:
            causes.append((False, rank, _how_it_ended(rank, stopped)))
    if not causes:
        return TrainingError(
            f"The ranks did not end within {_SECONDS_TO_END:g} s after one had failed. See "
            f"{failed[0].log}."
        )
    own = [cause for cause in causes if not cause[0]] or causes
    follows, rank, message = own[0]
    if not all(other == message for _, _, other in own):
        message = f"rank {rank.number}: {message}"
    ended = not follows and not rank.failure.exists() and rank.process.returncode < 0
    if not stopped and (follows or ended):
        return RankLostError(message, rank.number if ended else None)
    return TrainingError(message)


def _how_it_ended(rank: _Rank, stopped: bool) -> str:
    code = rank.process.returncode
    if stopped and code == -signal.SIGTERM:
        return "Stopped on request before the first step."
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        cause = (
            " (the system ends processes this way when memory runs out)"
            if name == "SIGKILL"
            else ""
        )
        return (
            f"rank {rank.number} was ended by the signal {name}{cause}. Its output is in "
            f"{rank.log}."
        )
    last = rank.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    return (
        f"rank {rank.number} ended with exit code {code}: {last[0] if last else 'it said nothing'} "
        f"({rank.log})"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
