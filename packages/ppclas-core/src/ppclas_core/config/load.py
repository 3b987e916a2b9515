"""One config from a file or recipe, ``-o`` overrides and command-line flags, each value with its
origin.

Later ones win: schema defaults, then the file, then ``-o`` in order, then flags. Everything is
checked before any of it is used, and every mistake is reported, each in one line with the place
where it was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ppclas_core.config.check import check, default_component, paths, single_components, value_at
from ppclas_core.config.dump import dump_config, leaves
from ppclas_core.config.explain import Problem, dotted
from ppclas_core.config.json_schema import config_schema
from ppclas_core.config.overrides import apply_override
from ppclas_core.config.schema import Config
from ppclas_core.config.yaml_source import Document, Dumper, KeyPath, read_yaml
from ppclas_core.contracts.config_format import ConfigFormat
from ppclas_core.errors import ConfigError, UnknownNameError
from ppclas_core.near import near_names
from ppclas_core.plugins import Registries, get_registries
from ppclas_core.registry import Registry

__all__ = ["FLAGS", "LoadedConfig", "config_schema", "dump_config", "load_config", "migrate"]

FLAGS: Mapping[str, str] = {
    "DATA": "data.train",
    "--train": "data.train",
    "--val": "data.val",
    "--model": "model.name",
    "--pretrained": "model.pretrained",
    "--epochs": "train.epochs",
    "--batch-size": "data.batch_size",
    "--lr": "schedule.lr",
    "--image-size": "data.image_size",
    "--resize-mode": "data.resize_mode",
    "--device": "train.device",
    "--devices": "train.devices",
    "--output": "train.output",
    "--seed": "train.seed",
    "--workers": "data.workers",
    "--reader": "data.reader.name",
    "--class-weights": "loss.class_weights",
    "--tracker": "trackers",
    "--amp": "train.precision",
    "--ema": "train.ema_decay",
    "--accumulate": "train.accumulate",
    "--compile": "train.compile",
}
"""What the everyday flags of ``ppclas train`` set."""

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
    """What was translated from an old schema, and what could not be checked here, a sentence
    each."""


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
                raise ConfigError(
                    f"{document.name}: expected a map with the keys "
                    f"{', '.join(Config.model_fields)}."
                )
            self.values = document.value
            for path, value in document.values.items():
                key = document.keys.get(path, value)
                self.said[path] = _Said(
                    f"{document.name}:{value.line}",
                    f"{document.name}:{key.line}:{key.column}",
                    f"{document.name}:{value.line}:{value.column}",
                    (value.line, value.column),
                )

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
        """Replace a tree of another schema by its translation; what became of each key, a line
        each.
        """
        translation = written_in.translate(self.values)
        if translation.problems:
            raise ConfigError(_report(translation.problems, self))
        said: dict[KeyPath, _Said] = {}
        for path, source in translation.origins.items():
            found = (self.who(source) if source else None) or _Said(written_in.implied, "", "")
            said[path] = replace(
                found, origin=f"{found.origin} ({dotted(source)})" if source else found.origin
            )
        self.values, self.said = translation.values, said
        return translation.lines

    def flag(self, option: str, value: Any) -> None:
        path: KeyPath = tuple(FLAGS[option].split("."))
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
        """Give a component without a name the default one: ``schedule: {lr: 0.1}`` keeps the
        default schedule.
        """
        for path in places:
            value = value_at(self.values, path)
            if isinstance(value, dict) and "name" not in value:
                value_at(self.values, path[:-1])[path[-1]] = {
                    "name": default_component(path),
                    **value,
                }
                name: KeyPath = (*path, "name")
                self.said[name] = _Said(DEFAULT, "", "")


def load_config(
    source: str | Path | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    *,
    registries: Registries | None = None,
) -> LoadedConfig:
    """The config that a YAML file or the name of a recipe, ``KEY=VALUE`` overrides and flags give
    together.

    ``flags`` maps options of ``FLAGS`` to values; those that are None were not given.

    Raises:
        ConfigError: with every mistake, each in one line: where it stands, what was expected, what
            came.
    """
    registries = registries or get_registries()
    tree, notes = _open_tree(source, overrides, registries)
    for option, value in (flags or {}).items():
        if value is not None:
            tree.flag(option, value)
    config, more = _check_tree(tree, registries)
    return LoadedConfig(
        config,
        _origins(config, tree),
        (*(f"translated: {note}" for note in notes), *tree.notes, *more),
    )


def migrate(path: str | Path, overrides: Sequence[str] = ()) -> tuple[str, tuple[str, ...]]:
    """The YAML that says what the config of another schema at ``path`` says, and what became of
    each old key, a line each.

    ``overrides`` are ``KEY=VALUE`` in the old words or the new ones.

    Raises:
        ConfigError: it is in no such schema, or something in it cannot be translated; with its
            place.
    """
    registries = get_registries()
    tree, lines = _open_tree(path, overrides, registries)
    if not lines:
        known = " or ".join(written_in.description for written_in in _formats(registries))
        raise ConfigError(
            f"{path}: expected {known or 'a config of another schema'}; got another one."
        )
    _check_tree(tree, registries)
    return yaml.dump(
        tree.values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120
    ), lines


def _open_tree(
    source: str | Path | None, overrides: Sequence[str], registries: Registries
) -> tuple[_Tree, tuple[str, ...]]:
    """The values of a file or recipe with ``overrides``; what became of the keys of an old schema,
    a line each.
    """
    tree = _Tree(None if source is None else _read(source, registries.recipes))
    lines: tuple[str, ...] = ()
    formats = (each for each in _formats(registries) if each.recognises(tree.values))
    if (written_in := next(formats, None)) is not None:
        # Overrides in the old words change the old tree, those in the new ones its translation.
        old = [
            assignment
            for assignment in overrides
            if assignment.partition(".")[0].partition("=")[0] in written_in.keys
        ]
        for assignment in old:
            tree.override(assignment)
        lines = tree.translate(written_in)
        overrides = [assignment for assignment in overrides if assignment not in old]
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
    is_word = (
        isinstance(source, str) and len(path.parts) == 1 and path.suffix not in (".yaml", ".yml")
    )
    if is_word and str(source) in recipes:
        return read_yaml(Path(recipes.build(str(source))), f"recipe {source}")
    if is_word and not path.exists():
        try:
            recipes.entry(str(source))
        except UnknownNameError as error:
            raise ConfigError(f"There is no file {source} here. {error}") from error
    if not path.exists():
        beside = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        near = near_names(path.name, beside) or near_names(path.stem, recipes)
        hint = (
            f" Did you mean {near[0]!r}?" if near else f" Recipes: {', '.join(recipes) or 'none'}."
        )
        raise ConfigError(f"There is no file {path}.{hint}")
    return read_yaml(path)


def _report(problems: Sequence[Problem], tree: _Tree) -> str:
    found = []
    for problem in problems:
        said = tree.who(problem.path) or _Said(DEFAULT, "", "")
        where = said.key if problem.about_key else said.value
        found.append(
            (
                said.order,
                ": ".join(part for part in (where, dotted(problem.path), problem.message) if part),
            )
        )
    lines = [line for _, line in sorted(found, key=lambda item: item[0])]
    return (
        lines[0]
        if len(lines) == 1
        else "\n  ".join([f"the config has {len(lines)} mistakes:", *lines])
    )


def _origins(config: Config, tree: _Tree) -> dict[str, str]:
    origins = {}
    for path in leaves(config.model_dump(mode="json")):
        inside = {tree.who(p) for p in _paths_below(tree.values, path)}
        origins[dotted(path)] = (
            ", ".join(sorted({said.origin for said in inside if said})) or DEFAULT
        )
    return origins


def _paths_below(values: Any, path: KeyPath) -> Iterator[KeyPath]:
    """``path`` and every path below it, where it was said at all."""
    try:
        for part in path:
            values = values[part]
    except (KeyError, IndexError, TypeError):
        return
    yield from list(paths(values, path)) or [path]
