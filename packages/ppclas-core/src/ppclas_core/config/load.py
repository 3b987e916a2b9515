"""One config from file or recipe, ``-o`` overrides and flags, each value with its origin.

Later ones win: schema defaults, then the file, then ``-o`` in order, then flags. Everything is
checked before any of it is used, and every mistake is reported with its place, a line each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ppclas_core.config.check import (
    check,
    default_component,
    leaves,
    paths,
    single_components,
    value_at,
)
from ppclas_core.config.explain import Problem, dotted
from ppclas_core.config.overrides import apply_override
from ppclas_core.config.schema import Config
from ppclas_core.config.yaml_source import Document, Dumper, KeyPath, read_yaml
from ppclas_core.contracts.config_format import ConfigFormat
from ppclas_core.errors import ConfigError, UnknownNameError
from ppclas_core.plugins import Registries, get_registries
from ppclas_core.registry import Registry
from ppclas_core.wording import near_names

__all__ = ["LoadedConfig", "dump_config", "load_config", "migrate"]

DEFAULT = "default"
"""The origin of what nobody said."""


@dataclass(frozen=True)
class LoadedConfig:
    """A checked config, and who said what."""

    config: Config
    origins: dict[str, str]
    """Dotted key of every value → ``default``, ``run.yaml:12``, ``-o data.batch_size=8`` or
    ``--lr``. A list of plain values is one value."""
    notes: tuple[str, ...] = field(default=())
    """What was translated from an old schema and what could not be checked, a sentence each."""


@dataclass(frozen=True)
class _Said:
    """Where something was said: in one word for ``config show``, and with columns for messages."""

    origin: str
    key: str
    value: str
    order: tuple[int, int] = (0, 0)


class _Tree:
    """The plain values of a config, and where each was said."""

    def __init__(self, document: Document | None) -> None:
        self.values: dict[str, Any] = {}
        self.said: dict[KeyPath, _Said] = {}
        self.notes: tuple[str, ...] = ()
        if document is not None and document.value is None:
            self.notes = (f"{document.name} is empty: everything is at its default",)
        elif document is not None:
            if not isinstance(document.value, dict):
                keys = ", ".join(Config.model_fields)
                at = document.values[()]
                where = f"{document.name}:{at.line}:{at.column}"
                raise ConfigError(f"{where}: expected a map with the keys {keys}.")
            self.values = document.value
            for path, value in document.values.items():
                key, line = document.keys.get(path, value), f"{document.name}:{value.line}"
                at_key = f"{document.name}:{key.line}:{key.column}"
                order = (value.line, value.column)
                self.said[path] = _Said(line, at_key, f"{line}:{value.column}", order)

    def override(self, assignment: str) -> None:
        defaults = Config().model_dump()
        before = set(paths(self.values))
        label = f"-o {assignment}"
        path = apply_override(self.values, assignment, defaults)
        self.forget_below(path)
        for depth in range(1, len(path)):
            if path[:depth] not in before:
                self.said[path[:depth]] = _Said(DEFAULT, label, label)
        self.said[path] = _Said(label, label, label, (1 << 30, 0))

    def translate(self, written_in: ConfigFormat) -> tuple[str, ...]:
        """Replace a tree of another schema by its translation; a line on each old key."""
        translation = written_in.translate(self.values)
        if translation.problems:
            raise ConfigError(_report(translation.problems, self))
        said: dict[KeyPath, _Said] = {}
        for path, source in translation.origins.items():
            found = (self.who(source) if source else None) or _Said(written_in.implied, "", "")
            behind = f" ({dotted(source)})" if source else ""
            said[path] = replace(found, origin=f"{found.origin}{behind}")
        self.values, self.said = translation.values, said
        return translation.lines

    def flag(self, option: str, key: str, value: Any) -> None:
        path: KeyPath = tuple(key.split("."))
        node = self.values
        for part in path[:-1]:
            if not isinstance(node.get(str(part)), dict):
                node[str(part)] = {}
            node = node[str(part)]
        node[str(path[-1])] = value
        self.forget_below(path)
        self.said[path] = _Said(option, option, option, (1 << 31, 0))

    def forget_below(self, path: KeyPath) -> None:
        self.said = {p: said for p, said in self.said.items() if p[: len(path)] != path}

    def who(self, path: KeyPath) -> _Said | None:
        """Who said what stands at ``path``: itself, or the nearest thing around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.said:
                return self.said[path[:length]]
        return None

    def name_components(self, places: Iterable[KeyPath]) -> None:
        """Name the default component where there is no name: ``schedule: {lr: 0.1}``."""
        for path in places:
            value = value_at(self.values, path)
            if isinstance(value, dict) and "name" not in value:
                named = {"name": default_component(path), **value}
                value_at(self.values, path[:-1])[path[-1]] = named
                self.said |= {(*path, "name"): _Said(DEFAULT, "", "")}


