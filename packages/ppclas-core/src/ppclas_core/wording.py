"""Words that messages have in common, and what somebody may have meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What would break a line, turn its direction, or tell a terminal to do something."""


def first_few(names: Iterable[str], limit: int = 5, separator: str = ", ") -> str:
    """The first of ``names``, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return separator.join(listed[:limit]) + more


def escaped(text: str) -> str:
    """``text`` in one line that a terminal shows as it is: control characters are spelt out."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def escaped_lines(text: str) -> str:
    """The same for each line of ``text``."""
    return "\n".join(map(escaped, text.split("\n")))


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


def near_names(word: str, known: Iterable[str], count: int = 1) -> list[str]:
    """Up to ``count`` of the ``known`` names that look like ``word`` in any case, best first."""
    import difflib  # takes a tenth of a start, and is needed after a mistake only

    spellings = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower(), spellings, n=count, cutoff=0.6)
    return [spellings[match] for match in matches]
