"""YAML as plain values that remember where they stood.

The YAML 1.2 core rules are used instead of PyYAML's 1.1 ones: ``1e-4`` is a number, ``yes``, ``on``
and ``1:30`` are not booleans and sexagesimals. ``010``, ten to one and eight to the other, is
refused. Nothing but maps with text
keys, lists, text, numbers, true/false and null can come out; no tag constructs anything else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ppclas_core.errors import ConfigError
from ppclas_core.limits import CONFIG_BYTES, CONFIG_VALUES, read_bounded

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of a document."""

_TAG = "tag:yaml.org,2002:"
_PATTERNS = {
    "null": re.compile(r"(?:~|null|Null|NULL|)\Z"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    "int": re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    "float": re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
    "merge": re.compile(r"<<\Z"),
}
_FIRST_CHARACTERS = {
    "null": ["~", "n", "N", ""],
    "bool": list("tTfF"),
    "int": list("-+0123456789"),
    "float": list("-+.0123456789"),
    "merge": ["<"],
}
"""PyYAML asks only the patterns filed under a scalar's first character."""
_TWO_MEANINGS = re.compile(r"[-+]?0[0-9]+\Z")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the core rules; it only composes nodes, it constructs nothing."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own protocol


class Dumper(yaml.SafeDumper):
    """Writes what the loader reads back equal: what either rule set would misread is quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write shared values twice instead of with anchors."""
        return True

    def represent_sequence(
        self, tag: str, sequence: Any, flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        """Lists of plain values stand on one line, lists of maps do not."""
        flat = not any(isinstance(item, dict | list | tuple) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=flat)

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Unusual line breaks (NEL, LS, PS) survive in double quotes only."""
        style = '"' if any(c in text for c in "\x85\u2028\u2029") else None
        return self.represent_scalar(f"{_TAG}str", text, style=style)


for _kind, _pattern in _PATTERNS.items():
    _Loader.add_implicit_resolver(_TAG + _kind, _pattern, _FIRST_CHARACTERS[_kind])
    Dumper.add_implicit_resolver(_TAG + _kind, _pattern, _FIRST_CHARACTERS[_kind])
Dumper.add_representer(str, Dumper.represent_text)


@dataclass(frozen=True)
class Position:
    """A place in a file, both numbers from 1."""

    line: int
    column: int


@dataclass
class Document:
    """A YAML document: its value, and where each key and each value stands."""

    name: str
    value: Any
    keys: dict[KeyPath, Position] = field(default_factory=dict)
    values: dict[KeyPath, Position] = field(default_factory=dict)


def read_yaml(path: Path, name: str | None = None) -> Document:
    """The document in a UTF-8 file; messages call it ``name``, or by its path.

    Raises:
        ConfigError: no such file, a folder, not UTF-8, too large, or not one valid YAML document.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; expected a YAML file.")
    try:
        data = read_bounded(path, CONFIG_BYTES)
    except FileNotFoundError:
        raise ConfigError(f"There is no file {path}.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{path} is UTF-16 (what '>' writes in PowerShell); save it as UTF-8.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8."
        ) from error
    return parse_yaml(text, name or str(path))


def parse_yaml(text: str, name: str) -> Document:
    """The one document in ``text``; an empty one has the value None.

    Raises:
        ConfigError: with ``name``, line and column.
    """
    loader = None
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        document = Document(name, None)
        if node is not None:
            document.value = _Builder(document).build(node, ())
    except yaml.MarkedYAMLError as error:
        context = f" ({error.context})" if error.context else ""
        problem = f"not valid YAML: {error.problem}{context}"
        if error.problem == "but found another document":
            problem = "a second document starts here; a config is one document"
        raise ConfigError(_located(name, error.problem_mark, problem)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{name}:{line}: the character U+{error.character:04X} is not allowed in YAML."
        ) from error
    except RecursionError:
        line = loader.line + 1 if loader else 1
        said = "nested too deeply before here, or an alias that contains itself"
        raise ConfigError(f"{name}:{line}: {said}.") from None
    return document


def read_scalar(text: str) -> Any:
    """What the plain scalar ``text`` stands for: None, a boolean, a number, or the text itself.

    Raises:
        ConfigError: a whole number that begins with 0.
    """
    for kind, pattern in _PATTERNS.items():
        if pattern.match(text):
            return _convert(kind, text)
    return text


def _convert(kind: str, text: str) -> Any:
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        if _TWO_MEANINGS.match(text):
            raise ConfigError(
                f"{text} is an octal number to some programs and a decimal one to others; write it "
                "without the leading zero, or in quotes if it is a text"
            )
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        if len(text) > 250:  # what is longer can be beyond any float
            raise ConfigError(f"the number is too long ({len(text)} digits)")
        return int(text[2:] if base != 10 else text, base)
    if kind == "float":
        # Python spells YAML's .inf and .nan without the dot.
        return float(re.sub(r"\.(?=[in])", "", text.lower()))
    return text


class _Builder:
    """Turns nodes into values and notes where they stood."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.count = 0

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self.add(node)
        self.document.values[path] = _position(node)
        if isinstance(node, yaml.MappingNode):
            self.expect_tag(node, "map")
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self.expect_tag(node, "seq")
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        self.expect_tag(node, "str", "null", "bool", "int", "float")
        return self.scalar(node)

    def add(self, node: yaml.Node) -> None:
        self.count += 1
        if self.count > CONFIG_VALUES:
            raise self.error(node, f"more than {CONFIG_VALUES} values once aliases are expanded")

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, yaml.Node] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                several = isinstance(value_node, yaml.SequenceNode)
                for source in value_node.value if several else [value_node]:
                    if not isinstance(source, yaml.MappingNode):
                        raise self.error(source, "'<<' takes a map, or a list of maps")
                    self.add(source)
                    # As YAML 1.1 defines it, the first of several maps that has a key gives it.
                    merged = {**self.mapping(source, path), **merged}
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error(key_node, "a key must be text")
            key = key_node.value
            if key in own:
                first = own[key].start_mark.line + 1
                raise self.error(key_node, f"the key {key!r} is here twice, first in line {first}")
            own[key] = key_node
            here = (*path, key)
            self.document.keys[here] = _position(key_node)
            merged.pop(key, None)
            merged[key] = self.build(value_node, here)
        return merged

    def scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind == "str":
            return node.value
        # An explicit tag (!!int abc) reaches this point without having matched its pattern.
        if not _PATTERNS[kind].match(node.value):
            raise self.error(node, f"{node.value!r} does not fit its tag !!{kind}")
        try:
            return _convert(kind, node.value)
        except ConfigError as error:
            raise self.error(node, str(error)) from None

    def expect_tag(self, node: yaml.Node, *kinds: str) -> None:
        if node.tag not in {_TAG + kind for kind in kinds}:
            tag = node.tag.replace(_TAG, "!!")
            said = f"the tag {tag} is not accepted; a config holds plain values only"
            raise self.error(node, said)

    def error(self, node: yaml.Node, message: str) -> ConfigError:
        return ConfigError(_located(self.document.name, node.start_mark, message))


def _position(node: yaml.Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)


def _located(name: str, mark: yaml.Mark | None, message: str) -> str:
    """``name:line:column: message.``; in a text without a name nobody would count lines."""
    if not name:
        return f"{message}."
    return (
        f"{name}:{mark.line + 1}:{mark.column + 1}: {message}." if mark else f"{name}: {message}."
    )
