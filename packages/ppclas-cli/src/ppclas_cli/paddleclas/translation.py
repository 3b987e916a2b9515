"""Old keys to new ones, keeping track: what became of each, and which were not understood."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ppclas_core.config.explain import Problem, dotted
from ppclas_core.config.yaml_source import KeyPath
from ppclas_core.errors import ConfigError

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


class Translation:
    """An old tree on its way to a new one."""

    def __init__(self, old: dict[str, Any]) -> None:
        self.old = old
        self.new: dict[str, Any] = {}
        """Plain values in the new schema."""
        self.origins: dict[KeyPath, KeyPath] = {}
        """New path → the old one that it came from."""
        self.lines: list[str] = []
        """What was translated, a line each."""
        self.problems: list[Problem] = []
        """What could not be, at its place in the old tree."""
        self._seen: set[KeyPath] = set()

    def get(self, *path: str | int, default: Any = None) -> Any:
        """The old value at ``path``, now dealt with; ``default`` where there is none, or null."""
        value: Any = self.old
        for depth, part in enumerate(path):
            if isinstance(value, dict):
                value = value.get(str(part))
            elif (
                isinstance(value, list)
                and isinstance(part, int)
                and -len(value) <= part < len(value)
            ):
                value = value[part]
            elif value is None:
                break
            else:
                self.refuse(path[:depth], f"expected a map with {part}, got {value!r}.")
                return default
        self._seen.add(path)
        return default if value is None else value

    def has(self, *path: str | int) -> bool:
        """Whether the old tree has something at ``path``."""
        value: Any = self.old
        for part in path:
            if not isinstance(value, dict) or part not in value:
                return False
            value = value[part]
        return True

    def set(self, key: str, value: Any, *source: str | int, quiet: bool = False) -> None:
        """Give the new dotted ``key`` a value; ``source`` is the old path that says so."""
        node, parts = self.new, key.split(".")
        for part in parts[:-1]:
            node = node.setdefault(part, {})
        node[parts[-1]] = value
        self.origins[tuple(parts)] = source
        if not quiet:
            self.lines.append(f"{dotted(source)} → {key}: {_short(value)}")

    def move(self, key: str, *source: str | int, default: Any = None) -> None:
        """Give ``key`` the old value at ``source`` where there is one."""
        value = self.get(*source, default=default)
        if value is not None:
            self.set(key, value, *source)

    def drop(self, reason: str, *source: str | int) -> None:
        """Say why an old key needs no setting here; nothing where it is not given."""
        if self.has(*source):
            value = self.get(*source)
            self._seen_below(source)
            self.lines.append(f"{dotted(source)}: {_short(value)} needs no setting: {reason}")

    def refuse(self, path: KeyPath, message: str) -> None:
        """Record that what stands at the old ``path`` cannot be translated."""
        self._seen_below(path)
        self.problems.append(Problem(path, message))

    def number(self, *path: str | int, default: float | None = None) -> float | None:
        """The old number at ``path``; a text such as ``1./255.`` is a number over a number."""
        value = self.get(*path, default=default)
        try:
            return None if value is None else read_number(value)
        except ConfigError as error:
            self.refuse(path, str(error))
            return default

    def finish(self) -> None:
        """Refuse every old key that nothing has asked for."""
        for path in _leaves(self.old):
            if not any(
                path[:length] in self._seen for length in range(1, len(path) + 1)
            ) and not any(seen[: len(path)] == path for seen in self._seen):
                self.problems.append(
                    Problem(path, "this key is not known to the translation.", about_key=True)
                )

    def _seen_below(self, path: KeyPath) -> None:
        self._seen.add(path)


def read_number(value: Any) -> float:
    """A number, or the text of one, or of a number over a number.

    Raises:
        ConfigError: it is something else.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    parts = [part.strip() for part in value.split("/")] if isinstance(value, str) else []
    if len(parts) in (1, 2) and all(_NUMBER.fullmatch(part) for part in parts):
        numbers = [float(part) for part in parts]
        if len(numbers) == 1:
            return numbers[0]
        if numbers[1]:
            return numbers[0] / numbers[1]
    raise ConfigError(f"expected a number, or a number over a number, got {value!r}.")


def one_entry(item: Any) -> tuple[str, dict[str, Any]]:
    """The name and parameters of ``{Name: {…}}``, as old lists of operators, losses and metrics
    have them.

    Raises:
        ConfigError: it is no map of one name.
    """
    if isinstance(item, str):
        return item, {}
    if isinstance(item, dict) and len(item) == 1:
        name, params = next(iter(item.items()))
        if params is None:
            return name, {}
        if isinstance(params, dict):
            return name, params
    raise ConfigError(f"expected one name with its parameters, got {_short(item)}.")


def _leaves(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The paths of everything in maps that is no map itself; empty maps count."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    else:
        yield path


def _short(value: Any) -> str:
    text = ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
    if isinstance(value, list | tuple):
        text = f"[{text}]"
    return text if len(text) <= 70 else f"{text[:67]}…"
