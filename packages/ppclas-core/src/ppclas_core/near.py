"""What somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable


def near_names(word: str, known: Iterable[str], count: int = 1) -> list[str]:
    """Up to ``count`` of the ``known`` names that look like ``word`` in any case, best first."""
    import difflib  # takes a tenth of a start, and is needed after a mistake only

    spellings = {name.lower(): name for name in known}
    return [
        spellings[match]
        for match in difflib.get_close_matches(word.lower(), spellings, n=count, cutoff=0.6)
    ]
