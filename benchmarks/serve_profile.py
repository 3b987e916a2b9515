"""Where the CPU time of a photo goes in ``ppclas serve``: by thread, and beside the bare steps.

    python benchmarks/serve_profile.py FOLDER EXPORT... [--clients 16] [--seconds 8]

FOLDER holds photos, EXPORT is an ONNX export. The server runs in this process, its clients in
another (serve.py's). Threads are told apart by their names; those without one are the engine's own.
The bare steps are timed alone, in one thread: reading a file's bytes to what the engine takes, and
the engine with batches of 16. Their sum is what no server on
this engine and this decoder can be cheaper than.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import uvicorn
from ppclas_core.bundle import Bundle
from ppclas_core.contracts.data import Draw
from ppclas_data.loading.pipeline import bundle_pipeline
from ppclas_deploy.engine_choice import load_engine
from ppclas_engine.console import Console
from ppclas_serve.run import Model, Settings, application, listen
from serve import loaded

PARTS = {
    "ppclas-read": "readers: decoding, resizing, normalising",
    "ppclas-engine": "engine",
    "ppclas-serve": "event loop: HTTP, queue, JSON",
}


def thread_seconds() -> Counter[str]:
    """CPU seconds of this process by part."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    found: Counter[str] = Counter()
    for thread in psutil.Process().threads():
        name = names.get(thread.id, "ppclas-engine")
        part = next((said for start, said in PARTS.items() if name.startswith(start)), "other")
        found[part] += thread.user_time + thread.system_time
    return found


def main() -> None:
    """Measure and print one table for each export."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("exports", nargs="+")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--photos", type=int, default=200)
    given = parser.parse_args()
    for export in given.exports:
        profile(given, export)


def profile(given: argparse.Namespace, export: str) -> None:
    """One export: its server under load, then its steps alone."""
    settings = Settings(models=(Model(name="m", path=export),))
    listening = listen("127.0.0.1", 0)
    app = application(settings, Console(quiet=True), wait=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, args=([listening],), name="ppclas-serve")
    thread.start()
    while not server.started:
        time.sleep(0.1)
    port = listening.getsockname()[1]
    before = thread_seconds()
    *_, answered = loaded(
        "ppclas serve", port, given.clients, given.seconds, given.folder, given.photos
    )
    spent = thread_seconds() - before
    server.should_exit = True
    thread.join()
    print(f"\n{export}, {given.clients} clients, {answered} photos\n")
    print("| part of the server | CPU ms of a photo |\n| --- | --- |")
    for part, seconds in spent.most_common():
        print(f"| {part} | {seconds / answered * 1e3:.2f} |")
    print(f"| all | {spent.total() / answered * 1e3:.2f} |")
    reading, engine = steps(export, given.folder, given.photos, given.seconds / 2)
    print(f"| *alone: reading a photo* | {reading:.2f} |")
    print(f"| *alone: the engine* | {engine:.2f} |")


def steps(export: str, folder: str, photos: int, seconds: float) -> tuple[float, float]:
    """CPU ms of a photo: making what the engine takes of a file, and the engine's part."""
    bundle, engine = load_engine(Bundle.load(export))
    read, draw = bundle_pipeline(bundle), Draw(np.random.default_rng(0))
    contents = [path.read_bytes() for path in sorted(Path(folder).rglob("*.jpg"))[:photos]]
    done, started, cpu = 0, time.perf_counter(), time.process_time()
    prepared = []
    while time.perf_counter() - started < seconds:
        content = contents[done % len(contents)]
        image = engine.prepare(read(content, draw, "photo")[None])[0]
        prepared = [*prepared[-15:], image]
        done += 1
    reading = (time.process_time() - cpu) / done * 1e3
    batch, done = np.stack(prepared), 0
    started, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds:
        engine.logits(batch)
        done += len(batch)
    return reading, (time.process_time() - cpu) / done * 1e3


if __name__ == "__main__":
    main()
