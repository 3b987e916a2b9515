"""Fine-tuning on real photos with each training option on, against the same run without it.

    python benchmarks/options.py DATA WEIGHTS [--seeds N] [--minutes N] [--rows TEXT]

DATA holds train_list.txt and val_list.txt (14 kinds of flowers, 700 and 350 photos); WEIGHTS the
ImageNet weights SqueezeNet1_1_pretrained.pdparams and MobileNetV2_pretrained.pdparams. What counts
is the top-1 of the last epoch, not the best of several; of averaged weights, that of the average.
The plain rows have more seeds than the others, and their standard deviation is the noise: a row is
marked where it is further below its plain row than two standard errors of a difference between the
means. Runs that are done already in --output are not made again, so the table can be made in parts
(--minutes). Seconds are CPU time of all processes of a run, evaluation included.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import shutil
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from ppclas_core.config.load import load_config
from ppclas_engine.console import Console
from ppclas_engine.session import train

PLAIN_SEEDS = 3


@dataclass(frozen=True)
class Row:
    """A line of the table: what is said beside the recipe."""

    name: str
    said: tuple[str, ...] = ()
    against: str = "plain"
    column: str = "top1"
    """The column of ``metrics.jsonl`` that counts."""
    epochs: int = 8
    """With fewer, at 32 pixels, the plain run ends at 26 %, where nothing can be told apart; so it
    ends near 80 %."""


COMMON = (
    "data.image_size=64",
    "data.batch_size=32",
    "data.eval_batch_size=50",
    "data.workers=0",
    "schedule.name=CosineWarmup",
    "schedule.warmup_epochs=0.5",
    "train.device=cpu",
)
SQUEEZENET = (
    "model.name=SqueezeNet1_1",
    "optimizer.name=AdamW",
    "schedule.lr=0.0005",
    "optimizer.lr_mult={}",
)
"""Everything learns at one rate from a new classifier of random weights, so that the training has
to do the work.

With Momentum and a rate of 0.01 the ReLU behind its classifier dies, and all answers are the same.
"""
MOBILENET = ("model.name=MobileNetV2", "train.freeze_norm_statistics=false")
"""For what concerns batch norms, which move their statistics here; SqueezeNet has none.

It is slow on a CPU, and so it is fine-tuned as ``ppclas train`` does by itself, from a classifier
that is fitted first.
"""


def _with(transform: str) -> str:
    """The usual crops, and ``transform``."""
    crop = "{name: RandomResizedCrop, size: 64, scale: [0.5, 1.0]}, {name: RandomFlip}"
    return f"data.train_transforms=[{crop}, {transform}]"


UNBALANCED = "unbalanced"
NORMS, NORMS_EPOCHS = "plain, batch norms, 3 epochs", 3
LONG, LONG_EPOCHS = "plain, 24 epochs", 24
"""For what makes photos harder: in 8 epochs nothing is learnt by heart yet, and they only cost
accuracy."""

ROWS = (
    Row("plain"),
    Row("moving average, decay 0.9", ("train.ema_decay=0.9",), column="ema_top1"),
    Row("accumulation, 2 x 16", ("data.batch_size=16", "train.accumulate=2")),
    Row("clipping at 5", ("optimizer.clip_norm=5.0",)),
    Row("label smoothing 0.1", ("loss.label_smoothing=0.1",)),
    Row("focal loss, gamma 2", ("loss.name=Focal",)),
    Row("no decay of biases", ("optimizer.no_decay_norm_bias=true",)),
    Row("lr_mult, stem and stage1 at 0.1", ("optimizer.lr_mult={stem: 0.1, stage1: 0.1}",)),
    Row("freeze, stem and stage1", ("train.freeze=[stem, stage1]",)),
    Row("layer decay 0.8", ("optimizer.layer_decay=0.8",)),
    Row("two ranks", ("train.devices=cpu:2",)),
    Row("mean of the last 2 epochs", ("train.average_last=2",), column="mean_top1"),
    Row("early stopping, patience 2", ("train.patience=2", "train.eval_every=1")),
    Row("compiled", ("train.compile=true",)),
    Row(UNBALANCED),
    Row("unbalanced, class weights", ("loss.class_weights=balanced",), UNBALANCED),
    Row("unbalanced, sampling evened out", ("data.sampling={balance: 1.0}",), UNBALANCED),
    Row(LONG, (), LONG, epochs=LONG_EPOCHS),
    *(
        Row(f"{name}, 24 epochs", said, LONG, epochs=LONG_EPOCHS)
        for name, said in (
            ("Mixup, alpha 0.2", ("data.batch_transforms=[{name: Mixup, alpha: 0.2}]",)),
            (
                "CutMix, half of the batches",
                ("data.batch_transforms=[{name: CutMix, probability: 0.5}]",),
            ),
            ("RandAugment, 2 at strength 5", (_with("{name: RandAugment, magnitude: 5}"),)),
            ("RandomErasing, 0.25", (_with("{name: RandomErasing, probability: 0.25}"),)),
        )
    ),
    Row(NORMS, (), NORMS, epochs=NORMS_EPOCHS),
    *(
        Row(name, said, NORMS, column, NORMS_EPOCHS)
        for name, said, column in (
            (
                "moving average with statistics",
                ("train.ema_decay=0.9", "train.ema_statistics=true"),
                "ema_top1",
            ),
            ("no decay of norms and biases", ("optimizer.no_decay_norm_bias=true",), "top1"),
            (
                "two ranks, synchronised norms",
                ("train.devices=cpu:2", "train.sync_batch_norm=true"),
                "top1",
            ),
        )
    ),
)


def main() -> None:
    """Make the runs that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument(
        "--seeds", type=int, default=2, help=f"of every row; the plain ones have {PLAIN_SEEDS}"
    )
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="begin no run after so long"
    )
    parser.add_argument("--rows", default="", help="only rows whose names have this in them")
    parser.add_argument("--output", type=Path, default=Path("runs/options"))
    given = parser.parse_args()
    until = time.monotonic() + 60 * given.minutes
    for seed in range(max(given.seeds, PLAIN_SEEDS)):
        for row in ROWS:
            wanted = given.rows in row.name and (seed < given.seeds or row.name in _plain_rows())
            if wanted and _result(given.output, row, seed) is None and time.monotonic() < until:
                _run(row, seed, given.data, given.weights, given.output)
    print_table(given.output)


