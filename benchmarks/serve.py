"""``ppclas serve`` under load, beside the bare engine, LitServe and mlserver.

    python benchmarks/serve.py FOLDER EXPORT... [--clients 1,4,16,64] [--seconds 5] [--rounds 2]
        [--litserve PYTHON] [--mlserver PYTHON]

FOLDER holds photos, EXPORT is an ONNX export. Closed loop: each client sends its next photo when
the answer to the last one is there. Servers get the JPEG's bytes and decode them; the bare engine
decodes the same files with ``predict``, without HTTP, at the best of several batch sizes. A peer's
interpreter needs the peer, onnxruntime and ppclas-engine; see serve_peers.py. Of the rounds, which
take turns, the best one counts: it is the least disturbed. The targets are 0.8 of the bare engine
and 1.5 times the better peer, at 16 clients. On a busy machine the CPU time of a photo tells more:
what all processes of the server took, or the bare engine's; the clients' own is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

PEERS = Path(__file__).with_name("serve_peers.py")
BATCHES = (1, 8, 16, 32)
Body = Callable[[bytes], tuple[str, bytes]]
"""A photo → the path and the body of the request."""


def main() -> None:
    """Measure and print one table for each export."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("exports", nargs="+")
    parser.add_argument("--clients", default="1,4,16,64")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--litserve", metavar="PYTHON")
    parser.add_argument("--mlserver", metavar="PYTHON")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.load is not None:
        print(json.dumps(asyncio.run(load(json.loads(given.load), given.folder))))
        return
    counts = [int(part) for part in given.clients.split(",")]
    for export in given.exports:
        compare(given, export, counts)


