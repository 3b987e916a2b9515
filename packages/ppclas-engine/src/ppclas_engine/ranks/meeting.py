"""Machines of one training that come and go: before every start they meet, and are counted.

Machine 0 listens at ``--master`` for as long as it trains. The others say their number there and
wait for an answer: how many are there, which number they have among them, and the port at which
their ranks find each other. One that comes while the others train is counted at the next start.
Each message is a line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ppclas_core.errors import TrainingError

if TYPE_CHECKING:
    from ppclas_engine.ranks.launch import Launch

Say = Callable[[str], None]
_SECONDS_TO_ANSWER = 5.0
_LONGEST_LINE = 1000
_PORTS = 16
"""After the one of ``--master``: on the first free one the ranks meet."""


@contextlib.contextmanager
def meeting(
    machine: int, counted: tuple[int, int], master: str | None, seconds: float, say: Say
) -> Iterator[Callable[[Launch], Launch] | None]:
    """What counts the machines before a start; None where all of them have to be there anyway.

    Raises:
        TrainingError: ``master`` is no HOST:PORT, or its port is taken.
    """
    if counted[0] == counted[1]:
        yield None
        return
    host, _, port = (master or "").rpartition(":")
    if not host or not port.isdecimal():
        raise TrainingError(
            f"--nnodes {counted[0]}:{counted[1]} needs --master HOST:PORT, an address of machine "
            f"0 that all can reach; got {master!r}."
        )
    if machine > 0:
        yield _Guest(machine, host, int(port), seconds, say)
        return
    door = _open(int(port), counted[1])
    with door:
        yield _Host(host, int(port), counted, seconds, say, door)


def _open(port: int, most: int) -> socket.socket:
    try:
        return socket.create_server(("", port), backlog=most)
    except OSError as error:
        raise TrainingError(
            f"Machine 0 cannot listen on port {port} ({error.strerror}). Choose another in "
            "--master, on all machines."
        ) from error


@dataclass(frozen=True)
class _Host:
    """Machine 0."""

    host: str
    port: int
    machines: tuple[int, int]
    seconds: float
    say: Say
    door: socket.socket

    def __call__(self, launch: Launch) -> Launch:
        """``launch`` with the machines that are there."""
        least, most = self.machines
        devices = len(launch.devices.names)
        there: dict[int, socket.socket] = {}
        end = time.monotonic() + self.seconds
        while len(there) + 1 < most and (left := end - time.monotonic()) > 0:
            self.door.settimeout(left)
            with contextlib.suppress(TimeoutError):
                line, _ = self.door.accept()
                self._admit(line, devices, there)
            there = {machine: line for machine, line in there.items() if _is_there(line)}
        count = len(there) + 1
        if count < least:
            raise TrainingError(
                f"{count} of at least {least} machines came to {self.host}:{self.port} within "
                f"{self.seconds:g} s. Start the others with the same line and their --rank. "
                "(train.join_seconds is the limit.)"
            )
        missing = [n for n in range(1, most) if n not in there]
        if missing:
            self.say(
                f"training on {count} of {most} machines: without number "
                f"{', '.join(map(str, missing))}, which did not come within {self.seconds:g} s. "
                "One that comes later is counted at the next start."
            )
        port = self._free_port()
        for number, machine in enumerate(sorted(there), 1):
            answer = {"machines": count, "machine": number, "port": port}
            with there[machine] as line, contextlib.suppress(OSError):  # its ranks will be missed
                _send(line, answer)
        return replace(launch, machines=count, machine=0, master=f"{self.host}:{port}")

    def _admit(self, line: socket.socket, devices: int, there: dict[int, socket.socket]) -> None:
        try:
            said = _receive(line, _SECONDS_TO_ANSWER)
            machine, theirs = int(said["machine"]), int(said["devices"])
        except (OSError, ValueError, LookupError, TypeError):
            line.close()  # no machine of ours
            return
        if theirs != devices or not 0 < machine < self.machines[1]:
            with line, contextlib.suppress(OSError):
                _send(
                    line,
                    {
                        "refused": (
                            f"machine 0 has {devices} devices and expects --rank 1 to "
                            f"{self.machines[1] - 1}; this one has {theirs} and --rank {machine}"
                        )
                    },
                )
            return
        if machine in there:
            there[machine].close()
        there[machine] = line

    def _free_port(self) -> int:
        for port in range(self.port + 1, self.port + 1 + _PORTS):
            with contextlib.suppress(OSError), socket.create_server(("", port)):
                return port
        raise TrainingError(
            f"None of the ports {self.port + 1} to {self.port + _PORTS} of machine 0 is free, "
            "where the ranks are to meet. Choose another port in --master, on all machines."
        )


@dataclass(frozen=True)
class _Guest:
    """Another machine than 0."""

    machine: int
    host: str
    port: int
    seconds: float
    say: Say

    def __call__(self, launch: Launch) -> Launch:
        """``launch`` as machine 0 says; without a limit while that one trains with others."""
        self.say(f"machine {self.machine} waits for machine 0 at {self.host}:{self.port}")
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            with contextlib.suppress(OSError, ValueError):  # machine 0 is not there, or not yet
                address = (self.host, self.port)
                with socket.create_connection(address, _SECONDS_TO_ANSWER) as line:
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    _send(line, {"machine": self.machine, "devices": len(launch.devices.names)})
                    answer = _receive(line, None)
                    while "ping" in answer:
                        _send(line, {"here": True})
                        answer = _receive(line, None)
                if "refused" in answer:
                    raise TrainingError(f"--nnodes: {answer['refused']}.")
                return replace(
                    launch,
                    machines=answer["machines"],
                    machine=answer["machine"],
                    master=f"{self.host}:{answer['port']}",
                )
            time.sleep(0.5)
        raise TrainingError(
            f"Machine 0 was not at {self.host}:{self.port} within {self.seconds:g} s. Is it "
            "started with the same --nnodes and --master? (train.join_seconds is the limit.)"
        )


def _is_there(line: socket.socket) -> bool:
    """Whether the machine at the other end still waits; one that went is hung up on."""
    try:
        _send(line, {"ping": True})
        _receive(line, _SECONDS_TO_ANSWER)
    except (OSError, ValueError):
        line.close()
        return False
    return True


def _send(line: socket.socket, message: dict[str, Any]) -> None:
    line.sendall(json.dumps(message).encode() + b"\n")


def _receive(line: socket.socket, seconds: float | None) -> dict[str, Any]:
    """The next message; ValueError where it is none, or the other end has gone."""
    line.settimeout(seconds)
    text = b""
    while not text.endswith(b"\n"):
        piece = line.recv(1)
        if not piece or len(text) > _LONGEST_LINE:
            raise ValueError("no message")
        text += piece
    message = json.loads(text)
    if not isinstance(message, dict):
        raise ValueError("no message")
    return message