def load_config(
    source: str | Path | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, tuple[str, Any]] | None = None,
    *,
    registries: Registries | None = None,
) -> LoadedConfig:
    """The config that a YAML file or a recipe's name, ``KEY=VALUE`` overrides and flags give.

    ``flags`` maps options of a command to the dotted key that each sets and its value; those whose
    value is None were not given: ``{"--lr": ("schedule.lr", 0.1)}``.

    Raises:
        ConfigError: with every mistake, a line each: its place, what was expected, what came.
    """
    registries = registries or get_registries()
    tree, notes = _open_tree(source, overrides, registries)
    for option, (key, value) in (flags or {}).items():
        if value is not None:
            tree.flag(option, key, value)
    config, more = _check_tree(tree, registries)
    translated = [f"translated: {note}" for note in notes]
    return LoadedConfig(config, _origins(config, tree), (*translated, *tree.notes, *more))


def dump_config(config: Config) -> str:
    """YAML that loads back as an equal config: every value, defaults too."""
    return _dump(config.model_dump(), width=float("inf"))


def migrate(path: str | Path, overrides: Sequence[str] = ()) -> tuple[str, tuple[str, ...]]:
    """YAML for what a config of another schema says, and what became of its keys, a line each.

    ``overrides`` are ``KEY=VALUE`` in the old words or the new ones.

    Raises:
        ConfigError: it is in no such schema, or what is at a place cannot be translated.
    """
    registries = get_registries()
    tree, lines = _open_tree(path, overrides, registries)
    if not lines:
        known = " or ".join(written_in.description for written_in in _formats(registries))
        raise ConfigError(f"{path}: expected {known or 'another schema'}; got another one.")
    _check_tree(tree, registries)
    return _dump(tree.values, width=120), lines


def _dump(values: dict[str, Any], width: float) -> str:
    return yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=width)


def _open_tree(
    source: str | Path | None, overrides: Sequence[str], registries: Registries
) -> tuple[_Tree, tuple[str, ...]]:
    """The values of a file or recipe with ``overrides``; a line on each key of an old schema."""
    tree = _Tree(None if source is None else _read(source, registries.recipes))
    lines: tuple[str, ...] = ()
    formats = (each for each in _formats(registries) if each.recognises(tree.values))
    if (written_in := next(formats, None)) is not None:
        # Overrides in the old words change the old tree, those in the new ones its translation.
        old = [each for each in overrides if re.split("[.=]", each)[0] in written_in.keys]
        for assignment in old:
            tree.override(assignment)
        lines = tree.translate(written_in)
        overrides = [each for each in overrides if each not in old]
    for assignment in overrides:
        tree.override(assignment)
    return tree, lines


def _formats(registries: Registries) -> Iterator[ConfigFormat]:
    for name in registries.config_formats:
        yield registries.config_formats.build(name)


def _check_tree(tree: _Tree, registries: Registries) -> tuple[Config, Sequence[str]]:
    """The config, and what could not be checked here."""
    tree.name_components(single_components(registries))
    checked = check(tree.values, registries)
    if checked.config is None or checked.problems:
        raise ConfigError(_report(checked.problems, tree))
    return checked.config, checked.notes


def _read(source: str | Path, recipes: Registry) -> Document:
    """The document of a file, or of a recipe where a bare word names one."""
    path = Path(source)
    if isinstance(source, str) and len(path.parts) == 1 and path.suffix not in (".yaml", ".yml"):
        if source in recipes:
            return read_yaml(Path(recipes.build(source)), f"recipe {source}")
        if not path.exists():
            try:
                recipes.entry(source)
            except UnknownNameError as error:
                raise ConfigError(f"There is no file {source} here. {error}") from error
    if not path.exists():
        beside = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        near = near_names(path.name, beside) or near_names(path.stem, recipes)
        listed = f"Recipes: {', '.join([*recipes][:9]) or 'none'}{', …' * (len(recipes) > 9)}."
        hint = f"Did you mean {near[0]!r}?" if near else listed
        raise ConfigError(f"There is no file {path}. {hint}")
    return read_yaml(path)


def _report(problems: Sequence[Problem], tree: _Tree) -> str:
    found = []
    for problem in problems:
        path = problem.path
        inside = [said for at, said in tree.said.items() if at[: len(path)] == path and said.value]
        said = tree.who(path) or _Said(DEFAULT, "", "")
        said = said if said.value else next(iter(inside), said)
        where = said.key if problem.about_key else said.value
        found.append((said.order, ": ".join(filter(None, (where, dotted(path), problem.message)))))
    lines = [line for _, line in sorted(found, key=lambda item: item[0])]
    if len(lines) > 1:
        lines.insert(0, f"the config has {len(lines)} mistakes:")
    return "\n  ".join(lines)


def _origins(config: Config, tree: _Tree) -> dict[str, str]:
    origins = {}
    for path in leaves(config.model_dump(mode="json")):
        said = {one.origin for p in _paths_below(tree.values, path) if (one := tree.who(p))}
        origins[dotted(path)] = ", ".join(sorted(said)) or DEFAULT
    return origins


def _paths_below(values: Any, path: KeyPath) -> Iterator[KeyPath]:
    """``path`` and every path below it, where it was said at all."""
    try:
        for part in path:
            values = values[part]
    except (KeyError, IndexError, TypeError):
        return
    yield from list(paths(values, path)) or [path]
