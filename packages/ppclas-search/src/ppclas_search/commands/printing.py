"""How this package's commands print: data on stdout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
from ppclas_core.wording import escaped

JSON_OPTION = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for programs instead of text."
)


def print_json(value: Any) -> None:
    """``value`` as indented JSON; bytes of names that are not UTF-8 become ``\\udcXX``."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    click.echo(text.encode(errors="backslashreplace").decode())


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """``rows`` in aligned columns that never break a cell; numbers to the right."""
    from rich.cells import cell_len

    cells = [[_cell(value) for value in row] for row in rows]
    columns = list(zip(header, *cells, strict=True))
    widths = [max(cell_len(cell) for cell in column) for column in columns]
    right = [all(cell[:1].isdigit() or cell in ("", "-") for cell in c[1:]) for c in columns]
    for line in (list(header), ["-" * width for width in widths], *cells):
        padded = []
        for text, width, to_right in zip(line, widths, right, strict=True):
            space = " " * (width - cell_len(text))
            padded.append(space + text if to_right else text + space)
        click.echo("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return escaped(f"{value:.6g}" if isinstance(value, float) else str(value))
