"""What this package registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

ppclas_load_order = 0


@hookimpl
def register_losses(registry: Registry) -> None:
    """Add the losses between a student and its teacher."""
    registry.register(
        "ssld", "ppclas_distill.losses:SSLD", summary="symmetrised KL divergence from the teacher; labels are ignored"
    )
    registry.register(
        "js", "ppclas_distill.losses:JS", summary="Jensen-Shannon divergence from the teacher; labels are ignored"
    )
