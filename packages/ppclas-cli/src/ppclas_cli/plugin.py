"""Registers our commands like any plugin's, so that another plugin that takes one of their names is
refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

ppclas_load_order = 0


@hookimpl
def register_commands(registry: Registry) -> None:
    """Add every command of the table."""
    # Deferred: plugins are loaded where click is not needed, too.
    from ppclas_cli.table import COMMANDS

    for name, command in COMMANDS.items():
        if command.extra:  # its own package registers it
            continue
        registry.register(name, command.target, summary=command.summary)
