"""PaddleClas configs, read as they are: the 2020 schema (``ARCHITECTURE:``) and the 2.x one
(``Global:``, ``Arch:``).

The same hyper-parameters come out in this project's own schema, with a list of what was translated,
what needs no setting here, and an error for what cannot be.
"""

from __future__ import annotations

from typing import Any

from ppclas_core.config.paddleclas.schema_2x import KEYS as KEYS_2X
from ppclas_core.config.paddleclas.schema_2x import translate_2x
from ppclas_core.config.paddleclas.schema_2020 import KEYS as KEYS_2020
from ppclas_core.config.paddleclas.schema_2020 import translate_2020
from ppclas_core.config.paddleclas.translation import Translation

__all__ = ["OLD_KEYS", "Translation", "is_paddleclas", "translate"]

OLD_KEYS = frozenset((*KEYS_2020, *KEYS_2X))
"""Top-level keys of both schemas."""


def is_paddleclas(values: Any) -> bool:
    """Whether a config tree is written in one of the old schemas."""
    return isinstance(values, dict) and (
        "ARCHITECTURE" in values or "Arch" in values or "Global" in values
    )


def translate(values: dict[str, Any]) -> Translation:
    """The translation of an old tree; ``problems`` says what could not be translated, and where."""
    translation = Translation(values)
    if "ARCHITECTURE" in values:
        translate_2020(translation)
    else:
        translate_2x(translation)
    translation.finish()
    return translation
