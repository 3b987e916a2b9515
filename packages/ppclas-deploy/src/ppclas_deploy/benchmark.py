"""Models × engines × batch sizes × threads: latency, throughput, memory, size and accuracy, side by
side.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from ppclas_core.bundle import Bundle
from ppclas_core.contracts.export import export_facts
from ppclas_core.errors import PpclasError
from ppclas_core.files import write_atomic
from ppclas_data.csv_cells import csv_cells
from ppclas_data.loading.loader import Loader, available_cpus
from ppclas_data.loading.pipeline import bundle_pipeline
from ppclas_engine.console import Console
from ppclas_engine.results.score import Scoring
from ppclas_engine.scoring.predictors import open_engine

from ppclas_deploy.engine_choice import runnable
from ppclas_deploy.measuring import Measurement, measure_engine
from ppclas_deploy.photos import choose_photos
from ppclas_deploy.timing import WARMUP


@dataclass(frozen=True)
class Row:
    """One model in one engine at one batch size and thread count."""

    model: str
    engine: str
    threads: int | None
    """CPU threads; None: all of this process."""
    batch: int
    runs: int = 0
    min_ms: float | None = None
    """Wall time of a batch, in milliseconds; so are the others."""
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    mean_ms: float | None = None
    images_per_second: float | None = None
    """At the median."""
    memory_mb: float | None = None
    """Most memory that a process with this engine and nothing else held, with what it started, in
    10^6 bytes."""
    size_mb: float | None = None
    """The model's files, in 10^6 bytes."""
    top1: float | None = None
    """Share of right answers on the photos given, 0..1."""
    top1_delta: float | None = None
    """Against the first model in the table."""
    error: str = ""
    """Why it did not run."""


