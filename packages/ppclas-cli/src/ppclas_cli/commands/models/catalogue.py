"""The registered models as rows that can be filtered and compared. Imports nothing heavy."""

from __future__ import annotations

import csv
import fnmatch
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from ppclas_core.errors import DataError, PpclasError
from ppclas_core.registry import resolve

if TYPE_CHECKING:
    from ppclas_core.registry import Entry, Registry

_INTERNAL = ("pretrained", "about")
"""Metadata for programs: where the functions are that find the weights and tell more."""


@dataclass(frozen=True)
class Model:
    """A registered model and what is known of it; None stands for what is not."""

    name: str
    series: str
    """What it is listed under; the package, where that names no series."""
    year: int | None
    paper: str | None
    facts: dict[str, Any]
    """All that the catalogue has."""
    top1: float | None
    """Published ImageNet accuracy, 0..1."""
    params_m: float | None
    """10⁶ parameters: counted, or else as published."""
    flops_g: float | None
    """10⁹ operations, a multiply-add counted as two: as published, or else counted."""
    licence: str | None
    """Of the published weights."""
    published: bool
    """Whether weights are published."""
    here: bool
    """Whether they are on this machine."""
    latency_ms: float | None = None
    """Of one image, as the asked-for table has it."""

    @property
    def size_mb(self) -> float | None:
        """10⁶ bytes of float32 weights."""
        return None if self.params_m is None else 4 * self.params_m

    @property
    def weights(self) -> str | None:
        """``here``, ``to fetch``, or None."""
        return "here" if self.here else "to fetch" if self.published else None


@dataclass(frozen=True)
class Limits:
    """What a model may cost and must reach; None: anything. A model of which it is not known does
    not pass.
    """

    max_params_m: float | None = None
    max_flops_g: float | None = None
    max_latency_ms: float | None = None
    min_top1: float | None = None
    """0..1."""
    licence: str | None = None
    """A part of its name, in any case."""
    here: bool = False

    def passes(self, model: Model) -> bool:
        """Whether ``model`` keeps all of them."""
        below = (
            (model.params_m, self.max_params_m),
            (model.flops_g, self.max_flops_g),
            (model.latency_ms, self.max_latency_ms),
        )
        return (
            all(most is None or (value is not None and value <= most) for value, most in below)
            and (self.min_top1 is None or (model.top1 or 0) >= self.min_top1)
            and (self.licence is None or self.licence.lower() in (model.licence or "").lower())
            and (self.here <= model.here)
        )


def facts(entry: Entry) -> dict[str, Any]:
    """A model's catalogue row: its name, package and summary, then its metadata."""
    summary = {"summary": entry.summary} if entry.summary else {}
    published = {key: value for key, value in entry.metadata.items() if key not in _INTERNAL}
    return {"name": entry.name, "package": entry.owner, **summary, **published}


def model_of(entry: Entry, latency: Mapping[str, float] | None = None) -> Model:
    """The row of a registered model; ``latency`` is what ``latencies`` gave."""
    data = entry.metadata
    macs, counted = data.get("macs_g"), data.get("params")
    flops = data.get("flops_g")
    return Model(
        name=entry.name,
        series=str(data.get("series") or entry.owner),
        year=data.get("year"),
        paper=data.get("paper_title"),
        facts=facts(entry),
        top1=data.get("top1"),
        params_m=counted / 1e6 if counted else data.get("params_m"),
        flops_g=flops if flops is not None else 2 * macs if macs else None,
        licence=data.get("weights_licence"),
        published="pretrained" in data and data.get("weights_url", "") is not None,
        here=_weights_here(entry),
        latency_ms=(latency or {}).get(entry.name),
    )


def _weights_here(entry: Entry) -> bool:
    locate = entry.metadata.get("pretrained")
    if locate is None:
        return False
    try:
        resolve(locate)(entry.name, download=False)
    except (PpclasError, ImportError, AttributeError):
        return False
    return True