def compare(given: argparse.Namespace, export: str, counts: Sequence[int]) -> None:
    """One export: all servers in turns, then the table."""
    commands = {"ppclas serve": [sys.executable, "-m", "ppclas_cli", "serve", export, "--port"]}
    for name, python in (("litserve", given.litserve), ("mlserver", given.mlserver)):
        if python:
            commands[name] = [python, str(PEERS), name, export]
    speeds: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    bare: list[tuple[float, float]] = []
    for _ in range(given.rounds):
        bare.append(bare_engine(export, given.folder, given.photos, given.seconds))
        for name, command in commands.items():
            with running(name, command) as (port, process):
                for count in counts:
                    before = cpu_seconds(process)
                    found = loaded(name, port, count, given.seconds, given.folder, given.photos)
                    cpu = (cpu_seconds(process) - before) / found[-1] * 1e3
                    speeds.setdefault((name, count), []).append((*found[:3], cpu))
    best, bare_cpu = max(bare)[0], min(cpu for _, cpu in bare)
    print(
        f"\n{export}: bare engine {best:.0f} photos/s, the best of batches {BATCHES}; "
        f"{bare_cpu:.1f} CPU ms a photo\n"
    )
    print("| server | clients | photos/s | of bare | p50 ms | p99 ms | CPU ms | bare ÷ it |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for (name, count), rounds in speeds.items():
        rate, median, tail, _ = max(rounds)
        cpu = min(row[3] for row in rounds)
        print(
            f"| {name} | {count} | {rate:.0f} | {rate / best:.2f} | {median:.1f} | {tail:.1f} "
            f"| {cpu:.1f} | {bare_cpu / cpu:.2f} |",
            flush=True,
        )


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Of a process and its children."""
    root = psutil.Process(process.pid)
    times = [each.cpu_times() for each in (root, *root.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def bare_engine(export: str, folder: str, photos: int, seconds: float) -> tuple[float, float]:
    """Photos per second of ``predict`` at its best batch size, and its least CPU ms per photo."""
    from ppclas_core.bundle import Bundle
    from ppclas_deploy.engine_choice import load_engine, readers
    from ppclas_engine.results.predict import expand_paths, predict

    files = expand_paths([folder])[:photos]
    bundle, engine = load_engine(Bundle.load(export))
    found, cheapest = 0.0, float("inf")
    for batch in BATCHES:
        done, started, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - started < seconds / len(BATCHES):
            done += sum(
                1
                for _ in predict(
                    bundle, files, batch_size=batch, threads=readers(None), engine=engine
                )
            )
        found = max(found, done / (time.perf_counter() - started))
        cheapest = min(cheapest, (time.process_time() - cpu) / done * 1e3)
    return found, cheapest


@contextmanager
def running(name: str, command: Sequence[str]) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A server, answering: its port and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    process = subprocess.Popen(
        [*command, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    path = "/health" if name == "litserve" else "/v2/health/ready"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{name} does not start: {' '.join(command)}") from None
                time.sleep(0.2)
        yield port, process
    finally:
        # LitServe leaves processes behind when it is only asked to end.
        family = [
            psutil.Process(process.pid),
            *psutil.Process(process.pid).children(recursive=True),
        ]
        process.terminate()
        for each in psutil.wait_procs(family, timeout=10)[1]:
            each.kill()
        process.wait()


def loaded(
    name: str, port: int, clients: int, seconds: float, folder: str, photos: int
) -> tuple[float, float, float, int]:
    """Photos per second, the median and 99th percentile of the latency in ms, and all photos that
    were answered, the warm-up's too.
    """
    asked = {
        "name": name, "port": port, "clients": clients, "seconds": seconds, "photos": photos
    }  # fmt: skip
    # In a process of its own: the clients' work must not stand in the servers' way more than needs.
    said = subprocess.run(
        [sys.executable, __file__, folder, "-", "--load", json.dumps(asked)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    times, answered = json.loads(said)
    ordered = sorted(times)
    return (
        len(times) / seconds,
        statistics.median(ordered) * 1e3,
        ordered[int(0.99 * (len(ordered) - 1))] * 1e3,
        answered,
    )


def raw(photo: bytes) -> tuple[str, bytes]:
    """Ours: the file as it is."""
    return "/v1/predict", photo


def litserve(photo: bytes) -> tuple[str, bytes]:
    """LitServe: base64 in JSON."""
    return "/predict", json.dumps({"image": base64.b64encode(photo).decode()}).encode()


def mlserver(photo: bytes) -> tuple[str, bytes]:
    """Mlserver: base64 in JSON, as its binary tensors fail."""
    tensor = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [1, 1],
        "data": [base64.b64encode(photo).decode()],
    }
    return "/v2/models/bench/infer", json.dumps({"inputs": [tensor]}).encode()


BODIES: dict[str, Body] = {"ppclas serve": raw, "litserve": litserve, "mlserver": mlserver}


async def load(asked: dict[str, object], folder: str) -> tuple[list[float], int]:
    """The seconds of each answer within the time, after half a second of warm-up; and how many
    there were in all.
    """
    body = BODIES[str(asked["name"])]
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() == ".jpg")
    requests = []
    for file in files[: int(str(asked["photos"]))]:
        path, content = body(file.read_bytes())
        kind = "image/jpeg" if path == "/v1/predict" else "application/json"
        head = (
            f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: {kind}\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        )
        requests.append(head.encode() + content)
    begin = time.perf_counter() + 0.5
    end = begin + float(str(asked["seconds"]))
    times: list[float] = []
    answered = 0
    clients = int(str(asked["clients"]))

    async def client(number: int) -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", int(str(asked["port"])))
        turn = number * len(requests) // clients
        while (started := time.perf_counter()) < end:
            writer.write(requests[turn % len(requests)])
            turn += 1
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            length = next(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            said = await reader.readexactly(length)
            if status != 200:
                raise SystemExit(f"{status}: {said[:300].decode(errors='replace')}")
            answered += 1
            now = time.perf_counter()
            if begin <= now <= end:
                times.append(now - started)
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return times, answered


if __name__ == "__main__":
    main()
