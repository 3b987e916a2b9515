"""PaddleClas' configs, read by ppclas as they are.

Importing this module imports neither Paddle nor NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppclas_paddleclas.config_format import PaddleClasFormat

__all__ = ["PaddleClasFormat"]


def __getattr__(name: str) -> Any:
    if name == "PaddleClasFormat":
        from ppclas_paddleclas.config_format import PaddleClasFormat

        return PaddleClasFormat
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
