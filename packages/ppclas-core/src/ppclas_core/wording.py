"""Words that messages have in common, and what somebody may have meant."""

from __future__ import annotations

import re
from collections.abc import Iterable

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


def near_names(word: str, known: Iterable[str], count: int = 1) -> list[str]:
    """Up to ``count`` of the ``known`` names that look like ``word`` in any case, best first."""
    import difflib  # takes a tenth of a start, and is needed after a mistake only

    spellings = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower(), spellings, n=count, cutoff=0.6)
    return [spellings[match] for match in matches]
