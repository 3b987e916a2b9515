"""How results are printed: data on stdout, everything else on stderr."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, TextIO

import click
from ppclas_core.wording import escaped, escaped_lines
from ppclas_data.csv_cells import csv_cells

_NUMBER = re.compile(r"-|[-+]?[0-9.]+%?")
FEW = 5
"""Classes of which five answers are all there are: their top-5 says nothing."""
_COUNT = re.compile(r"(?<!\S)(\d+) (?=\S)")
_BOUND = "\0"
"""A space that no line is broken at."""
_NARROWEST = 24
"""Characters that a column of words keeps, and up to which one of several answers stays whole."""
_NO_TEXT = re.compile("[\ud800-\udfff]")
"""Bytes of a file name that is not UTF-8."""

JSON_OPTION = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for programs instead of text."
)


def print_json(value: Any) -> None:
    """``value`` as indented JSON; Chinese stays readable, and bytes that are not UTF-8 become
    ``\\udcXX``.
    """
    click.echo(json_text(value, indent=2, default=str))


def json_text(value: Any, **options: Any) -> str:
    """``value`` as JSON in UTF-8 that every reader takes, whatever the names of files in it."""
    text = json.dumps(value, ensure_ascii=False, **options)
    return _NO_TEXT.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def print_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """``rows`` as CSV with a header; what a row lacks is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(dict(zip(row, csv_cells(row.values()), strict=True)) for row in rows)
    click.echo(text.getvalue(), nl=False)


def print_table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> None:
    """``rows`` in aligned columns, numbers to the right; what is missing is a dash.

    On a terminal that is too narrow the widest column of words is broken between them; where that
    is not enough, each row becomes a few lines of titles and values.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(header, *cells, strict=True)]
    room = _columns(sys.stdout)
    texts = [i for i in range(len(header)) if any(" " in row[i] for row in cells)]
    broken = max(texts, key=widths.__getitem__, default=None)
    left = room - sum(widths) - 2 * (len(widths) - 1)
    if left < 0 and broken is not None and widths[broken] + left >= _NARROWEST:
        room = widths[broken] + left
        lines = [line for row in (header, *cells) for line in _lines(row[broken], room)]
        widths[broken] = max(map(_width, lines))
    elif left < 0:
        _stack(cells, header, room)
        return
    right = [all(_NUMBER.fullmatch(row[i]) for row in cells) for i in range(len(header))]
    for row in (list(header), ["-" * width for width in widths], *cells):
        parts = [
            _lines(text, width) if place == broken else [text]
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        for line in zip_longest(*parts, fillvalue=""):
            padded = map(_pad, line, widths, right)
            _echo("  ".join(padded).rstrip())


def _stack(cells: Sequence[Sequence[str]], header: Sequence[str], room: int) -> None:
    """A row as its first cell, and under it the others with their titles, as many as fit a line."""
    for row in cells:
        _echo(row[0])
        parts = []
        for title, text in zip(header[1:], row[1:], strict=True):
            part = f"{title}: ".replace(" ", _BOUND) + text
            fits = _width(part) <= room - 3 and ", " not in text
            parts += [part.replace(" ", _BOUND) if fits else part] if text.strip(" -") else []
        for line in _lines(", ".join(parts), room - 2):
            _echo(f"  {line}")


def _echo(line: str) -> None:
    click.echo(line.replace(_BOUND, " "))


def wrapped(text: str, stream: TextIO) -> str:
    """``text`` broken between words where ``stream`` is a terminal; commands are left whole, to be
    copied.
    """
    room = _columns(stream)
    lines = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        whole = _width(line) <= room or line.lstrip().startswith("ppclas ")
        inner = [line.lstrip()] if whole else _lines(line.lstrip(), room - len(indent) - 2)
        lines += [f"{indent}{'  ' * (place > 0)}{part}" for place, part in enumerate(inner)]
    return "\n".join(lines)


def _columns(stream: TextIO) -> int:
    """Characters in a line of a terminal; elsewhere, as many as one likes."""
    return shutil.get_terminal_size().columns if stream.isatty() else 1 << 30


def _lines(text: str, width: int) -> list[str]:
    """``text`` broken between words, not behind a number; a word wider than a line stays whole."""
    if _width(text) <= width:
        return [text]
    lines = [""]
    for word in _COUNT.sub(rf"\1{_BOUND}", text).split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _width(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [line.replace(_BOUND, " ") for line in lines]


def print_facts(facts: Mapping[str, Any]) -> None:
    """A name and a value a line; a map inside gets its own indented lines."""
    _facts(facts, "")


def say(text: str = "") -> None:
    """A line on stdout, broken between words on a terminal."""
    click.echo(wrapped(text, sys.stdout))


def note(text: str) -> None:
    """A line for the person, on stderr, or several; what names have in them does not reach the
    terminal.
    """
    warning = text.startswith("warning:") and sys.stderr.isatty()
    said = wrapped(escaped_lines(text), sys.stderr)
    click.echo(click.style(said, fg="yellow") if warning else said, err=True)


def notes(texts: Iterable[str]) -> None:
    """A line for each text, whatever names are in it."""
    for text in texts:
        note(escaped(text))


def error(text: str) -> None:
    """The line that says why a command ends."""
    note(f"error: {text}")


def _facts(facts: Mapping[str, Any], indent: str) -> None:
    width = max((_width(str(name)) for name in facts), default=0)
    for name, value in facts.items():
        if isinstance(value, Mapping) and value:
            click.echo(f"{indent}{escaped(str(name))}")
            _facts(value, indent + "  ")
        else:
            head = f"{indent}{_pad(escaped(str(name)), width, False)}  "
            for line in _lines(_cell(value), _columns(sys.stdout) - len(head)):
                _echo(f"{head}{line}".rstrip())
                head = " " * len(head)


def _cell(value: Any) -> str:
    if value is None or value in ("", {}, [], ()):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        items = [escaped(str(item)) for item in value]
        return ", ".join(
            item if len(item) > _NARROWEST else item.replace(" ", _BOUND) for item in items
        )
    return escaped(str(value))


def _width(text: str) -> int:
    """Columns on a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _pad(text: str, width: int, to_right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if to_right else text + space