def _plain_rows() -> set[str]:
    return {row.against for row in ROWS}


def _run(row: Row, seed: int, data: Path, weights: Path, output: Path) -> None:
    on_norms, unbalanced = NORMS in (row.name, row.against), UNBALANCED in (row.name, row.against)
    recipe = MOBILENET if on_norms else SQUEEZENET
    model = recipe[0].partition("=")[2]
    train_list = _unbalanced_list(data, output) if unbalanced else data / "train_list.txt"
    folder = _folder(output, row, seed)
    if folder.exists():  # a run that was cut off: its CPU seconds are lost, so it is made anew
        shutil.rmtree(folder)
    places = [
        *(f"data.train={train_list}", f"data.val={data / 'val_list.txt'}", f"data.root={data}"),
        *(f"data.labels={data / 'label_list.txt'}", f"train.output={folder}", f"train.seed={seed}"),
        f"model.pretrained={weights / f'{model}_pretrained.pdparams'}",
    ]
    length = (f"train.epochs={row.epochs}", f"train.eval_every={row.epochs}")
    config = load_config(None, [*COMMON, *length, *recipe, *places, *row.said]).config
    print(f"{row.name}, seed {seed}", flush=True)
    before = _cpu_seconds()
    # Pictures would cost as much as an epoch of so small photos.
    with patch("ppclas_engine.loop.train.Pictures.draw"):
        result = train(config, Console(quiet=True))
    scored = [line for line in result.history if row.column in line]
    answer = {"top1": scored[-1][row.column], "seconds": _cpu_seconds() - before}
    (folder / "row.json").write_text(json.dumps(answer))


def _unbalanced_list(data: Path, output: Path) -> Path:
    """Every photo of the even classes, each fifth one of the odd classes: 50 and 10 of each."""
    seen: dict[str, int] = {}
    kept = []
    for line in (data / "train_list.txt").read_text().splitlines():
        label = line.rpartition(" ")[2]
        seen[label] = seen.get(label, 0) + 1
        if int(label) % 2 == 0 or seen[label] % 5 == 0:
            kept.append(line)
    output.mkdir(parents=True, exist_ok=True)
    path = (output / "unbalanced.txt").absolute()
    path.write_text("\n".join(kept) + "\n")
    return path


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _folder(output: Path, row: Row, seed: int) -> Path:
    words = "".join(letter if letter.isalnum() else " " for letter in row.name).split()
    return output / f"{'-'.join(words)}-{seed}"


def _result(output: Path, row: Row, seed: int) -> Mapping[str, float] | None:
    path = _folder(output, row, seed) / "row.json"
    found: dict[str, float] | None = json.loads(path.read_text()) if path.is_file() else None
    return found


def _results(output: Path, row: Row) -> list[Mapping[str, float]]:
    found = (_result(output, row, seed) for seed in range(100))
    return [result for result in found if result is not None]


def print_table(output: Path) -> None:
    """Means over the seeds that are done, in percent; an option against the mean of its plain
    row.
    """
    plain = {row.name: _results(output, row) for row in ROWS if row.name in _plain_rows()}
    noise = {name: _spread(results) for name, results in plain.items()}
    print("| option | seeds | top-1 | against plain | below the noise | CPU seconds |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in ROWS:
        results = _results(output, row)
        if not results:
            continue
        score = _mean(results)
        cells = [row.name, str(len(results)), f"{score:.1f}"]
        reference = plain[row.against]
        if row.name in plain:
            cells += [
                "one seed: no spread"
                if math.isnan(noise[row.name])
                else f"± {noise[row.name]:.1f}",
                "",
            ]
        elif reference:
            error = noise[row.against] * math.sqrt(1 / len(results) + 1 / len(reference))
            difference = score - _mean(reference)
            below = (
                "not known" if math.isnan(error) else "**yes**" if difference < -2 * error else "no"
            )
            cells += [f"{difference:+.1f}", below]
        else:
            cells += ["", ""]
        seconds = statistics.mean(result["seconds"] for result in results)
        print(f"| {' | '.join([*cells, f'{seconds:.0f}'])} |")


def _mean(results: list[Mapping[str, float]]) -> float:
    return 100 * statistics.mean(result["top1"] for result in results)


def _spread(results: list[Mapping[str, float]]) -> float:
    return (
        100 * statistics.stdev(result["top1"] for result in results)
        if len(results) > 1
        else math.nan
    )


if __name__ == "__main__":
    main()
