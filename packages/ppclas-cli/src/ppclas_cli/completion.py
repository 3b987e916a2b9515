"""What the shell offers when TAB is pressed: models, recipes, targets, settings, files.

click's own completion does the talking with the shell; it knows commands and options, and asks each
parameter for its values. Ours say in their metavar what they take, and that decides here, so that
commands of plugins are completed too.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem

VARIABLE = "_PPCLAS_COMPLETE"
"""Environment variable: set by the shell's function when it asks."""
SHELLS = {
    "bash": ".local/share/bash-completion/completions/ppclas",
    "zsh": ".zfunc/_ppclas",
    "fish": ".config/fish/completions/ppclas.fish",
}
"""Shell → where it looks for completions, in the home folder."""
_FILES = ("FILE", "PATH", "DIR", "DATA", "PHOTO", "RUN", "MODEL", "BUNDLE", "LIST")


def completing() -> bool:
    """Whether the shell asks, and no command is to be run."""
    return VARIABLE in os.environ


def teach(command: click.Command) -> click.Command:
    """Give every parameter of ``command`` and its subcommands that has none its values."""
    if isinstance(command, click.Group):
        for below in command.commands.values():
            teach(below)
    for parameter in command.params:
        plain = not isinstance(parameter.type, click.Choice | click.Path | click.File)
        if plain and not getattr(parameter, "is_flag", False):
            setattr(parameter, "shell_complete", functools.partial(_offer, parameter))  # noqa: B010
    return command


def _offer(parameter: click.Parameter, ctx: click.Context, begun: str) -> list[CompletionItem]:
    """What ``parameter`` may be, of that which starts as ``begun`` does, in any case."""
    words = f"{' '.join(parameter.opts)} {parameter.make_metavar(ctx)}".upper()
    if "NAME" in words and ctx.parent is not None:  # of what its group is about
        words += f" {ctx.parent.info_name}".upper()
    names = [
        name
        for source, offered in _SOURCES
        if source in words
        for name in offered(begun)
        if name.lower().startswith(begun.lower())
    ]
    items = [CompletionItem(name) for name in dict.fromkeys(names)]
    if any(word in words for word in _FILES):
        items.append(CompletionItem(begun, type="file"))
    return items


def _models(begun: str) -> Iterable[str]:
    from ppclas_core.models import list_models

    return list_models()


def _targets(begun: str) -> Iterable[str]:
    from ppclas_core.plugins import get_registries

    return iter(get_registries().exporters)


def _recipes(begun: str) -> Iterable[str]:
    from ppclas_core.plugins import get_registries

    return iter(get_registries().recipes)


def _settings(begun: str) -> Iterator[str]:
    from ppclas_core.config.schema import Config
    from pydantic import BaseModel

    def below(model: type[BaseModel], prefix: str) -> Iterator[str]:
        for name, field in model.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from below(kind, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}="

    return below(Config, "")


_SOURCES: tuple[tuple[str, Callable[[str], Iterable[str]]], ...] = (
    ("MODEL", _models),
    ("RECIPE", _recipes),
    ("TARGET", _targets),
    ("KEY=VALUE", _settings),
)
"""A word in a parameter's names or metavar → what it may be."""


@click.command(name="completion")
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.option("--install", is_flag=True, help="Write it where the shell looks for it.")
def command(shell: str, install: bool) -> None:
    """Complete commands, options, models, recipes and settings with TAB.

    \b
    Examples:
      ppclas completion bash --install
      ppclas completion zsh --install
      ppclas completion fish > ~/.config/fish/completions/ppclas.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    program = click.get_current_context().find_root().command
    script = kind(program, {}, "ppclas", VARIABLE).source()
    if not install:
        click.echo(script)
        return
    from ppclas_core.files import write_text

    path = Path.home() / SHELLS[shell]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, script)
    click.echo(f"The completion is in {path}. It works in every {shell} that starts from now on.")
    if shell == "bash":
        click.echo("(It needs the package bash-completion, which most systems have.)")
    if shell == "zsh":
        click.echo("If ~/.zshrc lacks it, add: fpath+=~/.zfunc; autoload -Uz compinit; compinit")
