"""Words that messages have in common."""

from __future__ import annotations

from collections.abc import Iterable


def first_few(names: Iterable[str], limit: int = 5, separator: str = ", ") -> str:
    """The first of ``names``, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return separator.join(listed[:limit]) + more
