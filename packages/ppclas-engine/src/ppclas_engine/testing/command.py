"""The command of ``FakePlugin``. Importing this module needs click, which ppclas-cli brings."""

from __future__ import annotations

import click


@click.command()
def fake_command() -> None:
    """Say that the fake plugin is there."""
    click.echo("The fake plugin is there.")
