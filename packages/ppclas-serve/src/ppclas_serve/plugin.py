"""What this package registers. Strings, so that listing commands imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

ppclas_load_order = 0


@hookimpl
def register_commands(registry: Registry) -> None:
    """Add ``ppclas serve``."""
    registry.register(
        "serve",
        "ppclas_serve.command:command",
        summary="Answer over HTTP, with a page for people.",
    )
