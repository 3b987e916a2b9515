"""Compare every torch model that the conversion knows with ours; write the table of
docs/*/torch-weights.md.

    python docs/generate_torch.py --minutes 5    # measure what docs/torch.json lacks, so long
    python docs/generate_torch.py                # only write the pages

Measuring needs torch, torchvision and timm. A pair is measured with the random weights of two
seeds; the smallest models come first.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ppclas_models.catalog import load_catalog

DOCS = Path(__file__).parent
DATA = DOCS / "torch.json"
"""Title of a torch model → architecture here → seed → largest difference."""
sys.path.insert(0, str(DOCS.parent / "packages/ppclas-models/tests"))
import torch_peers  # noqa: E402 - needs the path

SEEDS = ("0", "1")
Measured = dict[str, dict[str, dict[str, float]]]
TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "head": "here | there | pixels | largest difference | of another seed",
        "warned": ", with a warning",
        "unknown": "not measured",
        "float64": ", in float64",
    },
    "zh": {
        "head": "本项目 | 对方 | 像素 | 最大差别 | 另一个随机种子",
        "warned": "，有警告",
        "unknown": "未测量",
        "float64": "，float64",
    },
}


def measure(measured: Measured, minutes: float) -> None:
    """Fill in what ``measured`` lacks, until the time is over."""
    end = time.monotonic() + 60 * minutes
    catalog = load_catalog()
    peers = sorted(
        torch_peers.PEERS, key=lambda peer: catalog[peer.architecture].params or sys.maxsize
    )
    for seed in SEEDS:
        for peer in peers:
            row = measured.setdefault(peer.title, {}).setdefault(peer.architecture, {})
            if seed in row or time.monotonic() > end:
                continue
            with tempfile.TemporaryDirectory() as folder:
                largest, _ = torch_peers.compare(peer, Path(folder), seed=int(seed))
            row[seed] = float(f"{largest:.1e}")
            print(torch_peers.ours(peer), peer.title, row, flush=True)
            write(measured)


def write(measured: Measured) -> None:
    """Keep what was measured, in the order of the models."""
    rows = {
        peer.title: measured[peer.title] for peer in torch_peers.PEERS if measured.get(peer.title)
    }
    DATA.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def table(measured: Measured, language: str) -> str:
    """The rows of a page."""
    texts = TEXTS[language]
    seeds = [
        seed
        for seed in SEEDS
        if any(seed in row for rows in measured.values() for row in rows.values())
    ]
    head = texts["head"].split(" | ")[: 3 + len(seeds)]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for peer in torch_peers.PEERS:
        row: dict[str, Any] = measured.get(peer.title, {}).get(peer.architecture, {})
        notes = texts["warned"] if peer.same is not True else ""
        notes += texts["float64"] if peer.dtype == "float64" else ""
        found = [f"{row[seed]:.1e}{notes}" if seed in row else "" for seed in seeds]
        found[0] = found[0] or texts["unknown"]
        lines.append(
            f"| {torch_peers.ours(peer)} | {peer.title} | {peer.size} | {' | '.join(found)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, if told to, and write the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0)
    minutes = parser.parse_args().minutes
    measured: Measured = json.loads(DATA.read_text(encoding="utf-8")) if DATA.is_file() else {}
    if minutes:
        measure(measured, minutes)
    for language in TEXTS:
        page = DOCS / language / "torch-weights.md"
        text = page.read_text(encoding="utf-8")
        start = text.index(f"\n| {TEXTS[language]['head'][:10]}") + 1
        end = text.index("\n\n", start)
        page.write_text(text[:start] + table(measured, language) + text[end:], encoding="utf-8")


if __name__ == "__main__":
    main()
