"""Recipes: config files with a name. Each says in its header how it is used and what it reaches."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

_FOLDER = Path(__file__).parent


def __getattr__(name: str) -> Callable[[], Path]:
    """The builder of the recipe ``name``: what gives the path of its YAML."""
    file = _FOLDER / f"{name}.yaml"
    if not file.is_file():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return functools.partial(Path, file)
