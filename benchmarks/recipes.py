"""What ``ppclas train PHOTOS`` reaches by default, against a linear probe on the same weights.

    python benchmarks/recipes.py SET [SET …] [--seeds N] [--output CSV] [-o KEY=VALUE …]
    python benchmarks/recipes.py --table CSV

SET is a folder or list as ``ppclas train`` takes it, with a validation part. The probe is
scikit-learn's logistic regression on frozen features of the default model at its published size;
both are scored on the validation photos. A row is written as soon as it is there, and one that is
there already is not made again. Minutes are CPU time of all processes of a run. ``--table`` prints
the rows of a CSV for docs/en/training.md, the mean over the seeds of each set.
"""

from __future__ import annotations

import argparse
import csv
import resource
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean

from ppclas_core.config.schema import DataSection
from ppclas_data.sources.splits import open_splits
from ppclas_engine.api import train
from ppclas_engine.bundles import open_model
from ppclas_engine.console import Console
from ppclas_search.features import extract_features
from sklearn.linear_model import LogisticRegression

FIELDS = ("set", "seed", "said", "probe", "fitted", "last", "kept", "weights", "minutes")
_SHOWN = ("probe", "fitted", "last", "kept")


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


def table(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """A line for each set and recipe, and the mean over the sets of each recipe."""
    yield f"| set | recipe | seeds | {' | '.join(_SHOWN)} | against the probe | CPU minutes |"
    yield "| --- " * (len(_SHOWN) + 5) + "|"
    for said in dict.fromkeys(row["said"] for row in rows):
        means = []
        of_recipe = [row for row in rows if row["said"] == said]
        for photos in dict.fromkeys(row["set"] for row in of_recipe):
            mine = [row for row in of_recipe if row["set"] == photos]
            values = [mean(float(row[name]) for row in mine) for name in (*_SHOWN, "minutes")]
            means.append(values)
            yield _line(Path(photos).name, said, str(len(mine)), values)
        yield _line("mean", said, "", [mean(column) for column in zip(*means, strict=True)])


def _line(photos: str, said: str, seeds: str, values: Sequence[float]) -> str:
    numbers = " | ".join(f"{value:.1f}" for value in values[:-1])
    gain = f"{values[-2] - values[0]:+.1f}"
    return f"| {photos} | {said or 'default'} | {seeds} | {numbers} | {gain} | {values[-1]:.1f} |"


def read_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV; none where it is not there."""
    return list(csv.DictReader(file.read_text().splitlines())) if file.exists() else []


def main() -> None:
    """Write the rows that are not there yet, or print those that are."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("sets", nargs="*")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("recipes.csv"))
    parser.add_argument("--table", type=Path)
    parser.add_argument("-o", dest="said", action="append", default=[])
    asked = parser.parse_args()
    if asked.table is not None:
        print("\n".join(table(read_rows(asked.table))))
        return
    said = " ".join(asked.said)
    done = {(row["set"], int(row["seed"]), row["said"]) for row in read_rows(asked.output)}
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
