"""The core of ppclas: configs, hooks, contracts, bundles. Its names are imported on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle
    from ppclas_core.config.schema import Config
    from ppclas_core.errors import PpclasError
    from ppclas_core.hookspecs import hookimpl
    from ppclas_core.models import create_model, list_models

__all__ = ["Bundle", "Config", "PpclasError", "create_model", "hookimpl", "list_models"]

_LAZY = {
    "Bundle": "ppclas_core.bundle",
    "Config": "ppclas_core.config.schema",
    "PpclasError": "ppclas_core.errors",
    "create_model": "ppclas_core.models",
    "hookimpl": "ppclas_core.hookspecs",
    "list_models": "ppclas_core.models",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
