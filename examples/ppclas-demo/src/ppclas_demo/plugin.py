"""What this package registers. Strings, so that listing names imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core import hookimpl
from ppclas_core.contracts.variants import register_variants

if TYPE_CHECKING:
    from ppclas_core.registry import Registry


@hookimpl
def register_models(registry: Registry) -> None:
    """Add both DemoNets."""
    register_variants(
        registry,
        "ppclas_demo.model:models",
        "DemoNet_small",
        "DemoNet_large",
        summary="3 convolutions",
    )


@hookimpl
def register_transforms(registry: Registry) -> None:
    """Add Pixelate."""
    registry.register("Pixelate", "ppclas_demo.transform:Pixelate", summary="large square pixels")


@hookimpl
def register_schedulers(registry: Registry) -> None:
    """Add Sawtooth."""
    registry.register(
        "Sawtooth", "ppclas_demo.schedule:Sawtooth", summary="falls to a tenth, again and again"
    )
