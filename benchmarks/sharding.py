"""What ``train.shard`` saves: the largest memory of each of two CPU ranks that train with AdamW.

    python benchmarks/sharding.py [--model NAME] [--size PIXELS] [--batch N] [--ranks N]

Each row is one run of ``ppclas train`` on the built-in photos, an epoch long; memory is ``VmHWM``
of a rank's process in ``/proc``, that of rank 0, which writes the checkpoints, apart. AdamW keeps
two numbers for each weight. Linux only.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def largest_memory(run: Path, ranks: int) -> dict[int, float]:
    """MB that each rank of ``run`` has held at most so far, by its number."""
    found = {}
    for rank in range(ranks):
        mark = f"PPCLAS_FAILURE_FILE={run}/logs/.rank-{rank}.json".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                ours = mark in (process / "environ").read_bytes()
                if ours and b"ppclas_engine.rank\0" in (process / "cmdline").read_bytes():
                    status = (process / "status").read_text()
                    found[rank] = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024
            except (OSError, TypeError):  # it has ended meanwhile
                continue
    return found


def measure(shard: str, arguments: list[str], ranks: int) -> tuple[float, float]:
    """The largest memory of rank 0 and of another in MB."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "ppclas_cli", "train", *arguments, "--output", str(run)]
        process = subprocess.Popen(
            [*command, "--devices", f"cpu:{ranks}", "-o", f"train.shard={shard}"],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        held: dict[int, float] = {}
        while process.poll() is None:
            held |= largest_memory(run, ranks)
            time.sleep(0.2)
        if process.returncode:
            raise SystemExit(f"the run with train.shard={shard} failed")
        return held[0], max(held[rank] for rank in range(1, ranks))


def main() -> None:
    """Measure each setting, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ResNet50")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--ranks", type=int, default=2)
    given = parser.parse_args()
    arguments = ["--model", given.model, "--from-scratch", "--epochs", "1", "--device", "cpu"]
    arguments += ["--image-size", str(given.size), "--batch-size", str(given.batch)]
    arguments += ["-o", "optimizer.name=AdamW", "-o", "data.workers=0"]
    print(f"{given.model} at {given.size} pixels, AdamW, {given.ranks} CPU ranks")
    print("train.shard   memory of rank 0   of another")
    for shard in ("none", "optimizer", "gradients"):
        first, other = measure(shard, arguments, given.ranks)
        print(f"{shard:12}  {first:13.0f} MB  {other:8.0f} MB", flush=True)


if __name__ == "__main__":
    main()
