"""``ppclas plugins``: what is installed, what it adds, and what failed to load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from ppclas_core.plugins import get_plugin_manager

from ppclas_cli import output

if TYPE_CHECKING:
    from ppclas_core.plugins import PluginInfo, PluginManager, Registries


@click.command(name="plugins")
@click.option(
    "-v", "--verbose", is_flag=True, help="Every name, and the traceback of a plugin that failed."
)
@output.JSON_OPTION
def command(verbose: bool, as_json: bool) -> None:
    """List what is installed and what it adds.

    \b
    Example:
      ppclas plugins --verbose
    """
    print_plugins(get_plugin_manager(), verbose=verbose, as_json=as_json)


def print_plugins(manager: PluginManager, *, verbose: bool = False, as_json: bool = False) -> None:
    """Print what the plugins of ``manager`` are and add."""
    if as_json:
        output.print_json([_row(info, manager.registries) for info in manager.plugins])
        return
    for info in manager.plugins:
        _print(info, manager.registries, verbose)


def _row(info: PluginInfo, registries: Registries) -> dict[str, Any]:
    return {
        "name": info.name,
        "package": info.distribution,
        "version": info.version,
        "module": info.module,
        "ok": info.ok,
        "reason": info.reason,
        "traceback": info.error,
        "registers": registered_by(info, registries) if info.ok else {},
    }


def _print(info: PluginInfo, registries: Registries, verbose: bool) -> None:
    output.say(
        f"{info.distribution} {info.version}".rstrip() + f"  (plugin {info.name!r}, {info.module})"
    )
    if not info.ok:
        output.say(f"  failed: {info.reason}")
        if verbose:
            click.echo(
                "".join(f"    {line}\n" for line in info.error.rstrip().splitlines()), nl=False
            )
        return
    for kind, names in registered_by(info, registries).items():
        shown = ", ".join(
            names if verbose or len(names) <= 8 else [*names[:6], f"… {len(names)} in all"]
        )
        output.say(f"  {kind.replace('_', ' ')}: {shown}")


def registered_by(info: PluginInfo, registries: Registries) -> dict[str, list[str]]:
    """Kind → names that the plugin's package registered."""
    found = {
        kind: [name for name in registry if registry.entry(name).owner == info.distribution]
        for kind, registry in registries.all().items()
    }
    return {kind: names for kind, names in found.items() if names}
