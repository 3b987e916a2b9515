"""``ppclas.train``: the engine's, with the switches that ``ppclas train`` has besides."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial, wraps
from inspect import signature
from typing import TYPE_CHECKING, Any

import click
from ppclas_core.errors import ConfigError
from ppclas_core.wording import near_names
from ppclas_engine import api

from ppclas_cli.augmenting import augmented
from ppclas_cli.meanings import called_here

if TYPE_CHECKING:
    from ppclas_engine.loop.train import RunResult

_KNOWN = tuple(signature(api.train).parameters)


@wraps(api.train)
def train(
    *data: Any, augment: Any = None, overrides: Sequence[str] = (), **given: Any
) -> RunResult:
    """As ``ppclas_engine.train``, which knows no preset by its name and no further switch."""
    if isinstance(augment, str | os.PathLike):
        augment = partial(augmented, what=os.fspath(augment))
    switches = {name: given.pop(name) for name in [*given] if name not in _KNOWN}
    output = given.get("output")  # beside a name it is refused
    said = {**switches, "output": None if output is None else os.fspath(output)}
    more = _settings(said) if switches else []
    return api.train(*data, augment=augment, overrides=[*overrides, *more], **given)


def _settings(switches: Mapping[str, Any]) -> list[str]:
    """The ``KEY=VALUE`` of options of the command; ``label_smoothing`` is ``--label-smoothing``."""
    from ppclas_cli.commands.train import command
    from ppclas_cli.train_flags import flags_of

    params = command.params
    options = {_in_python(name): each for each in params for name in each.opts}
    values: dict[str, Any] = {str(each.name): () if each.multiple else None for each in params}
    settings = ["name", *map(_in_python, flags_of(values))]
    for name, value in switches.items():
        if name not in settings:
            raise ConfigError(_unknown(name, (*_KNOWN, *settings), name in options))
        several = value if isinstance(value, list | tuple) else [value]
        option = options[name]
        joined = ",".join(several) if several is value else value
        values[str(option.name)] = tuple(several) if option.multiple else joined
    try:
        found = flags_of(values)
    except click.UsageError as error:
        raise ConfigError(error.message) from error
    return [f"{key}={json.dumps(value)}" for key, value in found.values() if value is not None]


def _in_python(option: str) -> str:
    return option.lstrip("-").replace("-", "_")


def _unknown(name: str, known: Sequence[str], of_command: bool) -> str:
    if of_command:
        return f"{name!r} is of the command alone: see 'ppclas train --help'"
    meant = called_here(name)
    if meant.endswith("."):
        return f"train() has no argument {name!r}. {meant}"
    if meant and not meant.startswith("--"):
        return f"train() has no argument {name!r}: overrides=['{meant}=…'] sets it"
    near = [word for word in (_in_python(meant),) if word in known] or near_names(name, known, 2)
    hint = f" Did you mean {' or '.join(repr(word) for word in near)}?" if near else ""
    return f"train() has no argument {name!r}.{hint} For other settings: overrides=['KEY=VALUE']"
