"""A command group that knows its commands' names and one-line help without importing them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import click
from ppclas_core.errors import MissingDependencyError
from ppclas_core.wording import near_names

from ppclas_cli.completion import completing, teach


@dataclass(frozen=True)
class LazyCommand:
    """Where a command is found, and the line that ``--help`` shows for it."""

    target: str
    """``module:attribute``."""
    extra: str
    """Of ``ppclas-cli``, which brings the command's package; empty: it is always there."""
    summary: str
    """The line in ``--help``."""
    section: str
    """Of ``--help``."""


class Group(click.Group):
    """Commands of which an unknown one is told with the one that was meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; an unknown command suggests others, by meaning and by spelling."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            ctx.fail(_unknown(name, ctx, self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """A static table of commands; those that plugins register are looked up when asked for, and for
    ``--help``.
    """

    def __init__(self, *args: Any, table: Mapping[str, LazyCommand], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Our own commands in the table's order, then the plugins'."""
        return [*self._table, *(name for name in plugin_commands() if name not in self._table)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command ``cmd_name``; None where there is none."""
        found = self._find(cmd_name)
        return teach(found) if found is not None and completing() else found

    def _find(self, cmd_name: str) -> click.Command | None:
        from ppclas_core.registry import resolve

        if cmd_name in self._table:
            row = self._table[cmd_name]
            if row.extra and find_spec(row.target.partition(".")[0]) is None:
                return _NotInstalled(cmd_name, row.extra)
            command: click.Command = resolve(row.target)
            return command
        return plugin_command(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One section of the help for each section of the table; importing nothing."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in self._table.items():
            sections.setdefault(command.section, []).append((name, command.summary))
        for name, command in plugin_commands().items():
            if name not in self._table:
                sections.setdefault(command.section, []).append((name, command.summary))
        width = max(len(name) for rows in sections.values() for name, _ in rows)
        for title, rows in sections.items():
            with formatter.section(title):
                # The same width everywhere: the sections line up.
                formatter.write_dl([(name.ljust(width), summary) for name, summary in rows])


class _NotInstalled(click.Command):
    """A command whose package is not there: it only says so."""

    def __init__(self, name: str, extra: str) -> None:
        super().__init__(name)
        self._extra = extra

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse whatever is asked.

        Raises:
            MissingDependencyError: always.
        """
        raise MissingDependencyError(
            f"ppclas {self.name} needs a package that is not installed here. "
            f'Run: pip install "ppclas-cli[{self._extra}]"'
        )


def _unknown(name: str, ctx: click.Context, known: Iterable[str]) -> str:
    from ppclas_cli.meanings import meant_command  # deferred: for a mistake alone

    near = meant_command(name, ctx.command_path) or near_names(name, known, 2)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    if name in OPTIONAL:
        hint = f" It comes with the extra [{OPTIONAL[name]}]; run: {install(OPTIONAL[name])}"
    return f"There is no command {name!r}.{hint}"


OPTIONAL = dict.fromkeys(("explain", "features", "neighbours"), "search")
"""Command that is not part of every installation → the extra of ppclas-cli that brings it."""


def install(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'ppclas-cli[{extra}]'"


def need_extra(option: str, module: str, extra: str) -> None:
    """Raise MissingDependencyError, with the command that helps, where ``module`` is not there."""
    if importlib.util.find_spec(module) is None:
        raise MissingDependencyError(f"{option} needs the extra [{extra}]: {install(extra)}")


def plugin_command(name: str) -> click.Command | None:
    """The command that a plugin registered as ``name``; None where there is none."""
    from ppclas_core.plugins import get_registries
    from ppclas_core.registry import resolve

    registry = get_registries().commands
    if name not in registry:
        return None
    found: click.Command = resolve(registry.entry(name).builder)
    return found


def plugin_commands() -> dict[str, LazyCommand]:
    """The plugins' commands; ``section`` of their metadata says where ``--help`` lists them."""
    from ppclas_core.plugins import get_registries

    registry = get_registries().commands
    found = {}
    for name in registry:
        entry = registry.entry(name)
        section = str(entry.metadata.get("section", "From plugins"))
        found[name] = LazyCommand(str(entry.builder), "", entry.summary, section)
    return found
