"""What a value of an old config stands for: PaddleClas reads its files once more after YAML.

Every text that is the value of a key, though not those inside lists, is tried as a Python literal;
and YAML 1.1, which PaddleClas reads, has more words for true and false than the 1.2 of this
project.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from typing import Any

from ppclas_core.config.explain import describe
from ppclas_core.errors import ConfigError

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_PLAIN = (str, int, float, type(None))


def with_literals(values: dict[str, Any]) -> dict[str, Any]:
    """The tree, its texts that are Python literals (``"False"``, ``"[3, 8]"``) read as such."""
    return {
        key: with_literals(value)
        if isinstance(value, dict)
        else _literal(value)
        if isinstance(value, str)
        else value
        for key, value in values.items()
    }


def read_flag(value: Any) -> bool:
    """What an option that is on or off says.

    Raises:
        ConfigError: it is something else.
    """
    if isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    # 0 and 1 are what the published commands write; other numbers would count as true.
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise ConfigError(f"expected true or false, got {describe(value)}.")


def read_number(value: Any) -> float:
    """A finite number, or the text of one, or of a number over a number.

    Raises:
        ConfigError: it is something else.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    else:
        number = _quotient(value) if isinstance(value, str) else math.nan
    if isinstance(number, int) or math.isfinite(number):
        return number
    raise ConfigError(f"expected a number, or a number over a number, got {describe(value)}.")


def read_numbers(value: Any, count: int | None = None) -> list[float]:
    """A list of numbers, of ``count`` of them if that is given.

    Raises:
        ConfigError: it is something else.
    """
    if isinstance(value, list) and count in (None, len(value)):
        return [float(read_number(item)) for item in value]
    number = "" if count is None else f"{count} "
    raise ConfigError(f"expected a list of {number}numbers, got {describe(value)}.")


def is_whole(value: Any) -> bool:
    """Whether it is an int, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _quotient(text: str) -> float:
    """NaN where ``text`` is no number over a number."""
    parts = [part.strip() for part in text.split("/")]
    if len(parts) > 2 or not all(_NUMBER.fullmatch(part) for part in parts):
        return math.nan
    numbers = [float(part) for part in parts]
    if len(numbers) == 1:
        return numbers[0]
    return numbers[0] / numbers[1] if numbers[1] else math.nan


def _literal(text: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in paths, which are none
            found = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    plain = _as_plain(found)
    return text if plain is None and found is not None else plain


def _as_plain(value: Any) -> Any:
    """Lists, maps and plain values; None for what no config holds, such as a complex number."""
    if isinstance(value, list | tuple):
        items = [_as_plain(item) for item in value]
        odd = any(item is None and old is not None for item, old in zip(items, value, strict=True))
        return None if odd else items
    if isinstance(value, dict):
        found = {key: _as_plain(item) for key, item in value.items()}
        odd = any(
            not isinstance(key, str) or (item is None and value[key] is not None)
            for key, item in found.items()
        )
        return None if odd else found
    return value if isinstance(value, _PLAIN) else None
