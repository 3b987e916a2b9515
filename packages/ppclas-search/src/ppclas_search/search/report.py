"""What a search leaves for people: a table, a picture, the best settings, what was not tried."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ppclas_core.config.load import dump_config, load_config
from ppclas_core.files import write_atomic, write_json, write_text
from ppclas_engine.console import duration
from ppclas_engine.runs.run import RunFolder
from ppclas_engine.scoring.monitor import TITLES, in_percent

from ppclas_search.search.candidates import Candidate
from ppclas_search.search.settings import Found
from ppclas_search.search.space import in_words
from ppclas_search.search.trials import Trial
from ppclas_search.writing import write_csv


def write_all(found: Found) -> None:
    """``trials.csv``, ``search.png``, ``search.json`` in the search's folder; ``best.yaml`` where
    the best run is on this machine."""
    folder = found.settings.folder
    rows = [facts_of(found, trial) for trial in found.trials]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    write_csv(folder / "trials.csv", rows, columns)
    write_json(folder / "search.json", as_dict(found))
    best = found.best
    if best is not None and run_of(found, best).config.is_file():  # on this machine
        write_text(folder / "best.yaml", best_config(found, best))
    draw(found, folder / "search.png")


def best_config(found: Found, best: Trial) -> str:
    """The settings of the best run, every value, for ``ppclas train -c``."""
    config = load_config(str(run_of(found, best).config)).config
    return dump_config(config.replace(train=config.train.replace(output=None)))


def run_of(found: Found, trial: Trial) -> RunFolder:
    """The run folder of a trial of this machine."""
    return RunFolder(found.settings.folder / "trials" / f"{trial.number:04d}")


def facts_of(found: Found, trial: Trial) -> dict[str, Any]:
    """A trial for programs."""
    candidate = found.candidate_of(trial)
    return {
        "trial": trial.number,
        "state": trial.state,
        found.metric: None if trial.height is None else abs(trial.height),
        "epochs": trial.facts.get("epochs"),
        "best_epoch": trial.facts.get("best", {}).get("epoch"),
        "seconds": trial.facts.get("seconds"),
        "cpu_seconds": trial.facts.get("cpu_seconds"),
        "latency_ms": None if candidate is None else candidate.latency_ms,
        "size_mb": None if candidate is None else candidate.size_mb,
        **{key: _plain(value) for key, value in trial.point.items()},
        "reason": trial.facts.get("reason", ""),
    }


def as_dict(found: Found) -> dict[str, Any]:
    """Everything for programs."""
    best = found.best
    return {
        "metric": found.metric,
        "sampler": found.settings.sampler,
        "seconds": round(found.seconds, 1),
        "ended": found.ended,
        "best": None
        if best is None
        else {**facts_of(found, best), "run": str(run_of(found, best).path)},
        "trials": [facts_of(found, trial) for trial in found.trials],
        "candidates": [asdict(candidate) for candidate in found.candidates],
        "not_tried": not_tried(found),
    }


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def table(found: Found, most: int = 20) -> tuple[list[str], list[list[Any]]]:
    """Heading and rows, the best trials first; settings that never differ are left out."""
    trials = sorted(
        found.trials,
        key=lambda t: (t.height is None, t.state != "complete", -(t.height or 0.0), t.number),
    )
    keys = [
        key
        for key in found.settings.space.parts
        if len({json.dumps(trial.point.get(key)) for trial in found.trials}) > 1
    ]
    latency = any(candidate.latency_ms is not None for candidate in found.candidates)
    states = any(trial.state != "complete" for trial in found.trials)
    header = ["trial", TITLES.get(found.metric, found.metric)]
    header += [*(["ms"] if latency else []), "time", *(["state"] if states else []), "settings"]
    rows: list[list[Any]] = []
    for trial in trials[:most]:
        candidate, seconds = found.candidate_of(trial), trial.facts.get("seconds")
        ms = None if candidate is None else candidate.latency_ms
        rows.append(
            [
                trial.number,
                shown(found.metric, trial.height),
                *([None if ms is None else f"{ms:.1f}"] if latency else []),
                None if seconds is None else duration(seconds),
                *([_state(trial)] if states else []),
                in_words(trial.point, keys),
            ]
        )
    return header, rows


def _state(trial: Trial) -> str:
    return {"complete": "done", "pruned": "stopped"}.get(trial.state, trial.state)


def shown(metric: str, height: float | None) -> str | None:
    """A height as people read the metric."""
    if height is None:
        return None
    return f"{abs(height):.2%}" if in_percent(metric) else f"{abs(height):.4f}"


def not_tried(found: Found) -> list[str]:
    """A sentence on each model that was left out, and on the points that were."""
    lines = [f"{each.name}: {each.dropped}" for each in found.candidates if each.dropped]
    size = found.settings.space.size
    if size is not None:
        left = size - len(found.trials)
        if left > 0:
            lines.append(f"{left} of {size} points of the space: {found.ended}")
    failed = [trial for trial in found.trials if trial.state == "failed"]
    lines += [f"trial {each.number} failed: {each.facts.get('reason', '')}" for each in failed]
    return lines


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the points (cost, height) that no other beats in both, the cheapest first.

    >>> front([(1.0, 0.5), (2.0, 0.4), (3.0, 0.9), (3.0, 0.8)])
    [0, 2]
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    kept: list[int] = []
    for place in order:
        if not kept or points[place][1] > points[kept[-1]][1]:
            kept.append(place)
    return kept


def draw(found: Found, path: Path) -> None:
    """The metric over latency, a dot for each trial, and a line along what nothing else beats;
    over the trials where no latency was measured."""
    from matplotlib.figure import Figure

    done = [trial for trial in found.trials if trial.height is not None]
    costs = {trial.number: _latency(found.candidate_of(trial)) for trial in done}
    timed = None not in costs.values() and len(set(costs.values())) > 1
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    names = [each.name for each in found.candidates if not each.dropped]
    for name in names:
        mine = [t for t in done if (c := found.candidate_of(t)) is not None and c.name == name]
        if not mine:
            continue
        x = [(costs[trial.number] or 0.0) if timed else trial.number for trial in mine]
        y = [_scaled(found.metric, trial.height or 0.0) for trial in mine]
        axes.scatter(x, y, s=28, alpha=0.6, label=name)
    if timed:
        points = [(costs[trial.number] or 0.0, trial.height or 0.0) for trial in done]
        best = front(points)
        axes.plot(
            [points[i][0] for i in best],
            [_scaled(found.metric, points[i][1]) for i in best],
            color="black",
            linewidth=1,
            zorder=1,  # behind the dots, whose colour says the model
            label="no other is both faster and better",
        )
        axes.set_xlabel(f"latency of one photo in ms, {found.settings.engine or 'this machine'}")
        axes.set_xlim(0, 1.1 * max(cost for cost, _ in points))
    else:
        axes.set_xlabel("trial")
    title = TITLES.get(found.metric, found.metric)
    axes.set_ylabel(f"{title} in %" if in_percent(found.metric) else title)
    failed = len(found.trials) - len(done)
    axes.set_title(f"{len(done)} trials" + (f", {failed} without a result" if failed else ""))
    axes.grid(alpha=0.3)
    if done:
        figure.legend(fontsize=8, loc="outside lower center", ncols=3)
    write_atomic(path, lambda temporary: figure.savefig(temporary, dpi=120, format="png"))


def _latency(candidate: Candidate | None) -> float | None:
    return None if candidate is None else candidate.latency_ms


def _scaled(metric: str, height: float) -> float:
    return abs(height) * (100 if in_percent(metric) else 1)
