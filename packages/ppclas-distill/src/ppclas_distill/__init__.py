"""Knowledge distillation for ppclas: SSLD and its relatives, as plugins.

Importing this module imports neither Paddle nor NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppclas_distill.losses import JS, SSLD

__all__ = ["JS", "SSLD"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("ppclas_distill.losses"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
