"""``ppclas recipes``: ready-made configs."""

from __future__ import annotations

from pathlib import Path

import click
from ppclas_core.plugins import get_registries

from ppclas_cli import output


@click.group()
def recipes() -> None:
    """List ready-made training settings.

    A recipe is a YAML file with a name: 'ppclas train -c NAME' uses it, 'ppclas recipes show NAME >
    my.yaml' makes it yours to change.
    """


@recipes.command("list")
@output.JSON_OPTION
def list_command(as_json: bool) -> None:
    """List the recipes that are installed."""
    registry = get_registries().recipes
    entries = [registry.entry(name) for name in registry]
    if as_json:
        output.print_json(
            [{"name": e.name, "summary": e.summary, "package": e.owner} for e in entries]
        )
    else:
        output.print_table(
            [[e.name, e.summary, e.owner] for e in entries], ["name", "what it is", "package"]
        )


@recipes.command("show")
@click.argument("name")
def show_command(name: str) -> None:
    """Print the YAML of the recipe NAME.

    \b
    Example:
      ppclas recipes show finetune > my.yaml
    """
    path = Path(get_registries().recipes.build(name))
    click.echo(path.read_text(encoding="utf-8"), nl=False)
