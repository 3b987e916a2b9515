"""``ppclas plugins``: what is installed, what it adds, what failed to load; a new one."""

from __future__ import annotations

import importlib.resources
import importlib.util
import re
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from ppclas_core.plugins import get_plugin_manager

from ppclas_cli import output

if TYPE_CHECKING:
    from ppclas_core.plugins import PluginInfo, PluginManager, Registries


_FILES = {
    "pyproject.toml": "",
    "README.md": "",
    "__init__.py": "src/{package}",
    "plugin.py": "src/{package}",
    "model.py": "src/{package}",
    "transform.py": "src/{package}",
    "loss.py": "src/{package}",
    "command.py": "src/{package}",
    "py.typed": "src/{package}",
    "test_plugin.py": "tests",
}
"""What a new package holds, each of a template in ``scaffold``, and in which folder."""


@click.group(name="plugins", invoke_without_command=True)
@click.option(
    "-v", "--verbose", is_flag=True, help="Every name, and the traceback of a plugin that failed."
)
@output.JSON_OPTION
@click.pass_context
def command(ctx: click.Context, verbose: bool, as_json: bool) -> None:
    """List what is installed and what it adds.

    \b
    Examples:
      ppclas plugins --verbose
      ppclas plugins new my-plugin
    """
    if ctx.invoked_subcommand is None:
        print_plugins(get_plugin_manager(), verbose=verbose, as_json=as_json)


@command.command("new")
@click.argument("name")
def new_command(name: str) -> None:
    """Write a plugin package into the new folder NAME, ready to install and to test.

    It has a model, a transform, a loss and a command, and the tests that ppclas has for each.

    \b
    Example:
      ppclas plugins new my-plugin
    """
    from ppclas_core.errors import PluginError

    if not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", name):
        raise click.UsageError(
            f"NAME {name!r}: expected lower-case letters, digits and dashes, as in my-plugin."
        )
    package = name.replace("-", "_")
    registries = get_plugin_manager().registries
    if name in registries.commands or importlib.util.find_spec(package) is not None:
        raise PluginError(
            f"{name} is a command of ppclas or a package here already. Choose another name."
        )
    folder = Path(name)
    if folder.exists():
        raise PluginError(f"{name} exists already: expected the name of a new folder.")
    words = {
        "project": name,
        "package": package,
        "camel": "".join(word.capitalize() for word in package.split("_")),
    }
    templates = importlib.resources.files("ppclas_cli") / "scaffold"
    for file, where in _FILES.items():
        text = (templates / f"{file}.in").read_text(encoding="utf-8")
        target = folder / where.format(package=package) / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(string.Template(text).substitute(words), encoding="utf-8")
    output.note(f"{len(_FILES)} files in {name}/. Install the package, and try it:")
    output.note(f"  pip install -e {name}")
    output.note(f"  pytest {name}/tests")


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
        "ok": not info.reason,
        "reason": info.reason,
        "traceback": info.error,
        "registers": registered_by(info, registries) if not info.reason else {},
    }


def _print(info: PluginInfo, registries: Registries, verbose: bool) -> None:
    output.say(
        f"{info.distribution} {info.version}".rstrip() + f"  (plugin {info.name!r}, {info.module})"
    )
    if info.reason:
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
