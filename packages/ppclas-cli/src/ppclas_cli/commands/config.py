"""``ppclas config``: what a run's settings are, where each came from, and whether a file is
right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import click
from ppclas_core.errors import ConfigError

from ppclas_cli import output
from ppclas_cli.lazy import Group


@click.group(cls=Group)
def config() -> None:
    """Show, check and describe settings.

    Settings come from a YAML file or recipe, from KEY=VALUE overrides and from flags; later ones
    win.
    """


@config.command("show")
@click.argument("source", metavar="[FILE|RECIPE]", required=False)
@click.option(
    "-o", "--override", "overrides", metavar="KEY=VALUE", multiple=True, help="Change one value."
)
@click.option("--plain", is_flag=True, help="Only the YAML, without the origin of each value.")
@output.JSON_OPTION
def show_command(
    source: str | None, overrides: tuple[str, ...], plain: bool, as_json: bool
) -> None:
    """Print all settings, each with where it came from. Without FILE: the defaults.

    \b
    Examples:
      ppclas config show finetune -o schedule.lr=0.01
      ppclas config show --plain > my.yaml
    """
    from ppclas_core.config.load import dump_config, load_config

    loaded = load_config(source, overrides)
    for text in loaded.notes:
        output.note(f"note: {text}")
    if as_json:
        output.print_json(
            {"config": loaded.config.model_dump(mode="json"), "origins": loaded.origins}
        )
    else:
        text = dump_config(loaded.config)
        click.echo(text if plain else _annotate(text, loaded.origins), nl=False)


@config.command("validate")
@click.argument("files", metavar="FILE|RECIPE…", nargs=-1, required=True)
def validate_command(files: tuple[str, ...]) -> None:
    """Check files: every mistake with its line and column. Nothing is run.

    \b
    Example:
      ppclas config validate my.yaml
    """
    results = [_is_valid(file) for file in files]
    if not all(results):
        click.get_current_context().exit(1)


@config.command("migrate")
@click.argument("file", metavar="OLD.yaml")
@click.option(
    "-o", "--override", "overrides", metavar="KEY=VALUE", multiple=True, help="Change one value."
)
def migrate_command(file: str, overrides: tuple[str, ...]) -> None:
    """Write a PaddleClas config (2020 or 2.x) in the schema of this project.

    The new YAML goes to the standard output; what became of each old key is said on the other one.
    Training takes the old file as it is, too: ppclas train -c OLD.yaml.

    \b
    Example:
      ppclas config migrate ResNet50_vd.yaml > my.yaml
    """
    from ppclas_core.config.load import migrate

    text, lines = migrate(file, overrides)
    for line in lines:
        output.note(line)
    click.echo(text, nl=False)


@config.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of a config file, for editors.

    \b
    Example:
      ppclas config schema > ppclas.schema.json

    \b
    Then, in the first line of a YAML file:
      # yaml-language-server: $schema=ppclas.schema.json
    """
    from ppclas_core.plugins import get_registries

    from ppclas_cli.config_schema import config_schema

    click.echo(json.dumps(config_schema(get_registries()), ensure_ascii=False, indent=2))


def _annotate(text: str, origins: Mapping[str, str]) -> str:
    """The YAML of ``dump_config`` with ``# origin`` behind each value that has one in
    ``origins``.
    """
    from ppclas_core.config.check import leaves
    from ppclas_core.config.explain import dotted
    from ppclas_core.config.yaml_source import parse_yaml

    lines = text.splitlines()
    document = parse_yaml(text, "config")
    comments = {
        document.values[path].line - 1: origins[dotted(path)]
        for path in leaves(document.value)
        if dotted(path) in origins
    }
    width = min(60, max((len(lines[line]) for line in comments), default=0))
    return "".join(
        f"{line:<{width}}  # {comments[number]}\n" if number in comments else f"{line}\n"
        for number, line in enumerate(lines)
    )


def _is_valid(file: str) -> bool:
    from ppclas_core.config.load import load_config

    try:
        loaded = load_config(file)
    except ConfigError as error:
        output.note(f"error: {error}")
        return False
    for text in loaded.notes:
        output.note(f"note: {file}: {text}")
    click.echo(f"{file}: ok")
    return True
