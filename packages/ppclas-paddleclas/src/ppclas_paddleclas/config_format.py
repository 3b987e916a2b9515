"""PaddleClas configs, read as they are: the 2020 schema (``ARCHITECTURE:``) and the 2.x one
(``Global:``, ``Arch:``).

The same hyper-parameters come out in this project's own schema, with a list of what was translated,
what needs no setting here, and an error for what cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppclas_core.contracts.config_format import ConfigFormat, TranslatedConfig

from ppclas_paddleclas.schema_2x import KEYS as KEYS_2X
from ppclas_paddleclas.schema_2x import translate_2x
from ppclas_paddleclas.schema_2020 import KEYS as KEYS_2020
from ppclas_paddleclas.schema_2020 import translate_2020
from ppclas_paddleclas.translation import Translation
from ppclas_paddleclas.values import with_literals

__all__ = ["PaddleClasFormat"]


class PaddleClasFormat(ConfigFormat):
    """Both schemas of PaddleClas."""

    description = "a PaddleClas config (ARCHITECTURE: or Global: and Arch:)"
    keys = frozenset((*KEYS_2020, *KEYS_2X))
    implied = "as PaddleClas trains"

    def recognises(self, values: Mapping[str, Any]) -> bool:
        return "ARCHITECTURE" in values or "Arch" in values or "Global" in values

    def translate(self, values: dict[str, Any]) -> TranslatedConfig:
        values = with_literals(values)
        translation = Translation(values)
        if "ARCHITECTURE" in values:
            translate_2020(translation)
        else:
            translate_2x(translation)
        translation.finish()
        return TranslatedConfig(
            translation.new,
            translation.origins,
            tuple(translation.lines),
            tuple(translation.problems),
        )