def benchmark(
    bundles: Sequence[tuple[str, Bundle]],
    *,
    engines: Sequence[str] = (),
    batches: Sequence[int] = (1, 8, 32),
    threads: Sequence[int | None] = (None,),
    seconds: float = 2.0,
    scoring: Sequence[Scoring] = (),
    console: Console | None = None,
) -> list[Row]:
    """Measure each bundle (with the name to show) in each engine; each pair in a process of its
    own.

    What does not run has a row that says why.

    Args:
        bundles: what to measure; a run or bundle is exported into the cache where an engine needs
            it.
        engines: their names. Nothing: an export's own; Paddle's layers and ONNX Runtime for a run
            or bundle.
        batches: batch sizes.
        threads: CPU threads.
        seconds: how long each batch size is timed.
        scoring: labelled photos for each bundle's accuracy. Nothing: no accuracies.
        console: where progress goes.
    """
    console = console or Console(quiet=True)
    rows: list[Row] = []
    first: float | None = None
    for index, (name, bundle) in enumerate(bundles):
        photos = choose_photos(bundle, None).paths
        for engine in engines or _default_engines(bundle):
            top1 = None
            for count in threads:
                console.line(f"{name} in {engine}, {count or 'all'} threads")
                try:
                    ready = runnable(bundle, engine, console)
                    found = measure_engine(
                        ready, engine, photos, batches=batches, threads=count, seconds=seconds
                    )
                    if scoring and top1 is None:
                        top1 = _accuracy(ready, engine, scoring[index], console)
                except PpclasError as error:
                    rows += [
                        Row(name, engine, count, batch, error=str(error))
                        for batch in sorted(batches)
                    ]
                    continue
                first = top1 if first is None else first
                delta = None if top1 is None or first is None else top1 - first
                rows += [_row(name, ready, found, batch, top1, delta) for batch in sorted(batches)]
    return rows


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Every column of every row."""

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(
                file, [field.name for field in fields(Row)], lineterminator="\n"
            )
            writer.writeheader()
            cells = (asdict(row) for row in rows)
            writer.writerows(dict(zip(row, csv_cells(row.values()), strict=True)) for row in cells)

    write_atomic(path, write)


def lite_format(rows: Sequence[Row], *, title: str = "PaddleLite Benchmark") -> str:
    """The text that Paddle-Lite's ``benchmark.sh`` writes: a block for each thread count, a line a
    model, batch 1.

    The numbers are milliseconds per image. (The tool's own pages call them FPS, and there min is
    above max.)
    """
    alone = [row for row in rows if row.batch == 1 and not row.error]
    lines = [title]
    for count in dict.fromkeys(row.threads for row in alone):
        block = [row for row in alone if row.threads == count]
        lines += [
            f"Threads={count or available_cpus()} Warmup={WARMUP} "
            f"Repeats={min(row.runs for row in block)}"
        ]
        lines += [
            f"{row.model:<30}        min = {row.min_ms:.5f}    max = {row.max_ms:.5f}    average = "
            f"{row.mean_ms:.5f}"
            for row in block
        ]
        lines.append("")
    return "\n".join(lines) + "\n"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Images per second and latency over the batch size, a line for each model, engine and thread
    count.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    speed, latency = figure.subplots(1, 2)
    measured = [row for row in rows if not row.error]
    for key in dict.fromkeys((row.model, row.engine, row.threads) for row in measured):
        line = [row for row in measured if (row.model, row.engine, row.threads) == key]
        batches = [row.batch for row in line]
        label = f"{key[0]}, {key[1]}" + (f", threads: {key[2]}" if key[2] else "")
        drawn = speed.plot(
            batches, [row.images_per_second for row in line], marker="o", markersize=4, label=label
        )
        latency.plot(
            batches,
            [row.p50_ms for row in line],
            marker="o",
            markersize=4,
            color=drawn[0].get_color(),
        )
        latency.fill_between(
            batches,
            [row.min_ms for row in line],
            [row.p90_ms for row in line],
            color=drawn[0].get_color(),
            alpha=0.15,
        )
    for axes, title in (
        (speed, "Images per second, at the median"),
        (latency, "Latency of a batch in ms: median, min to p90"),
    ):
        axes.set_title(title)
        axes.set_xlabel("batch size")
        axes.set_xscale("log", base=2)
        ticks = sorted({row.batch for row in measured})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    speed.legend(fontsize=8)
    write_atomic(path, lambda temporary: figure.savefig(temporary, dpi=120, format="png"))


def _default_engines(bundle: Bundle) -> list[str]:
    if bundle.manifest.kind == "export":
        return [str(export_facts(bundle)["engine"])]
    return ["dygraph", "onnxruntime"]


def _row(
    name: str,
    bundle: Bundle,
    found: Measurement,
    batch: int,
    top1: float | None,
    delta: float | None,
) -> Row:
    latency, memory = found.latencies[batch], found.memory[batch]
    return Row(
        model=name,
        engine=found.engine,
        threads=found.threads,
        batch=batch,
        runs=len(latency.seconds),
        min_ms=latency.milliseconds(0),
        p50_ms=latency.milliseconds(50),
        p90_ms=latency.milliseconds(90),
        p99_ms=latency.milliseconds(99),
        max_ms=latency.milliseconds(100),
        mean_ms=sum(latency.seconds) / len(latency.seconds) * 1e3,
        images_per_second=latency.images_per_second,
        memory_mb=None if memory is None else memory / 1e6,
        size_mb=model_bytes(bundle) / 1e6,
        top1=top1,
        top1_delta=delta,
    )


def model_bytes(bundle: Bundle) -> int:
    """Of the weights of a bundle, or of an export's files without labels, logs and receipts."""
    if bundle.manifest.kind != "export":
        return bundle.weights_file.stat().st_size
    facts, beside = export_facts(bundle), (".json", ".txt", ".csv", ".log", ".md")
    if "nb" in facts:  # what goes to the phone, without its twins
        return bundle.manifest.files[facts["nb"]].bytes
    structure = facts.get("model")
    return sum(
        entry.bytes
        for name, entry in bundle.manifest.files.items()
        if name == structure or not name.endswith(beside)
    )


def _accuracy(bundle: Bundle, engine: str, scoring: Scoring, console: Console) -> float:
    loaded = open_engine(bundle, engine)
    logits, labels = [], []
    loader = Loader(scoring.images, bundle_pipeline(bundle), scoring.batch_size)
    with loader, console.bar("scoring", loader.batches_per_epoch) as bar:
        for batch in loader.epoch(0):
            logits.append(loaded.logits(loaded.prepare(batch.images)))
            labels.append(batch.labels)
            bar.advance()
    return float(np.mean(np.concatenate(logits).argmax(axis=1) == np.concatenate(labels)))
