"""``ppclas models list`` and ``info``: the catalogue."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from ppclas_core.errors import UnknownNameError
from ppclas_core.plugins import get_registries
from ppclas_core.registry import resolve

from ppclas_cli import output

if TYPE_CHECKING:
    from ppclas_core.registry import Entry, Registry

_COLUMNS = {
    "name": ("name", "{}"),
    "top1": ("top-1", "{:.2%}"),
    "top5": ("top-5", "{:.2%}"),
    "params_m": ("params (M)", "{:.2f}"),
    "flops_g": ("FLOPs (G)", "{:.3f}"),
}
"""Key of the facts → title and format in the table."""

_INTERNAL = ("pretrained", "about")
"""Metadata for programs: where the functions are that find the weights and tell more."""


@click.command("list")
@click.argument("pattern", default="*")
@click.option(
    "--sort",
    "key",
    metavar="KEY",
    help="A key of the facts, or its beginning: top1, params, flops, latency …",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON array of objects with all facts."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with all plain facts.")
def list_command(pattern: str, key: str | None, as_json: bool, as_csv: bool) -> None:
    """List the models whose name fits PATTERN: a part of it, or a glob. Upper and lower case are
    the same.

    Accuracies are those published for ImageNet-1k (JSON and CSV: in 0..1). --sort puts the best
    accuracy, or the smallest or fastest model, first; models of which that is not known come last.

    \b
    Examples:
      ppclas models list mobilenet
      ppclas models list '*50_vd*' --sort top1
      ppclas models list --sort latency_ms.t4_fp16_bs1
      ppclas models list --json
    """
    print_models(get_registries().models, pattern, key, as_json=as_json, as_csv=as_csv)


def print_models(
    registry: Registry,
    pattern: str = "*",
    key: str | None = None,
    *,
    as_json: bool = False,
    as_csv: bool = False,
) -> None:
    """Print the models of ``registry`` that fit ``pattern``, sorted by the fact ``key``.

    Raises:
        UnknownNameError: none fits, and a table was asked for.
        click.BadParameter: no model has such a fact.
    """
    rows = [facts(registry.entry(name)) for name in _matching(registry, pattern)]
    if not rows and not (as_json or as_csv):
        raise UnknownNameError(_nothing_matches(registry, pattern))
    if key is not None:
        key = _sort_key(rows, key)
        rows = _sorted(rows, key)
    if as_json:
        output.print_json(rows)
    elif as_csv:
        flat = [_flat(row) for row in rows]
        columns = dict.fromkeys(column for row in flat for column in row)
        output.print_csv(flat, list(columns) or ["name"])
    else:
        _print_table(rows, key)
        output.note(f"{len(rows)} of {len(registry)} models")


@click.command("info")
@click.argument("name")
@output.JSON_OPTION
def info_command(name: str, as_json: bool) -> None:
    """Print everything that is known of the model NAME.

    \b
    Example:
      ppclas models info ResNet50_vd
    """
    print_info(get_registries().models, name, as_json=as_json)


def print_info(registry: Registry, name: str, *, as_json: bool = False) -> None:
    """Print all facts of the model ``name`` of ``registry``.

    Raises:
        UnknownNameError: there is no such model.
    """
    entry = registry.entry(name)
    row = facts(entry)
    if "about" in entry.metadata:
        row |= resolve(entry.metadata["about"])(entry.name)
    if as_json:
        output.print_json(row)
    else:
        output.print_facts(row)


def facts(entry: Entry) -> dict[str, Any]:
    """A model's catalogue row: its name, package and summary, then its metadata."""
    summary = {"summary": entry.summary} if entry.summary else {}
    published = {key: value for key, value in entry.metadata.items() if key not in _INTERNAL}
    return {"name": entry.name, "package": entry.owner, **summary, **published}


def _matching(registry: Registry, pattern: str) -> list[str]:
    wanted = pattern.lower() if any(c in pattern for c in "*?[") else f"*{pattern.lower()}*"

    def fits(name: str) -> bool:
        spellings = (name, *registry.aliases(name))
        return any(fnmatch.fnmatchcase(spelling.lower(), wanted) for spelling in spellings)

    return [name for name in registry if fits(name)]


def _nothing_matches(registry: Registry, pattern: str) -> str:
    try:
        registry.entry(pattern)
    except UnknownNameError as error:
        return f"No model fits {pattern!r}.{str(error).removeprefix(f'Unknown model {pattern!r}.')}"
    raise AssertionError("a pattern that is a name fits that name")


def _print_table(rows: list[dict[str, Any]], key: str | None) -> None:
    flat = [_flat(row) for row in rows]
    columns = [column for column in _COLUMNS if any(row.get(column) is not None for row in flat)]
    if key is not None and key not in columns:
        columns.append(key)
    titles = {column: _COLUMNS.get(column, (column, "{}")) for column in columns}
    output.print_table(
        [
            [titles[c][1].format(row[c]) if row.get(c) is not None else None for c in columns]
            for row in flat
        ],
        [titles[c][0] for c in columns],
    )


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """The plain facts of a row; those of a map inside it as ``map.key``."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": fact for inner, fact in _flat(value).items()}
        elif not isinstance(value, list | tuple):
            flat[key] = value
    return flat


def _sort_key(rows: list[dict[str, Any]], key: str) -> str:
    """``key`` itself, or the fact that most models have of those whose name begins with it."""
    known = Counter(
        k for row in rows for k, value in _flat(row).items() if isinstance(value, str | int | float)
    )
    if key in known or not rows:
        return key
    begin = {k: count for k, count in known.items() if k.startswith(key)}
    if not begin:
        raise click.BadParameter(
            f"no model has {key!r}; there are: {', '.join(known)}.", param_hint="--sort"
        )
    chosen = max(begin, key=lambda k: begin[k])
    output.note(f"sorted by {chosen}")
    return chosen


def _sorted(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    best_first = "top1" in key or "top5" in key
    values = [_flat(row).get(key) for row in rows]
    known = [index for index, value in enumerate(values) if value is not None]
    unknown = [index for index, value in enumerate(values) if value is None]
    order = sorted(known, key=lambda index: values[index] or 0, reverse=best_first)
    return [rows[index] for index in (*order, *unknown)]
