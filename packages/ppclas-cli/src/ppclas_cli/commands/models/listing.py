"""``ppclas models list`` and ``info``: the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from ppclas_core.errors import UnknownNameError
from ppclas_core.plugins import get_registries
from ppclas_core.registry import resolve

from ppclas_cli import output
from ppclas_cli.commands.models import screen
from ppclas_cli.commands.models.catalogue import (
    Latencies,
    Limits,
    facts,
    flat,
    latencies,
    matching,
    model_of,
    sort_key,
    sorted_by,
)

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

_MANY = 40
"""Models, of one more than which the note says how to see fewer."""

LATENCY_OPTION = click.option(
    "--latency",
    "table",
    metavar="COLUMN|FILE.csv",
    help="Which latencies: a published column as t4_fp16_bs1, or its beginning, or what 'ppclas "
    "benchmark --csv' measured here. Without it: the column that most models have.",
)


@click.command("list")
@click.argument("pattern", default="*")
@click.option(
    "--sort",
    "key",
    metavar="KEY",
    help="A key of the facts, or its beginning: top1, params, flops, latency …",
)
@click.option(
    "--max-params", type=click.FloatRange(min=0), metavar="M", help="At most so many million."
)
@click.option(
    "--max-flops",
    type=click.FloatRange(min=0),
    metavar="G",
    help="At most so many 10⁹ operations; a multiply-add counts as two.",
)
@click.option(
    "--min-top1", type=click.FloatRange(0, 100), metavar="PERCENT", help="At least so accurate."
)
@click.option(
    "--max-latency",
    type=click.FloatRange(min=0),
    metavar="MS",
    help="At most so many milliseconds for one image, by --latency.",
)
@LATENCY_OPTION
@click.option(
    "--licence", metavar="TEXT", help="Weights under a licence that has TEXT in its name."
)
@click.option("--here", is_flag=True, help="Only models whose weights are on this machine.")
@click.option("--families", is_flag=True, help="One line for each family.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON array of objects with all facts."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with all plain facts.")
def list_command(
    pattern: str,
    key: str | None,
    max_params: float | None,
    max_flops: float | None,
    min_top1: float | None,
    max_latency: float | None,
    table: str | None,
    licence: str | None,
    here: bool,
    families: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """List the models whose name fits PATTERN: a part of it, or a glob. Upper and lower case are
    the same.

    Models stand under their family. Accuracies are those published for ImageNet-1k (JSON and CSV:
    in 0..1). A model passes a filter only if the fact is known of it. --sort puts the best
    accuracy, or the smallest or fastest model, first; models of which that is not known come last.

    \b
    Examples:
      ppclas models list --families
      ppclas models list mobilenet --max-params 5
      ppclas models list '*50_vd*' --sort top1
      ppclas models list --min-top1 80 --max-flops 5 --licence apache
      ppclas models list --max-latency 2 --latency t4_fp16 --sort top1
      ppclas models list --here
    """
    registry = get_registries().models
    speed = latencies(registry, table) if table or max_latency is not None else None
    print_models(
        registry,
        pattern,
        key,
        limits=Limits(
            max_params_m=max_params,
            max_flops_g=max_flops,
            max_latency_ms=max_latency,
            min_top1=None if min_top1 is None else min_top1 / 100,
            licence=licence,
            here=here,
        ),
        speed=speed,
        families=families,
        as_json=as_json,
        as_csv=as_csv,
    )


def print_models(
    registry: Registry,
    pattern: str = "*",
    key: str | None = None,
    *,
    limits: Limits | None = None,
    speed: Latencies | None = None,
    families: bool = False,
    as_json: bool = False,
    as_csv: bool = False,
) -> None:
    """Print the models of ``registry`` that fit ``pattern`` and keep ``limits``, sorted by the fact
    ``key``.

    Raises:
        UnknownNameError: none fits, and a table was asked for.
        click.BadParameter: no model has such a fact.
    """
    for_people = not (as_json or as_csv)
    named = matching(registry, pattern)
    if not named and for_people:
        raise UnknownNameError(_nothing_matches(registry, pattern))
    measured = None if speed is None else speed.milliseconds
    models = [model_of(registry.entry(name), measured) for name in named]
    models = [model for model in models if (limits or Limits()).passes(model)]
    if key is not None and models:
        chosen = sort_key(models, key)
        if chosen != key:
            output.note(f"sorted by {chosen}")
        key, models = chosen, sorted_by(models, chosen)
    if as_json:
        output.print_json([{**model.facts, "weights_here": model.here} for model in models])
        return
    if as_csv:
        rows = [flat({**model.facts, "weights_here": model.here}) for model in models]
        columns = dict.fromkeys(column for row in rows for column in row)
        output.print_csv(rows, list(columns) or ["name"])
        return
    if speed is not None:
        known = sum(name in speed.milliseconds for name in named)
        output.note(f"ms: {speed.title}, which {known} of {len(named)} models have")
    if models and families:
        screen.print_series(models)
    elif models:
        if key is None:
            models = [model for group in screen.by_series(models) for model in group]
        screen.print_models(models, latency=speed is not None, key=key)
    count = f"{len(models)} of {len(registry)} models"
    if families:
        count += f", {len(screen.by_series(models))} families"
    elif len(models) > _MANY:
        count += "; --families: a line for each family"
    output.note(count)


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
    row: dict[str, Any] = facts(entry)
    if "about" in entry.metadata:
        row |= resolve(entry.metadata["about"])(entry.name)
    if as_json:
        output.print_json(row)
    else:
        output.print_facts({key: _in_per_cent(key, value) for key, value in row.items()})


def _in_per_cent(key: str, value: Any) -> Any:
    return f"{value:.2%}" if "top" in key and isinstance(value, float) else value


def _nothing_matches(registry: Registry, pattern: str) -> str:
    try:
        registry.entry(pattern)
    except UnknownNameError as error:
        return f"No model fits {pattern!r}.{str(error).removeprefix(f'Unknown model {pattern!r}.')}"
    raise AssertionError("a pattern that is a name fits that name")