def matching(registry: Registry, pattern: str) -> list[str]:
    """Names that fit ``pattern``, a part or a glob in any case; where none does, those whose series
    has it.
    """
    wanted = pattern.lower() if any(c in pattern for c in "*?[") else f"*{pattern.lower()}*"

    def fits(words: Iterable[str]) -> bool:
        return any(fnmatch.fnmatchcase(word.lower(), wanted) for word in words)

    named = [name for name in registry if fits((name, *registry.aliases(name)))]
    return named or [
        name for name in registry if fits([str(registry.entry(name).metadata.get("series", ""))])
    ]


@dataclass(frozen=True)
class Latencies:
    """A table of latencies of one image."""

    title: str
    """What it was measured on."""
    milliseconds: dict[str, float]
    """By the model's name."""


def latencies(registry: Registry, table: str | None) -> Latencies:
    """The latencies of ``table``: a CSV of ``ppclas benchmark``, or a published column, as
    ``t4_fp16_bs1``, or its beginning; without it the column that most models have.

    Raises:
        DataError: the file is no such CSV.
        click.BadParameter: no model has such a column.
    """
    if table is not None and table.lower().endswith(".csv"):
        return Latencies(table, _measured(Path(table)))
    rows = {name: registry.entry(name).metadata.get("latency_ms") or {} for name in registry}
    columns = Counter(key for row in rows.values() for key in row if _one_image(key))
    known = [key for key in columns if table is None or key.startswith(table)]
    if not known:
        raise click.BadParameter(
            f"{table!r} is no CSV file of 'ppclas benchmark' and no published column; there are: "
            f"{', '.join(sorted(columns)) or 'none'}.",
            param_hint="--latency",
        )
    column = max(known, key=lambda key: (key == table, columns[key]))
    return Latencies(column, {name: row[column] for name, row in rows.items() if column in row})


def _one_image(column: str) -> bool:
    return "_bs" not in column or "_bs1" in column


def _measured(file: Path) -> dict[str, float]:
    """Model → the fastest median of batch 1 in any engine."""
    found: dict[str, float] = {}
    try:
        with open(file, encoding="utf-8", newline="") as opened:
            for row in csv.DictReader(opened):
                if row["batch"] == "1" and row["p50_ms"]:
                    name, taken = row["model"], float(row["p50_ms"])
                    found[name] = min(taken, found.get(name, taken))
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError) as error:
        raise DataError(
            f"{file} cannot be read as a CSV of 'ppclas benchmark NAME... --csv FILE' "
            f"({type(error).__name__}: {error}). It needs the columns model, batch and p50_ms."
        ) from error
    return found


def sorted_by(models: Sequence[Model], key: str) -> list[Model]:
    """Best accuracy first, else smallest first; models of which it is not known come last."""
    best_first = "top1" in key or "top5" in key
    values = [flat(model.facts).get(key) for model in models]
    known = [index for index, value in enumerate(values) if value is not None]
    unknown = [index for index, value in enumerate(values) if value is None]
    order = sorted(known, key=lambda index: values[index] or 0, reverse=best_first)
    return [models[index] for index in (*order, *unknown)]


def sort_key(models: Sequence[Model], key: str) -> str:
    """``key`` itself, or the fact that most models have of those whose name begins with it.

    Raises:
        click.BadParameter: no model has such a fact.
    """
    known = Counter(
        name
        for model in models
        for name, value in flat(model.facts).items()
        if isinstance(value, str | int | float)
    )
    if key in known or not models:
        return key
    begin = {name: count for name, count in known.items() if name.startswith(key)}
    if not begin:
        raise click.BadParameter(
            f"no model has {key!r}; there are: {', '.join(known)}.", param_hint="--sort"
        )
    return max(begin, key=lambda name: begin[name])


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """The plain facts of a row; those of a map inside it as ``map.key``."""
    plain: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            plain |= {f"{key}.{inner}": fact for inner, fact in flat(value).items()}
        elif not isinstance(value, list | tuple):
            plain[key] = value
    return plain
