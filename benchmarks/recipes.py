"""What ``ppclas train PHOTOS`` reaches by default, against a linear probe on the same weights.

    python benchmarks/recipes.py SET [SET …] [--seeds N] [--output CSV] [-o KEY=VALUE …]

SET is a folder or list as ``ppclas train`` takes it, with a validation part. The probe is
scikit-learn's logistic regression on frozen features of the default model at its published size;
both are scored on the validation photos. A row is written as soon as it is there, and one that is
there already is not made again. Minutes are CPU time of all processes of a run.
"""

from __future__ import annotations

import argparse
import csv
import resource
import tempfile
from pathlib import Path

from ppclas_core.config.schema import DataSection
from ppclas_data.sources.splits import open_splits
from ppclas_engine.api import train
from ppclas_engine.bundles import open_model
from ppclas_engine.console import Console
from ppclas_search.features import extract_features
from sklearn.linear_model import LogisticRegression

FIELDS = ("set", "seed", "said", "probe", "fitted", "last", "kept", "weights", "minutes")


def probe(photos: str) -> float:
    """Top-1, in per cent, of a logistic regression on frozen features."""
    splits, bundle, console = open_splits(DataSection(train=photos)), open_model(), Console()
    known, asked = (extract_features(bundle, s, console) for s in (splits.train, splits.val))
    fitted = LogisticRegression(max_iter=500).fit(known.values, known.labels)
    return 100 * float(fitted.score(asked.values, asked.labels))


def cpu_minutes() -> float:
    """Of this process and of those that it has waited for."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used) / 60


def main() -> None:
    """Write the rows that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("recipes.csv"))
    parser.add_argument("-o", dest="said", action="append", default=[])
    asked = parser.parse_args()
    said = " ".join(asked.said)
    rows = []
    if asked.output.exists():
        rows = list(csv.DictReader(asked.output.read_text().splitlines()))
    done = {(row["set"], int(row["seed"]), row["said"]) for row in rows}
    for photos in asked.sets:
        for seed in range(asked.seeds):
            if (photos, seed, said) in done:
                continue
            frozen, start = probe(photos), cpu_minutes()
            with tempfile.TemporaryDirectory() as folder:
                result = train(photos, seed=seed, output=f"{folder}/run", overrides=asked.said)
            top1 = [f"{100 * row['top1']:.2f}" for row in result.history if "top1" in row]
            kept = f"{100 * result.best['top1']:.2f}"
            row = (photos, seed, said, f"{frozen:.2f}", top1[0], top1[-1], kept)
            with asked.output.open("a", newline="") as file:
                writer = csv.writer(file)
                if not file.tell():
                    writer.writerow(FIELDS)
                writer.writerow((*row, result.best["weights"], f"{cpu_minutes() - start:.1f}"))


if __name__ == "__main__":
    main()
