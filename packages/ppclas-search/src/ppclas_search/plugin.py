"""What this package registers, by "module:attribute" so that listing names imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

ppclas_load_order = 0

_SECTION = {"section": "Explain"}


@hookimpl
def register_commands(registry: Registry) -> None:
    """Add the commands."""
    for name, summary in {
        "explain": "Show which parts of photos made the answer.",
        "features": "Write what the classifier sees of photos: pooled features.",
        "neighbours": "Find the photos most like a photo, as a model sees them.",
    }.items():
        registry.register(
            name,
            f"ppclas_search.commands.{name}:command",
            summary=summary,
            metadata=_SECTION,
        )


@hookimpl
def register_transforms(registry: Registry) -> None:
    """Add the crop of test-time augmentation."""
    registry.register(
        "PlacedCrop",
        "ppclas_search.transforms:PlacedCrop",
        summary="a box of fixed size at a fixed place",
    )


@hookimpl
def register_batch_transforms(registry: Registry) -> None:
    """Add the images that grow with the epochs."""
    registry.register(
        "ProgressiveSize",
        "ppclas_search.transforms:ProgressiveSize",
        summary="small images at first, full ones at the end",
    )
