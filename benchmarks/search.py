"""A search under a budget of time against random search and the full grid of the same candidates.

    python benchmarks/search.py grid SET FOLDER --models NAME=WEIGHTS … [--sizes N …] [--lrs R …]
        [--smoothings S …] [--epochs N]
    python benchmarks/search.py replay FOLDER … [--share S …] [--seeds N]

``grid`` trains every point of a space once, by ``ppclas search``: models, image sizes, learning
rates and label smoothing. SET is a folder or a list; a validation list may follow after a comma.

``replay`` takes the results and the CPU seconds of those runs as they were measured, and lets each
way of searching choose among them until its time, a share of the whole grid's, is over: seconds of
the CPU, since other work on the machine makes every run seem long, each as it happens. The same
settings and seed give the same run to the last digit, so a run in the table stands for one that is
made again. The budgeted search pays for the features of all candidates first; random search does
not. Its choice is the code that ``ppclas search`` runs; the loop around it is written out here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from ppclas_core.config.load import load_config
from ppclas_engine.planning.plan import plan_run
from ppclas_search.search.candidates import Candidate, keep_best, promising, usual
from ppclas_search.search.choosing import Tried, choose
from ppclas_search.search.settings import assignment
from ppclas_search.search.space import Point, Sampler, Space, key_of, part_of


def make_grid(options: argparse.Namespace) -> None:
    """Train every point; the same line goes on with it."""
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    space = folder / "space.yaml"
    models = [
        {"name": m.partition("=")[0], "pretrained": m.partition("=")[2]} for m in options.models
    ]
    space.write_text(
        yaml.safe_dump(
            {
                "model": models,
                "data.image_size": options.sizes,
                "schedule.lr": options.lrs,
                "loss.label_smoothing": options.smoothings,
            }
        )
    )
    train, _, val = options.set.partition(",")
    line = [sys.executable, "-m", "ppclas_cli", "search", train, *(["--val", val] if val else [])]
    line += ["--space", str(space), "--sampler", "grid", "--minutes", "100000"]
    line += [
        "-o",
        f"train.epochs={options.epochs}",
        "-o",
        "data.workers=0",
        "--output",
        options.folder,
    ]
    subprocess.run(line, check=True)


class Table:
    """The runs of a grid, as they were measured."""

    def __init__(self, folder: Path) -> None:
        found = json.loads((folder / "search.json").read_text())
        self.space, self.runs = _space_of(folder, found)
        # What a run is expected to take was foretold by the clock, on the same busy machine.
        waited = sum(trial["seconds"] or 0.0 for trial in found["trials"])
        self.whole = sum(seconds for _, seconds in self.runs.values())
        self.candidates = [
            replace(each, seconds=(each.seconds or 0.0) * self.whole / waited)
            for each in (Candidate(**known) for known in found["candidates"])
        ]
        # As the search does: what is usual for the model that promises most.
        overrides = [assignment(*each) for each in promising(self.candidates).point.items()]
        plan = plan_run(load_config(str(folder / "base.yaml"), overrides).config)
        self.start = usual(plan.config, self.space)
        self.best = max(height for height, _ in self.runs.values())
        self.looked = sum(each.look_cpu_seconds or 0.0 for each in self.candidates)

    def height(self, point: Point) -> float:
        """What the run of ``point`` reached."""
        return self.runs[key_of(point)][0]

    def seconds(self, point: Point) -> float:
        """That it took."""
        return self.runs[key_of(point)][1]


def _space_of(
    folder: Path, found: Mapping[str, Any]
) -> tuple[Space, dict[str, tuple[float, float]]]:
    parts = yaml.safe_load((folder / "space.yaml").read_text())
    space = Space({key: tuple(values) for key, values in parts.items()}, "gp", None)
    runs = {}
    for trial in found["trials"]:
        point = {
            key: next(v for v in part if v == trial[key] or json.dumps(v) == trial[key])
            for key, part in space.parts.items()
            if isinstance(part, tuple)
        }
        if trial["top1"] is not None:
            runs[key_of(point)] = (trial["top1"], trial["cpu_seconds"])
    return space, runs


def budgeted(table: Table, seconds: float, seed: int) -> float:
    """The best height that the budgeted search finds in ``seconds``."""
    left = seconds - table.looked
    kept = {
        key_of(each.point): each
        for each in keep_best(table.candidates, left, 1)
        if not each.dropped
    }
    return _search(table, left, seed, kept)


def by_chance(table: Table, seconds: float, seed: int) -> float:
    """The best height that random search finds in ``seconds``."""
    return _search(table, seconds, seed, None)


def _search(table: Table, left: float, seed: int, kept: Mapping[str, Candidate] | None) -> float:
    tried: list[Tried] = []
    times: dict[str, list[float]] = {}
    probes = {key_of(each.point): each.probe for each in table.candidates}

    def prior(point: Point) -> float | None:
        return None if kept is None else probes[key_of(part_of(point))]

    def allowed(point: Point) -> bool:
        mine = key_of(part_of(point))
        if key_of(point) not in table.runs or (kept is not None and mine not in kept):
            return False
        known = times.get(mine)
        guess = statistics.median(known) if known else 0.0
        if not known and kept is not None:
            guess = kept[mine].seconds or 0.0
        return not tried or guess <= left

    sampler: Sampler = "random" if kept is None else "gp"
    while True:
        point = choose(
            table.space, sampler, tried, seed=seed, allowed=allowed, prior=prior, start=table.start
        )
        if point is None:
            break
        left -= table.seconds(point)
        if left < 0 and tried:  # it would have been stopped: its result does not count
            break
        times.setdefault(key_of(part_of(point)), []).append(table.seconds(point))
        tried.append(Tried(point, table.height(point)))
    return max((each.height or 0.0 for each in tried), default=0.0)


def replay(options: argparse.Namespace) -> None:
    """One table: sets by ways of searching."""
    ways: Mapping[str, Callable[[Table, float, int], float]] = {
        "budgeted": budgeted,
        "random": by_chance,
    }
    print("| set | points | grid, minutes | grid, top-1 | minutes | budgeted | random |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for folder in options.folders:
        table = Table(Path(folder))
        for share in options.share:
            seconds = share * table.whole
            cells = [
                _cell([way(table, seconds, seed) for seed in range(options.seeds)])
                for way in ways.values()
            ]
            print(
                f"| {Path(folder).name} | {len(table.runs)} | {table.whole / 60:.1f} | "
                f"{table.best:.2%} | {seconds / 60:.1f} | {' | '.join(cells)} |"
            )


def _cell(heights: Sequence[float]) -> str:
    return f"{statistics.mean(heights):.2%} ({min(heights):.2%} to {max(heights):.2%})"


def main() -> None:
    """Read the line."""
    parser = argparse.ArgumentParser()
    parts = parser.add_subparsers(required=True)
    grid = parts.add_parser("grid")
    grid.add_argument("set")
    grid.add_argument("folder")
    grid.add_argument("--models", nargs="+", required=True, metavar="NAME=WEIGHTS")
    grid.add_argument("--sizes", nargs="+", type=int, default=[64, 96])
    grid.add_argument("--lrs", nargs="+", type=float, default=[0.001, 0.003, 0.01])
    grid.add_argument("--smoothings", nargs="+", type=float, default=[0.0, 0.1])
    grid.add_argument("--epochs", type=int, default=3)
    grid.set_defaults(do=make_grid)
    again = parts.add_parser("replay")
    again.add_argument("folders", nargs="+")
    again.add_argument("--share", nargs="+", type=float, default=[0.25, 0.5])
    again.add_argument("--seeds", type=int, default=3)
    again.set_defaults(do=replay)
    options = parser.parse_args()
    options.do(options)


if __name__ == "__main__":
    main()
