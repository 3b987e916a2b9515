"""Cells of CSV files that a spreadsheet shows as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ppclas_core.wording import escaped


def csv_cells(values: Iterable[Any]) -> list[Any]:
    """A row for a CSV writer: no text is a formula to a spreadsheet, none has more than a line.

    Text that begins as a formula does gets an apostrophe in front, which a spreadsheet takes for
    "this is text"; control characters are spelt out. Numbers stay as they are.

    >>> csv_cells(["cat.jpg", "=1+1", -0.5, "-1", "two\\nlines"])
    ['cat.jpg', "'=1+1", -0.5, '-1', 'two\\\\nlines']
    """
    return [_csv_cell(value) if isinstance(value, str) else value for value in values]


def _csv_cell(text: str) -> str:
    shown = escaped(text)
    formula = _FORMULA.match(shown) and not _PLAIN_NUMBER.fullmatch(shown)
    return f"'{shown}" if formula else shown


def csv_value(cell: str) -> str:
    """The text that ``csv_cells`` made this cell of; control characters stay spelt out."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


_FORMULA = re.compile("'*[=+\\-@\uff1d\uff0b\uff0d\uff20]")
_PLAIN_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?(e[+-]?[0-9]+)?", re.IGNORECASE)
