"""``ppclas recipes``: ready-made configs."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import click
from ppclas_core.plugins import get_registries

from ppclas_cli import output
from ppclas_cli.lazy import Group


@click.group(cls=Group)
def recipes() -> None:
    """List ready-made training settings.

    A recipe is a YAML file with a name: 'ppclas train -c NAME' uses it, 'ppclas recipes show NAME >
    my.yaml' makes it yours to change.
    """


@recipes.command("list")
@click.argument("pattern", default="*")
@output.JSON_OPTION
def list_command(pattern: str, as_json: bool) -> None:
    """List the recipes whose name matches the glob PATTERN, with the top-1 that was reached.

    \b
    Example:
      ppclas recipes list 'flowers102-*'
    """
    registry = get_registries().recipes
    entries = [registry.entry(name) for name in fnmatch.filter(registry, pattern)]
    if as_json:
        output.print_json(
            [
                {"name": e.name, "summary": e.summary, "package": e.owner, **e.metadata}
                for e in entries
            ]
        )
        return
    rows = [
        [e.name, _percent(e.metadata.get("published")), e.metadata.get("measured"), e.summary]
        for e in entries
    ]
    output.print_table(rows, ["name", "published", "measured here", "what it is"])


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


@recipes.command("run")
@click.argument("name")
@click.argument("data", required=False)
@click.option(
    "-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Set any value."
)
@click.option("--output", metavar="DIR", help="Where the run is kept.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
def run_command(
    name: str, data: str | None, overrides: tuple[str, ...], output: str | None, dry_run: bool
) -> None:
    """Train with the recipe NAME, on your photos DATA or on those that it names.

    It is 'ppclas train DATA -c NAME', which has more options.

    \b
    Example:
      ppclas recipes run flowers102-finetune flowers102/ -o train.epochs=5
    """
    from ppclas_cli.commands.train import command  # deferred: listing does not train

    get_registries().recipes.entry(name)  # else a misspelt name would be taken for a file's
    # Beside other photos the recipe's own lists have no meaning.
    given = [data, "-o", "data.val=null", "-o", "data.root=null"] if data else []
    given += [word for override in overrides for word in ("-o", override)]
    given += ["--output", output] if output else []
    given += ["--dry-run"] if dry_run else []
    root = click.get_current_context().find_root()
    with command.make_context("train", [*given, "-c", name], parent=root) as context:
        command.invoke(context)


def _percent(share: Any) -> str | None:
    return None if share is None else f"{100 * share:.2f} %"
