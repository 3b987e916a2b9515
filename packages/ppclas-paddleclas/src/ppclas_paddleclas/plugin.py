"""What this package registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

ppclas_load_order = 0


@hookimpl
def register_config_formats(registry: Registry) -> None:
    """Add the two schemas of PaddleClas."""
    registry.register(
        "paddleclas",
        "ppclas_paddleclas.config_format:PaddleClasFormat",
        summary="PaddleClas' configs of 2020 and of 2.x, as they are",
    )
