"""Models on a terminal: rows under a heading for each series, as many columns as there is room."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import click

from ppclas_cli import output
from ppclas_cli.commands.models.catalogue import Model, flat

_NAME = 34
"""Characters that a name gets before the last columns are left out for it; longer names have a
line of their own."""
_PIPED = 160
"""Characters of a line that goes to a file or another program."""


@dataclass(frozen=True)
class _Column:
    title: str
    text: Callable[[Model], str | None]


_ALWAYS = (
    _Column("top-1", lambda model: _text("{:.2%}", model.top1)),
    _Column("params (M)", lambda model: _text("{:.2f}", model.params_m)),
)
_LATENCY = _Column("ms", lambda model: _text("{:.2f}", model.latency_ms))
_ROOM = (
    _Column("FLOPs (G)", lambda model: _text("{:.3f}", model.flops_g)),
    _Column("weights", lambda model: model.weights),
    _Column("licence", lambda model: model.licence),
)
"""The first are the last to be left out."""


def print_models(models: Sequence[Model], *, latency: bool, key: str | None) -> None:
    """Rows under a heading for each series; sorted by ``key``: one list, with that fact."""
    columns = [*_ALWAYS, *([_LATENCY] if latency else []), *_ROOM]
    if key is not None and key not in ("top1", "params", "params_m", "flops_g", "name"):
        columns.append(_Column(key, lambda model: _text("{}", flat(model.facts).get(key))))
    columns = [column for column in columns if any(column.text(model) for model in models)]
    indent = "" if key is not None else "  "
    room = (shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPED) - len(indent)
    widths = {
        column.title: max(len(column.title), *(len(column.text(m) or "-") for m in models))
        for column in columns
    }
    longest = max(len(model.name) for model in models)
    kept = [column for column in columns if column.title == key]
    for column in [column for column in columns if column.title != key]:
        needed = sum(widths[each.title] + 2 for each in (*kept, column))
        if needed + min(longest, _NAME) <= room or column in _ALWAYS:
            kept.append(column)
    kept.sort(key=columns.index)
    name = max(4, min(longest, room - sum(widths[column.title] + 2 for column in kept)))
    shape = [(column, widths[column.title]) for column in kept]
    titles = "  ".join(_pad(column.title, width, column) for column, width in shape)
    rule = "  ".join("-" * width for _, width in shape)
    click.echo(f"{indent}{'name':{name}}  {titles}".rstrip())
    click.echo(f"{indent}{'-' * name}  {rule}".rstrip())
    heading = None
    for model in models:
        if key is None and model.series != heading:
            heading = model.series
            click.echo()
            click.echo(click.style(_heading(model, room), bold=True))
        cells = "  ".join(_pad(column.text(model) or "-", width, column) for column, width in shape)
        if len(model.name) > name:
            click.echo(f"{indent}{model.name}")
            click.echo(f"{indent}{'':{name}}  {cells}".rstrip())
        else:
            click.echo(f"{indent}{model.name:{name}}  {cells}".rstrip())


def print_series(models: Sequence[Model]) -> None:
    """A line for each series: how many models, and from what to what they go."""
    rows = []
    for group in by_series(models):
        first = group[0]
        rows.append(
            [
                first.series,
                first.year,
                len(group),
                _span("{:.1f}", [model.top1 and 100 * model.top1 for model in group]),
                _span("{:.1f}", [model.params_m for model in group]),
                _span("{:.2g}", [model.flops_g for model in group]),
            ]
        )
    output.print_table(rows, ["family", "year", "models", "top-1 (%)", "params (M)", "FLOPs (G)"])


def by_series(models: Iterable[Model]) -> list[list[Model]]:
    """The models of each series, in the order of the first of each."""
    groups: dict[str, list[Model]] = {}
    for model in models:
        groups.setdefault(model.series, []).append(model)
    return list(groups.values())


def _heading(model: Model, room: int) -> str:
    year = f", {model.year}" if model.year else ""
    title = f"{model.series}{year}"
    whole = f"{title}: {model.paper}" if model.paper else title
    return whole if len(whole) <= room else title


def _text(form: str, value: object) -> str | None:
    return None if value is None else form.format(value)


def _span(form: str, values: Iterable[float | None]) -> str | None:
    known = sorted(value for value in values if value is not None)
    ends = [form.format(value) for value in known[:: max(1, len(known) - 1)]]
    return "–".join(dict.fromkeys(ends)) or None


def _pad(text: str, width: int, column: _Column) -> str:
    words = column.title in ("weights", "licence")
    return text.ljust(width) if words else text.rjust(width)
