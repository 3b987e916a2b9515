"""The runs of the quick start at a size that one core bears: ten photos of each kind of flowers14.

    python benchmarks/quick_start.py FLOWERS WEIGHTS OUTPUT [--seeds N …] [--recipes R …]

FLOWERS has train_list.txt, val_list.txt and extra_list.txt; WEIGHTS MobileNetV2_pretrained.pdparams
and SqueezeNet1_1_pretrained.pdparams. Each run is the recipe of the quick start with another model,
photos of 64 pixels, batches of 8 and only the last epoch validated, in a folder of OUTPUT; one that
is there already is not made again. What starts from weights has its classifier fitted first, fixed
batch norms and a smaller rate. Printed is a row for each recipe: top-1 of each seed, the mean, and
Student's interval of it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev

from scipy.stats import t as student

LARGE, SMALL = "MobileNetV2", "SqueezeNet1_1"
SIZE, SHORT, PER_KIND = 64, 73, 10
# Recipe → its model, and whether it starts from the weights of ImageNet.
RUNS = {
    "flowers102-scratch": (LARGE, False),
    "flowers102-finetune": (LARGE, True),
    "flowers102-ssld-erasing": (LARGE, True),
    "flowers102-mobilenet": (SMALL, True),
    "flowers102-distill": (SMALL, True),
}
FINE_TUNED = {
    "flowers102-finetune": 0.0001,
    "flowers102-ssld-erasing": 0.0001,
    "flowers102-mobilenet": 0.000375,
    "flowers102-distill": 0.00125,
}
"""Rates of what starts from weights. At the recipes' own, with batches of 8, they end below their
classifier as it was fitted: MobileNetV2 at a quarter of it, SqueezeNet at the whole."""
LIST = "train_list.txt"
TEACHER = "flowers102-ssld-erasing"
RATES = "[0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.3, 0.3]"
"""Of the eight stages of MobileNetV2, for the five that the recipe of the teacher has."""


def first_of_each(lines: Iterable[str]) -> Iterator[str]:
    """The first ``PER_KIND`` lines of each label."""
    seen: dict[str, int] = defaultdict(int)
    for line in lines:
        label = line.split()[-1]
        seen[label] += 1
        if seen[label] <= PER_KIND:
            yield line


def command(recipe: str, seed: int, given: argparse.Namespace) -> list[str]:
    """The line that trains ``recipe``."""
    model, pretrained = RUNS[recipe]
    weights = given.weights / f"{model}_pretrained.pdparams"
    options = {
        "model.name": model,
        "model.pretrained": str(weights) if pretrained else "false",
        "data.train": str(given.output / LIST),
        "data.val": str(given.flowers / "val_list.txt"),
        "data.root": str(given.flowers),
        "data.image_size": SIZE,
        "data.train_transforms.0.size": SIZE,
        "data.eval_transforms.0.short": SHORT,
        "data.eval_transforms.1.size": SIZE,
        "data.batch_size": 8,
        "data.workers": 0,
        "train.epochs": given.epochs,
        "train.eval_every": given.epochs,
        "train.seed": seed,
    }
    if pretrained:  # 216 steps of 8 photos are too few for a new classifier, and for statistics
        options |= {
            "train.probe_head": "true",
            "train.freeze_norm_statistics": "true",
            "schedule.lr": FINE_TUNED[recipe],
        }
    if recipe == TEACHER:
        options["optimizer.lr_mult"] = RATES
    if recipe == "flowers102-distill":
        teacher = given.output / f"{TEACHER}-{seed}"
        extra = given.flowers / "extra_list.txt"
        labelled, more = (len(p.read_text().splitlines()) for p in (given.output / LIST, extra))
        epochs = max(1, round(given.epochs * labelled / (labelled + more)))
        options |= {
            "data.train_extra": str(extra),
            "train.epochs": epochs,  # as many steps as the others have
            "train.eval_every": epochs,
            "objective.teachers": f"[{{source: {teacher}}}]",
        }
    said = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    output = ["--output", str(given.output / f"{recipe}-{seed}"), "-o", "train.device=cpu"]
    return [sys.executable, "-m", "ppclas_cli", "recipes", "run", recipe, *said, *output]


def row(recipe: str, values: Sequence[float]) -> str:
    """Top-1 in per cent of each seed, the mean, and its interval."""
    middle = mean(values)
    about = ""
    if len(values) > 1:
        half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
        about = f"{max(middle - half, 0):.1f} to {min(middle + half, 100):.1f}"
    each = ", ".join(f"{value:.1f}" for value in values)
    return f"| `{recipe}` | {RUNS[recipe][0]} | {each} | {middle:.1f} | {about} |"


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("flowers", "weights", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="*", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--epochs", type=int, default=12)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    lines = (given.flowers / "train_list.txt").read_text().splitlines(keepends=True)
    (given.output / LIST).write_text("".join(first_of_each(lines)))
    found: dict[str, list[float]] = {recipe: [] for recipe in given.recipes}
    for seed in given.seeds:
        for recipe in given.recipes:
            summary = given.output / f"{recipe}-{seed}" / "summary.json"
            if not summary.is_file():
                subprocess.run(command(recipe, seed, given), check=True, stdout=sys.stderr)
            found[recipe].append(100 * json.loads(summary.read_text())["best"]["top1"])
    for recipe, values in found.items():
        print(row(recipe, values))


if __name__ == "__main__":
    main()
