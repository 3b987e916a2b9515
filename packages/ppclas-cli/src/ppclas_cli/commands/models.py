"""``ppclas models``: the catalogue."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

import click
from ppclas_core.errors import UnknownNameError
from ppclas_core.plugins import get_registries

from ppclas_cli import output

if TYPE_CHECKING:
    from ppclas_core.registry import Entry, Registry

_COLUMNS = {
    "name": ("name", "{}"),
    "top1": ("top-1", "{:.3f}"),
    "top5": ("top-5", "{:.3f}"),
    "params_m": ("params (M)", "{:.2f}"),
    "flops_g": ("FLOPs (G)", "{:.3f}"),
}
"""Key of the facts → title and format in the table."""

_INTERNAL = ("pretrained",)
"""Metadata for programs: where the function is that finds the weights."""


@click.group()
def models() -> None:
    """List the models there are, and their facts."""


@models.command("list")
@click.argument("pattern", default="*")
@click.option("--sort", "key", metavar="KEY", help="A key of the facts: name, top1, top5, params_m, flops_g …")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of objects with all facts.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with all plain facts.")
def list_command(pattern: str, key: str | None, as_json: bool, as_csv: bool) -> None:
    """List the models whose name fits PATTERN: a part of it, or a glob. Upper and lower case are the same.

    Accuracies are those published for ImageNet-1k, as shares of 1. --sort puts the best accuracy or the smallest
    model first.

    \b
    Examples:
      ppclas models list mobilenet
      ppclas models list '*50_vd*' --sort top1
      ppclas models list --json
    """
    registry = get_registries().models
    rows = [facts(registry.entry(name)) for name in _matching(registry, pattern)]
    if not rows and not (as_json or as_csv):
        raise UnknownNameError(_nothing_matches(registry, pattern))
    if key is not None:
        rows = _sorted(rows, key)
    if as_json:
        output.print_json(rows)
    elif as_csv:
        plain = dict.fromkeys(
            k for row in rows for k, value in row.items() if not isinstance(value, dict | list | tuple)
        )
        output.print_csv(rows, list(plain) or ["name"])
    else:
        columns = [column for column in _COLUMNS if any(row.get(column) is not None for row in rows)]
        output.print_table(
            [[_COLUMNS[c][1].format(row[c]) if row.get(c) is not None else None for c in columns] for row in rows],
            [_COLUMNS[c][0] for c in columns],
        )
        output.note(f"{len(rows)} of {len(registry)} models")


@models.command("info")
@click.argument("name")
@output.JSON_OPTION
def info_command(name: str, as_json: bool) -> None:
    """Print everything that is known of the model NAME.

    \b
    Example:
      ppclas models info ResNet50_vd
    """
    registry = get_registries().models
    row = facts(registry.entry(name))
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
    return [
        name
        for name in registry
        if any(fnmatch.fnmatchcase(spelling.lower(), wanted) for spelling in (name, *registry.aliases(name)))
    ]


def _nothing_matches(registry: Registry, pattern: str) -> str:
    try:
        registry.entry(pattern)
    except UnknownNameError as error:
        return f"No model fits {pattern!r}.{str(error).removeprefix(f'Unknown model {pattern!r}.')}"
    raise AssertionError("a pattern that is a name fits that name")


def _sorted(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    known = dict.fromkeys(k for row in rows for k, value in row.items() if isinstance(value, str | int | float))
    if key not in known:
        raise click.BadParameter(f"no model has {key!r}; there are: {', '.join(known)}.", param_hint="--sort")
    best_first = "top1" in key or "top5" in key
    given = sorted((row for row in rows if row.get(key) is not None), key=lambda row: row[key], reverse=best_first)
    return [*given, *(row for row in rows if row.get(key) is None)]
