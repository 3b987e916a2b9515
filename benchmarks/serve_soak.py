"""``ppclas serve`` for minutes under good, bad, slow and aborted requests: errors, and memory.

    python benchmarks/serve_soak.py FOLDER EXPORT [--minutes 10] [--mutated 10000]

Good requests must all be answered with 200; of the others none may get a 5xx but 503. Memory of the
server's process is read each second; its slope after the first third, by least squares, is printed
in MB an hour. --mutated sends photos of which bytes were changed, that many in all.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil


class Soak:
    """Threads that ask a server in their own ways until the time is up."""

    def __init__(self, port: int, photos: list[bytes], until: float) -> None:
        self.port, self.photos, self.until = port, photos, until
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.tracebacks = 0
        self._lock = threading.Lock()

    def ask(self, kind: str, path: str, body: bytes, content_type: str) -> None:
        """One request over a connection of its own; what came is counted."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", path, body, {"content-type": content_type})
            answer = connection.getresponse()
            said, status = answer.read(), answer.status
        except (OSError, http.client.HTTPException):
            said, status = b"", 0
        finally:
            connection.close()
        with self._lock:
            self.statuses[kind, status] += 1
            self.tracebacks += b"Traceback" in said

    def good(self, chance: random.Random) -> None:
        """A photo."""
        self.ask("good", "/v1/predict", chance.choice(self.photos), "image/jpeg")

    def mutated(self, chance: random.Random) -> None:
        """A photo with changed bytes, perhaps cut short."""
        photo = bytearray(chance.choice(self.photos))
        for _ in range(chance.randint(1, 60)):
            photo[chance.randrange(len(photo))] = chance.randrange(256)
        if chance.random() < 0.3:
            del photo[chance.randrange(len(photo)) + 1 :]
        self.ask("mutated", "/v1/predict", bytes(photo), "image/jpeg")

    def bad(self, chance: random.Random) -> None:
        """Something else than a photo, to any of the routes."""
        path = chance.choice(["/v1/predict", "/image/prediction", "/v2/models/m/infer", "/x"])
        kind = chance.choice(["application/json", "multipart/form-data; boundary=x", "text/plain"])
        body = chance.choice(
            [
                chance.randbytes(chance.randrange(5000)),
                json.dumps({"images": [chance.random()], "inputs": [{}], "feed": [{}]}).encode(),
                b"--x\r\ncontent-disposition: form-data; filename=a\r\n\r\n" + chance.randbytes(99),
            ]
        )
        self.ask("bad", path, body, kind)

    def aborted(self, chance: random.Random) -> None:
        """A client that goes away in the middle, or right after its request."""
        photo = chance.choice(self.photos)
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as client:
            head = f"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(photo)}\r\n\r\n"
            part = photo[: chance.choice([len(photo), chance.randrange(len(photo))])]
            client.sendall(head.encode() + part)
        time.sleep(0.02)
        with self._lock:
            self.statuses["aborted", 0] += 1

    def slow(self, chance: random.Random) -> None:
        """A client that sends a photo in five parts, with pauses."""
        photo = chance.choice(self.photos)
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as client:
            head = (
                "POST /v1/predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
                f"content-length: {len(photo)}\r\n\r\n"
            )
            client.sendall(head.encode())
            size = len(photo) // 5 + 1
            for start in range(0, len(photo), size):
                client.sendall(photo[start : start + size])
                time.sleep(0.2)
            status = int(client.recv(64).split(b" ")[1])
        with self._lock:
            self.statuses["slow", status] += 1

    def keep_on(self, kind: str, seed: int) -> None:
        """One thread's work."""
        chance = random.Random(seed)
        while time.monotonic() < self.until:
            getattr(self, kind)(chance)


def main() -> None:
    """Print the counts and the slope; exit with 1 where a good request failed or a bad one got
    through.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("export")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--mutated", type=int, default=10_000)
    given = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(given.folder.rglob("*.jpg"))[:100]]
    process = subprocess.Popen(
        [sys.executable, "-m", "ppclas_cli", "serve", given.export, "--port", "0", "--name", "m"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    port = int(process.stderr.readline().split("/")[2].rpartition(":")[2])
    while "is ready" not in process.stderr.readline():
        pass
    # What it says is read, or it would wait for that for ever.
    said = process.stderr
    threading.Thread(target=lambda: sys.stderr.writelines(said), daemon=True).start()
    started = time.monotonic()
    soak = Soak(port, photos, started + 60 * given.minutes)
    threads = [
        threading.Thread(target=soak.keep_on, args=(kind, seed))
        for seed, kind in enumerate(["good", "good", "bad", "aborted", "slow", "mutated"])
    ]
    for thread in threads:
        thread.start()
    memory: list[tuple[float, float]] = []
    while time.monotonic() < soak.until:
        time.sleep(1)
        memory.append((time.monotonic() - started, psutil.Process(process.pid).memory_info().rss))
    for thread in threads:
        thread.join()
    chance = random.Random(7)
    while soak.statuses.total() and _count(soak, "mutated") < given.mutated:
        soak.mutated(chance)
    alive = process.poll() is None
    process.terminate()
    code = process.wait(60)
    for (kind, status), count in sorted(soak.statuses.items()):
        print(f"{kind:8} {status or '-':>4} {count:8}")
    after = memory[len(memory) // 3 :]
    slope = statistics.linear_regression([t for t, _ in after], [m for _, m in after]).slope
    print(
        f"memory {after[0][1] / 1e6:.0f} MB after the first third, {after[-1][1] / 1e6:.0f} MB at "
        f"the end, slope {slope * 3600 / 1e6:+.1f} MB an hour; answers with a traceback: "
        f"{soak.tracebacks}; the server was {'alive' if alive else 'gone'} and ended with {code}"
    )
    failed = sum(
        count for (kind, status), count in soak.statuses.items()
        if (kind in ("good", "slow") and status != 200) or (status >= 500 and status != 503)
        or (kind != "aborted" and status == 0)
    )  # fmt: skip
    sys.exit(1 if failed or not alive or code or soak.tracebacks else 0)


def _count(soak: Soak, kind: str) -> int:
    return sum(count for (name, _), count in soak.statuses.items() if name == kind)


if __name__ == "__main__":
    main()
