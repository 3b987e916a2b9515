"""How results are printed: data on stdout, everything else on stderr."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from ppclas_core.wording import escaped, escaped_lines
from ppclas_data.csv_cells import csv_cells

_NUMBER = re.compile(r"-|-?[0-9.]+")
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
    """``rows`` in aligned columns, numbers to the right; what is missing is a dash."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(header, *cells, strict=True)]
    right = [all(_NUMBER.fullmatch(row[i]) for row in cells) for i in range(len(header))]
    for line in (list(header), ["-" * width for width in widths], *cells):
        padded = [
            _pad(text, width, to_right)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def print_facts(facts: Mapping[str, Any]) -> None:
    """A name and a value a line; a map inside gets its own indented lines."""
    _facts(facts, "")


def note(text: str) -> None:
    """A line for the person, on stderr, or several; what names have in them does not reach the
    terminal.
    """
    click.echo(escaped_lines(text), err=True)


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
            click.echo(f"{indent}{_pad(escaped(str(name)), width, False)}  {_cell(value)}")


def _cell(value: Any) -> str:
    if value is None or value in ("", {}, [], ()):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return escaped(", ".join(str(item) for item in value))
    return escaped(str(value))


def _width(text: str) -> int:
    """Columns on a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _pad(text: str, width: int, to_right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if to_right else text + space
