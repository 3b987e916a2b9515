"""Old keys to new ones, keeping track: what became of each, and which were not understood."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ppclas_core.config.explain import Problem, describe, dotted
from ppclas_core.config.yaml_source import KeyPath
from ppclas_core.errors import ConfigError
from ppclas_core.wording import near_names

from ppclas_paddleclas.values import read_flag, read_number

_MISSING = "this key is needed, and it is not there."


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
        # Also what is not there: a misspelt key is told what was looked for beside it.
        self._asked: set[KeyPath] = set()

    def get(self, *path: str | int, default: Any = None) -> Any:
        """The old value at ``path``, now dealt with; ``default`` where there is none, or null."""
        value: Any = self.old
        self._asked.add(path)
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
                self.refuse(path[:depth], f"expected a map with {part}, got {describe(value)}.")
                return default
        self._seen.add(path)
        return default if value is None else value

    def has(self, *path: str | int) -> bool:
        """Whether the old tree has something, null too, at ``path``."""
        value: Any = self.old
        self._asked.add(path)
        for part in path:
            if not isinstance(value, dict) or part not in value:
                return False
            value = value[part]
        return True

    def is_null(self, *path: str) -> bool:
        """Whether the key at ``path`` is there and has no value."""
        if not self.has(*path):
            return False
        value: Any = self.old
        for part in path:
            value = value[part]
        return value is None

    def section(self, *path: str, required: bool) -> bool:
        """Whether there is a map at ``path``; what else is there is refused, as is nothing."""
        if not self.has(*path):
            if required:
                self._miss(path)
            return False
        value: Any = self.old
        for part in path:
            value = value[part]
        if isinstance(value, dict):
            if not value:
                self._seen.add(path)
            return True
        self.refuse(path, f"expected a map, got {describe(value)}.")
        return False

    def section_keys(self, *path: str) -> tuple[str, ...]:
        """The keys of the map at ``path``; none where there is no map."""
        value: Any = self.old
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        return tuple(value) if isinstance(value, dict) else ()

    def items(self, *path: str | int) -> list[Any]:
        """The old list at ``path``; none where there is none, null, or what is no list."""
        value = self.get(*path, default=[])
        if isinstance(value, list):
            return value
        self.refuse(path, f"expected a list, got {describe(value)}.")
        return []

    def flag(self, *path: str | int, default: bool = False) -> bool:
        """Whether the old key at ``path`` is on; null is off, as everywhere in PaddleClas."""
        value = self.get(*path)
        if value is None:
            return default and not self.has(*path)
        try:
            return read_flag(value)
        except ConfigError as error:
            self.refuse(path, str(error))
            return default

    def number(self, *path: str | int, default: float | None = None) -> float | None:
        """The old number at ``path``; a text such as ``1./255.`` is a number over a number."""
        value = self.get(*path)
        if value is None and not self.has(*path):
            return default
        try:
            return read_number(value)
        except ConfigError as error:
            self.refuse(path, str(error))
            return default

    def require(self, *path: str) -> bool:
        """Whether the old key at ``path`` has a value; that it has none is a mistake."""
        if not self.has(*path):
            self._miss(path)
            return False
        if self.get(*path) is not None:
            return True
        self.refuse(path, "expected a value, got nothing (null).")
        return False

    def set(self, key: str, value: Any, *source: str | int, quiet: bool = False) -> None:
        """Give the new dotted ``key`` a value; ``source`` is the old path that says so."""
        node, parts = self.new, key.split(".")
        for part in parts[:-1]:
            node = node.setdefault(part, {})
        node[parts[-1]] = value
        self.origins[tuple(parts)] = source
        if not quiet:
            self.lines.append(f"{dotted(source)} → {key}: {_short(value)}")

    def move(self, key: str, *source: str) -> None:
        """Give ``key`` the old value at ``source`` where there is one; null is refused."""
        if self.has(*source) and self.require(*source):
            self.set(key, self.get(*source), *source)

    def move_number(self, key: str, *source: str) -> None:
        """The same of a number, which may be written as a number over a number."""
        if self.has(*source) and (value := self.number(*source)) is not None:
            self.set(key, value, *source)

    def drop(self, reason: str, *source: str | int) -> None:
        """Say why an old key needs no setting here; nothing where it is not given."""
        if self.has(*source):
            value = self.get(*source)
            self.lines.append(f"{dotted(source)}: {_short(value)} needs no setting: {reason}")

    def refuse(self, path: KeyPath, message: str, *, covers: KeyPath | None = None) -> None:
        """Record that what stands at the old ``path`` cannot be translated.

        ``covers`` is the part of the tree of which nothing else is said then; ``path``, if it is
        not given. A second mistake at the same place follows from the first and is left out.
        """
        self._seen.add(path if covers is None else covers)
        if all(problem.path != path for problem in self.problems):
            self.problems.append(Problem(path, message))

    def refused(self, *path: str | int) -> bool:
        """Whether something at or below ``path`` was refused."""
        return any(problem.path[: len(path)] == path for problem in self.problems)

    def finish(self) -> None:
        """Refuse every old key that nothing has asked for, with the near name that has been."""
        for path in self._unknown(self.old, ()):
            beside = {
                str(asked[len(path) - 1])
                for asked in self._asked
                if len(asked) >= len(path) and asked[: len(path) - 1] == path[:-1]
            }
            elsewhere = sorted({dotted(asked) for asked in self._asked if asked[-1:] == path[-1:]})
            if len(elsewhere) == 1:  # a key at the wrong place, rather than a misspelt one
                message = f"this key is not known here. Did you mean {elsewhere[0]}?"
                self.problems.append(Problem(path, message, about_key=True))
                continue
            near = near_names(str(path[-1]), beside)
            hint = f" Did you mean {near[0]}?" if near else ""
            if near:  # then it is no second mistake that the key is not there
                meant = (*path[:-1], near[0])
                self.problems = [
                    each for each in self.problems if not (each.about_key and each.path == meant)
                ]
            message = f"this key is not known to the translation.{hint}"
            self.problems.append(Problem(path, message, about_key=True))

    def _miss(self, path: KeyPath) -> None:
        """Refuse that there is no key at ``path``, unless what it would be in was refused."""
        if not any(problem.path == path[: len(problem.path)] for problem in self.problems):
            self.problems.append(Problem(path, _MISSING, about_key=True))

    def _unknown(self, value: Any, path: KeyPath) -> Iterator[KeyPath]:
        """The shortest paths in maps that nothing has asked for, nor for anything in them."""
        if path in self._seen or (path in self._asked and not isinstance(value, dict)):
            return
        if path and all(other[: len(path)] != path for other in self._asked | self._seen):
            yield path
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from self._unknown(item, (*path, key))


def one_entry(item: Any) -> tuple[str, dict[str, Any]]:
    """The name and parameters of ``{Name: {…}}``: an operator, loss, metric or model of a list.

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


def _short(value: Any) -> str:
    text = ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
    if isinstance(value, list | tuple):
        text = f"[{text}]"
    return text if len(text) <= 70 else f"{text[:67]}…"
