"""Protocol buffers as far as server configurations need them: text format, written and strictly
read, and wire format.

Messages are plain dicts, a list for a repeated field. A schema says what a message may hold; a name
or a value that does not fit is an error, as the server's own parser would have it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ppclas_core.errors import BundleError

Message = Mapping[str, Any]

_TOKEN = re.compile(
    r'\s+|#[^\n]*|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<word>[\w.+\-]+)|(?P<mark>[{}\[\]:,;])'
)


@dataclass(frozen=True)
class Field:
    """A field of a message: its number on the wire, and what it holds."""

    number: int
    kind: Literal["string", "int", "bool", "enum", "message"]
    repeated: bool = False
    values: tuple[str, ...] = ()
    """Of an enum."""
    fields: Mapping[str, Field] | None = None
    """Of a message."""


Schema = Mapping[str, Field]


def format_text(message: Message, schema: Schema) -> str:
    """``message`` in text format.

    Raises:
        BundleError: it does not fit ``schema``.
    """
    return "".join(f"{line}\n" for line in _format(message, schema))


def parse_text(text: str, schema: Schema, where: str) -> dict[str, Any]:
    """The message in ``text``; ``where`` names it in errors.

    Raises:
        BundleError: it is not text format, or does not fit ``schema``.
    """
    return _Parser(text, where).message(schema, nested=False)


def encode(message: Message, schema: Schema) -> bytes:
    """``message`` in wire format, fields in the order of their numbers, repeated numbers unpacked
    (proto2).

    Raises:
        BundleError: it does not fit ``schema``.
    """
    parts = []
    for name in sorted(message, key=lambda name: _field(schema, name, "message").number):
        field = schema[name]
        for value in _values(field, message[name]):
            if field.kind in ("string", "message"):
                content = (
                    value.encode() if field.kind == "string" else encode(value, field.fields or {})
                )
                parts.append(_varint(field.number << 3 | 2) + _varint(len(content)) + content)
            else:
                number = field.values.index(value) if field.kind == "enum" else int(value)
                parts.append(_varint(field.number << 3) + _varint(number % (1 << 64)))
    return b"".join(parts)


def _format(message: Message, schema: Schema) -> Iterator[str]:
    for name, held in message.items():
        field = _field(schema, name, "message")
        for value in _values(field, held):
            if field.kind == "message":
                yield f"{name} {{"
                yield from (f"  {line}" for line in _format(value, field.fields or {}))
                yield "}"
            else:
                yield f"{name}: {_scalar(field, name, value)}"


def _scalar(field: Field, name: str, value: Any) -> str:
    good: dict[str, Callable[[Any], bool]] = {
        "string": lambda value: isinstance(value, str) and value.isprintable(),
        "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
        "bool": lambda value: isinstance(value, bool),
        "enum": lambda value: value in field.values,
    }
    if not good[field.kind](value):
        raise BundleError(f"{name} should be of kind {field.kind}; got {value!r}.")
    if field.kind == "string":
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if field.kind == "bool" else str(value)


def _values(field: Field, held: Any) -> list[Any]:
    return list(held) if field.repeated else [held]


def _field(schema: Schema, name: str, where: str) -> Field:
    if name not in schema:
        raise BundleError(
            f"{where}: no field is called {name!r} there. Known: {', '.join(schema)}."
        )
    return schema[name]


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


class _Parser:
    """A recursive descent over tokens."""

    def __init__(self, text: str, where: str) -> None:
        self._where = where
        self._tokens = list(self._split(text))
        self._at = 0

    def message(self, schema: Schema, nested: bool = True) -> dict[str, Any]:
        """Fields until the closing brace, or the end of the text."""
        found: dict[str, Any] = {}
        while (token := self._next(allow_end=not nested)) not in ("", "}"):
            field = _field(schema, token, self._where)
            self._accept(":")
            if self._accept("["):
                values = [self._value(field, token)]
                while not self._accept("]"):
                    self._expect(",")
                    values.append(self._value(field, token))
            else:
                values = [self._value(field, token)]
            if field.repeated:
                found.setdefault(token, []).extend(values)
            elif token in found or len(values) != 1:
                raise BundleError(f"{self._where}: {token} is given more than once.")
            else:
                found[token] = values[0]
            self._accept(",")
            self._accept(";")
        if token == "}" and not nested:
            raise BundleError(f"{self._where}: a closing brace too many.")
        return found

    def _value(self, field: Field, name: str) -> Any:
        if field.kind == "message":
            self._expect("{")
            return self.message(field.fields or {})
        token = self._next()
        problem = BundleError(f"{self._where}: {name} should be of kind {field.kind}; got {token}.")
        if field.kind == "string":
            if not token.startswith('"'):
                raise problem
            return json.loads(token)
        if field.kind == "int":
            if not re.fullmatch(r"-?\d+", token):
                raise problem
            return int(token)
        known = ("true", "false") if field.kind == "bool" else field.values
        if token not in known:
            raise problem
        return token == "true" if field.kind == "bool" else token

    def _split(self, text: str) -> Iterator[str]:
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                line = text.count("\n", 0, at) + 1
                raise BundleError(
                    f"{self._where}, line {line}: {text[at : at + 20]!r} is not text format."
                )
            if found.lastgroup is not None:
                yield found[0]
            at = found.end()

    def _next(self, allow_end: bool = False) -> str:
        if self._at == len(self._tokens):
            if allow_end:
                return ""
            raise BundleError(f"{self._where} ends in the middle of a message.")
        self._at += 1
        return self._tokens[self._at - 1]

    def _accept(self, token: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == token:
            self._at += 1
            return True
        return False

    def _expect(self, token: str) -> None:
        came = self._next()
        if came != token:
            raise BundleError(f"{self._where}: expected {token!r}, got {came!r}.")
