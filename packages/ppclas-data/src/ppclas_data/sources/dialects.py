"""What a line of a list shows of another kind of file: the mark that is in the way, and what to
write instead.
"""

from __future__ import annotations

import re

_QUOTES = "\"'`“”„«‘’"
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_PATH = r"\.[A-Za-z0-9]{1,5}"
"""How the path of a photo ends."""
_BETWEEN = re.compile(rf"{_PATH}[{_QUOTES}]?\s*([^\w\s.+-]+|[-=]>|\xa0|\u3000)\s*[+-]?\d+\W*$")
_LABEL_FIRST = re.compile(rf"[+-]?\d+[\s,;:|]+\S.*{_PATH}")
_MORE = re.compile(rf"{_PATH}\s+\d+\s*([^\s\d].*|\s\d.*)$")
_NUMBER = re.compile(rf"{_PATH}\s+(\+\d+|\d+\.0*|0x[\da-fA-F]+)$")
_NAMES = {"\xa0": "no-break space", "\u3000": "ideographic space"}


def in_the_way(line: str) -> str | None:
    """What to write otherwise in a line of a list, where it shows; None where it does not.

    >>> in_the_way("a.jpg;0")
    "write a blank or a tab between path and label instead of ';', or call the file .csv and its \
columns by a first line 'path,label'"
    """
    line = line.strip()
    if found := _INVISIBLE.search(line):
        return f"take out the invisible character U+{ord(found[0]):04X}"
    if line[:1] in _QUOTES and line:
        return f"write the paths without the quotes ({line[0]}); they may have blanks"
    if line[:1] in "([{" and line:
        return "write only the path and the label, with a blank or a tab between them"
    if line.startswith("file://"):
        return "write the path alone, without file://"
    if _LABEL_FIRST.fullmatch(line):
        return "write the path first, then a blank or a tab, then the label"
    if found := _BETWEEN.search(line):
        mark = found[1]
        return (
            f"write a blank or a tab between path and label instead of "
            f"{_NAMES.get(mark, repr(mark))}, or call the file .csv and its columns by a first "
            "line 'path,label'"
        )
    if found := _NUMBER.search(line):
        return f"write the label as a plain number, not {found[1]}"
    if found := _MORE.search(line):
        return (
            f"take out what follows the label ({found[1].strip()}), or make it a CSV with a header"
        )
    return None
