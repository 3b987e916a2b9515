"""A small student alone, distilled, and distilled with photos without labels.

    python benchmarks/distillation.py DATA WEIGHTS

DATA holds train_list.txt, val_list.txt and extra_list.txt (photos without labels); WEIGHTS are
ImageNet weights of MobileNetV2, the teacher, which is fine-tuned first and exported to ONNX. The
student starts from the weights that come with ppclas-models. A student is judged by its last epoch,
not by its best. What is done already in --output is not done again, so the runs can be made one by
one (--runs).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

STUDENT = "SqueezeNet1_1"
SIZE = 64
"""Pixels of what the student sees."""
TEACHER_SIZE = 96
"""The teacher sees the same photos, enlarged: it is trained on such, and is then asked about
such."""
EPOCHS = 16
"""Of a student. After 8 it still gains 4 points from 4 more, alone: whatever lengthens so short a
training helps."""
TEACHER_EPOCHS = 10
SEEDS = (0, 1, 2)
ALONE, LONGER = "alone", "alone, as many steps as the last row"
DISTILLED, WITH_EXTRA = "distilled", "distilled, with photos without labels"


def main() -> None:
    """Make the runs that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs/distillation"))
    parser.add_argument("--runs", type=int, help="make this many runs at most")
    given = parser.parse_args()
    left = given.runs if given.runs is not None else 2 + 4 * len(SEEDS)
    for name, arguments in plan(given.data, given.weights, given.output):
        run = given.output / name
        if (run / "summary.json").is_file() or (run / "bundle.json").is_file():
            continue
        if not left:
            break
        left -= 1
        if (run / "config.yaml").is_file():
            arguments = ["train", "--resume", str(run)]
        command = [sys.executable, "-m", "ppclas_cli", *arguments]
        print(" ".join(command), file=sys.stderr, flush=True)
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    table(given.output)


def plan(data: Path, weights: Path, output: Path) -> list[tuple[str, list[str]]]:
    """Name and arguments of each run."""
    lists = [
        "--train",
        str(data / "train_list.txt"),
        "--val",
        str(data / "val_list.txt"),
        "--workers",
        "0",
    ]
    lists += ["-o", "data.eval_batch_size=50", "--batch-size", "32"]
    teacher, onnx = output / "teacher", output / "teacher-onnx"
    student = [*lists, "--model", STUDENT, "--image-size", str(SIZE), "--lr", "0.0005"]
    student += ["-o", "optimizer.name=AdamW", "-o", "optimizer.lr_mult={}"]
    distil = [
        "distill",
        "train",
        "--teacher",
        str(onnx),
        "--loss",
        "soft_ce",
        "--ground-truth",
        "1",
    ]

    labelled, extra = (
        len((data / f"{part}_list.txt").read_text().splitlines()) for part in ("train", "extra")
    )

    def run(
        name: str, seed: int, arguments: list[str], epochs: int = EPOCHS
    ) -> tuple[str, list[str]]:
        place = folder(name, seed)
        chosen = ["--epochs", str(epochs), "--seed", str(seed), "--output", str(output / place)]
        return place, [*arguments, *student, *chosen]

    runs = [run(ALONE, seed, ["train"]) for seed in SEEDS]
    runs += [
        run(LONGER, seed, ["train"], round(EPOCHS * (labelled + extra) / labelled))
        for seed in SEEDS
    ]
    large = [
        "--model",
        "MobileNetV2",
        "--pretrained",
        str(weights),
        "--image-size",
        str(TEACHER_SIZE),
    ]
    large += ["-o", f"data.train_transforms={json.dumps([CROP, FLIP, ENLARGE])}"]
    large += ["-o", f"data.eval_transforms={json.dumps([*SHORT_AND_MIDDLE, ENLARGE])}"]
    runs.append(
        (
            teacher.name,
            ["train", *lists, *large, "--epochs", str(TEACHER_EPOCHS), "--output", str(teacher)],
        )
    )
    runs.append((onnx.name, ["export", str(teacher), "--target", "onnx", "-o", str(onnx)]))
    for seed in SEEDS:
        runs.append(run(DISTILLED, seed, distil))
        runs.append(run(WITH_EXTRA, seed, [*distil, "--extra", str(data / "extra_list.txt")]))
    return runs


CROP = {"name": "RandomResizedCrop", "size": SIZE, "scale": [0.5, 1.0]}
FLIP = {"name": "RandomFlip"}
ENLARGE = {"name": "Resize", "size": TEACHER_SIZE}
SHORT_AND_MIDDLE = [
    {"name": "Resize", "short": round(SIZE * 256 / 224)},
    {"name": "CenterCrop", "size": SIZE},
]


def folder(name: str, seed: int) -> str:
    """The run's folder."""
    return f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"


def table(output: Path) -> None:
    """Top-1 in percent and loss on the validation photos after the last epoch: a loss tells finer
    than 350 answers.
    """
    print(
        f"| {STUDENT}, {SIZE} px | {' | '.join(f'seed {seed}' for seed in SEEDS)} | mean | "
        "standard deviation |"
    )
    print("|---|" + "---|" * (len(SEEDS) + 2))
    for metric, factor, title in (("top1", 100, "top-1"), ("loss", 1, "loss")):
        for name in (ALONE, LONGER, DISTILLED, WITH_EXTRA):
            found = [last(output / folder(name, seed), metric) for seed in SEEDS]
            scores = [factor * score for score in found if score is not None]
            cells = [f"{score:.2f}" for score in scores] + ["–"] * (len(SEEDS) - len(scores))
            mean = f"{statistics.mean(scores):.2f}" if scores else "–"
            spread = f"{statistics.stdev(scores):.2f}" if len(scores) > 1 else "–"
            print(f"| {name}: {title} | {' | '.join(cells)} | {mean} | {spread} |")
    if (output / "teacher" / "summary.json").is_file():
        best = json.loads((output / "teacher" / "summary.json").read_text())["best"]
        print(f"\nTeacher, its best epoch: {100 * best['top1']:.2f} %")


def last(run: Path, metric: str) -> float | None:
    """``metric`` of a finished run's last evaluation."""
    if not (run / "summary.json").is_file():
        return None
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return float(next(row[metric] for row in reversed(rows) if metric in row))


if __name__ == "__main__":
    main()
