"""``-o a.b.c=value`` replaces one value of a config tree. Values are parsed, never evaluated."""

from __future__ import annotations

import re
from typing import Any

from ppclas_core.config.yaml_source import KeyPath, parse_yaml, read_scalar
from ppclas_core.errors import ConfigError

_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_FRACTION = re.compile(rf"({_NUMBER})\s*/\s*({_NUMBER})")


def parse_value(text: str) -> Any:
    """What the text right of ``=`` stands for.

    A number, ``number/number``, true or false in any case, ``null`` or ``None``, a quoted text, a
    list ``[…]`` or map ``{…}`` as YAML or JSON write them; all else stands for itself.

    Raises:
        ConfigError: an unfinished quote, list or map, or a division by zero.
    """
    text = text.strip()
    if text[:1] in ("[", "{", '"', "'"):
        return parse_yaml(text, "").value
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text == "None":
        return None
    fraction = _FRACTION.fullmatch(text)
    if fraction:
        numerator, denominator = map(float, fraction.groups())
        if denominator == 0:
            raise ConfigError("division by zero")
        return numerator / denominator
    return read_scalar(text) if text else ""


def apply_override(tree: dict[str, Any], assignment: str, defaults: Any = None) -> KeyPath:
    """Carry out ``a.b.c=value`` on ``tree`` and return the path that was set.

    Parts of the path are keys of maps and indices of lists, negative ones from the end. A map that
    is missing on the way is created; a list is copied from ``defaults``, a tree of this shape.

    Raises:
        ConfigError: no ``=``, an index out of range, a part inside a plain value.
    """
    key, equals, text = assignment.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(
            f"-o {assignment}: expected KEY=VALUE with a dotted key, for example -o "
            "data.batch_size=32."
        )
    try:
        value = parse_value(text)
        return _assign(tree, parts, value, defaults)
    except ConfigError as error:
        raise ConfigError(f"-o {assignment}: {error}") from error


def _assign(node: Any, parts: list[str], value: Any, defaults: Any) -> KeyPath:
    path: list[str | int] = []
    for depth, part in enumerate(parts):
        here: str | int
        default: Any
        if isinstance(node, list):
            here, default = _index(node, part, ".".join(parts[:depth])), {}
        elif isinstance(node, dict):
            here, default = part, defaults.get(part, {}) if isinstance(defaults, dict) else {}
        else:
            where = ".".join(parts[:depth])
            raise ConfigError(f"{where} is {node!r}, which has nothing inside called {part!r}.")
        path.append(here)
        if depth == len(parts) - 1:
            node[here] = value
        elif isinstance(node, dict) and node.get(part) is None:
            node[part] = _start(default, ".".join(parts[: depth + 1]))
        node, defaults = node[here], default
    return tuple(path)


def _start(default: Any, where: str) -> Any:
    """The empty map or the copied list that an unset value on the way of an override becomes."""
    if isinstance(default, dict):
        return {}
    if isinstance(default, list | tuple):
        return [_copy(item) for item in default]
    raise ConfigError(
        f"{where} is not set, so there is nothing inside it to set; give all of it: -o {where}=…"
    )


def _index(items: list[Any], part: str, where: str) -> int:
    try:
        index = int(part)
    except ValueError:
        raise ConfigError(
            f"{where} is a list, so {part!r} must be an index; it has {_count(items)}."
        ) from None
    if not -len(items) <= index < len(items):
        raise ConfigError(f"index {index} is out of range: {where} has {_count(items)}.")
    return index % len(items)


def _count(items: list[Any]) -> str:
    many = f"{len(items)} items, 0 to {len(items) - 1}"
    return {0: "no items", 1: "1 item, index 0"}.get(len(items), many)


def _copy(value: Any) -> Any:
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value
