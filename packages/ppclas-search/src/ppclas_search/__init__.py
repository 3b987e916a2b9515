"""Why a model answers as it does, and what its features are good for, as a plugin of ppclas.

Importing this package imports neither Paddle nor NumPy; what is taken from it does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppclas_search.features import Features, extract_features
    from ppclas_search.heat.explaining import explain

__all__ = ["Features", "explain", "extract_features"]

_HOMES = {
    "Features": "ppclas_search.features",
    "explain": "ppclas_search.heat.explaining",
    "extract_features": "ppclas_search.features",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
