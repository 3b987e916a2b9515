"""Two machines, here on one: either may go and come back while they train together."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from ppclas_cli.main import main
from ppclas_core.errors import TrainingError
from ppclas_engine.ranks.launch import Devices, Launch
from ppclas_engine.ranks.meeting import meeting
from ppclas_engine.runs.checkpoint import load_checkpoint

ONE_DEVICE = Launch(Devices("cpu", ("0",)), 3, 0, "127.0.0.1:1")


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def met(port: int, numbers: tuple[int, ...], seconds: float, launch: Launch = ONE_DEVICE) -> dict:
    """What each machine that comes learns: a launch, or what it is told instead."""
    found: dict[int, object] = {}

    def come(number: int) -> None:
        with meeting(number, (2, 3), f"127.0.0.1:{port}", seconds, lambda _: None) as ask:
            assert ask is not None
            try:
                found[number] = ask(launch if number else ONE_DEVICE)
            except TrainingError as error:
                found[number] = str(error)

    threads = [Thread(target=come, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_all_machines_get_one_address_and_their_number(port):
    found = met(port, (2, 0, 1), 10.0)
    assert [(found[n].machines, found[n].machine) for n in (0, 1, 2)] == [(3, 0), (3, 1), (3, 2)]
    assert len({found[n].master for n in (0, 1, 2)}) == 1
    assert found[0].master != f"127.0.0.1:{port}"


def test_who_does_not_come_is_left_out_and_the_others_are_counted_anew(port):
    found = met(port, (0, 2), 3.0)
    assert [(found[n].machines, found[n].machine) for n in (0, 2)] == [(2, 0), (2, 1)]


def test_too_few_machines_are_an_error(port):
    found = met(port, (0,), 1.0)
    assert "1 of at least 2 machines came to 127.0.0.1:" in found[0]
    assert "train.join_seconds" in met(port, (1,), 1.0)[1]


def test_another_number_of_devices_is_refused(port):
    two = replace(ONE_DEVICE, devices=Devices("cpu", ("0", "1")))
    found = met(port, (0, 1), 2.0, two)
    assert "machine 0 has 1 devices" in found[1]
    assert "this one has 2 and --rank 1" in found[1]


def test_what_is_no_machine_of_ours_is_hung_up_on(port):
    def call() -> None:
        for said in (b"GET / HTTP/1.1\r\n", b"[1]\n", b"{}\n", b"x" * 5000, b'{"machine": "a"}\n'):
            while True:
                with contextlib.suppress(ConnectionRefusedError):
                    line = socket.create_connection(("127.0.0.1", port), 5.0)
                    break
            with line, contextlib.suppress(OSError):
                line.sendall(said)
                line.shutdown(socket.SHUT_WR)
                while line.recv(100):
                    pass

    stranger = Thread(target=call)
    stranger.start()
    found = met(port, (0, 1), 5.0)
    stranger.join()
    assert found[0].machines == found[1].machines == 2


@pytest.mark.parametrize("wrong", ["0", "2:1", "a", "1:", "-1"])
def test_what_is_no_number_of_machines(wrong, capsys):
    assert main(["train", "--nnodes", wrong]) == 2
    assert "--nnodes" in capsys.readouterr().err
    assert main(["train", "--nnodes", "1:2", "--devices", "cpu:1"]) == 1
    assert "--nnodes 1:2 needs --master HOST:PORT" in capsys.readouterr().err


class Node:
    """A launcher as ``--rank``, in a session of its own."""

    def __init__(self, arguments: list[str], number: int, env: dict[str, str], log: Path) -> None:
        self.log = log
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ppclas_cli", "train", *arguments, "--rank", str(number)],
                env=env,
                stdout=output,
                stderr=output,
            )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def nodes(
    photos: Path, run: Path, port: int, environment: dict[str, str], net: Path, seconds: int
) -> Iterator[tuple[Node, Node, list[str]]]:
    """Two that train six epochs of steps with a checkpoint each; the machines' line."""
    said = {
        "data.batch_size": 12,
        "data.image_size": 32,
        "data.workers": 0,
        "train.checkpoint_minutes": 1e-4,
        "train.join_seconds": seconds,
        "schedule.name": "Constant",
        "schedule.lr": 0.01,
    }
    arguments = [str(photos), "--model", "FakeNet", "--epochs", "6", "--device", "cpu"]
    arguments += [part for key, value in said.items() for part in ("-o", f"{key}={value}")]
    arguments += ["--output", str(run), "--devices", "cpu:1", "--nnodes", "1:2"]
    arguments += ["--master", f"127.0.0.1:{port}", "--max-restarts", "3"]
    env = {**os.environ, **environment, "PYTHONPATH": str(net)}
    started = [Node(arguments, number, env, run.parent / f"{number}.txt") for number in (0, 1)]
    try:
        yield started[0], started[1], arguments
    finally:
        for node in started:
            node.kill()


def wait_for_checkpoint(run: Path) -> None:
    end = time.monotonic() + 240
    while not (run / "checkpoints" / "last.safetensors").exists():
        assert time.monotonic() < end, "no checkpoint"
        time.sleep(0.02)


@pytest.mark.sweep
def test_a_machine_that_dies_is_left_out(environment, tiny_photos, tiny_net, tmp_path, port):
    run = tmp_path / "run"
    with nodes(tiny_photos, run, port, environment, tiny_net, 15) as (first, second, _):
        wait_for_checkpoint(run)
        second.kill()
        assert first.process.wait(timeout=300) == 0, first.log.read_text()
    said = first.log.read_text()
    assert "Starting the ranks again from the last checkpoint." in said
    assert "training on 1 of 2 machines: without number 1" in said
    assert "1 device, 2 when the checkpoint was written" in said
    assert (run / "summary.json").exists()


@pytest.mark.sweep
def test_a_machine_that_comes_back_is_taken_in(environment, tiny_photos, tiny_net, tmp_path, port):
    """The world is the same again, and so is the end, bit for bit."""
    ends = []
    for name in ("calm", "run"):
        run = tmp_path / name / "run"
        run.parent.mkdir()
        with nodes(tiny_photos, run, port, environment, tiny_net, 120) as (first, second, line):
            if name == "run":
                wait_for_checkpoint(run)
                second.kill()
                env = {**os.environ, **environment, "PYTHONPATH": str(tiny_net)}
                second = Node(line, 1, env, run.parent / "1.txt")
            assert first.process.wait(timeout=300) == 0, first.log.read_text()
            assert second.process.wait(timeout=60) == 0, second.log.read_text()
        ends.append(load_checkpoint(run / "checkpoints" / "last.safetensors").arrays)
    assert "Starting the ranks again from the last checkpoint." in first.log.read_text()
    calm, disturbed = ends
    assert calm.keys() == disturbed.keys()
    for key, value in calm.items():
        np.testing.assert_array_equal(disturbed[key], value, err_msg=key)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills with signals of Linux")
