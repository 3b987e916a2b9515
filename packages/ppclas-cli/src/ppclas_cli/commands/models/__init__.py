"""``ppclas models``: the catalogue, and the files and costs of its models."""

from __future__ import annotations

import click

from ppclas_cli.commands.models.costs import fuse_command, profile_command
from ppclas_cli.commands.models.files import convert_command, download_command
from ppclas_cli.commands.models.listing import info_command, list_command
from ppclas_cli.commands.models.suggesting import suggest_command
from ppclas_cli.lazy import Group


@click.group(cls=Group)
def models() -> None:
    """List models; fetch and convert weights; count what a model costs."""


for _command in (
    list_command,
    info_command,
    suggest_command,
    download_command,
    convert_command,
    profile_command,
    fuse_command,
):
    models.add_command(_command)
