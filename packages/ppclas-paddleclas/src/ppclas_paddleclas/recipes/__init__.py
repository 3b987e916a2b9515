"""The published training settings of PaddleClas as recipes: a YAML file each, with what it gave.

``docs/generate_recipes.py`` writes the files and ``index.json``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["facts_of"]

_FOLDER = Path(__file__).parent


@functools.cache
def facts_of() -> Mapping[str, Mapping[str, Any]]:
    """Recipe → its facts: summary, source, hardware, time, published (top-1, 0..1), measured."""
    found: dict[str, dict[str, Any]] = json.loads(
        (_FOLDER / "index.json").read_text(encoding="utf-8")
    )
    return found


def __getattr__(name: str) -> Callable[[], Path]:
    """The builder of the recipe ``name``: what gives the path of its YAML."""
    if name not in facts_of():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return functools.partial(_FOLDER.joinpath, f"{name}.yaml")
