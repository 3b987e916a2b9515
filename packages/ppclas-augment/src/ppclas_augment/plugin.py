"""What this package registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

ppclas_load_order = 0


@hookimpl
def register_transforms(registry: Registry) -> None:
    """Add the augmentations of single images."""
    registry.register(
        "RandomErasing",
        "ppclas_augment.image:RandomErasing",
        summary="fill a random rectangle with one colour or noise",
    )


@hookimpl
def register_batch_transforms(registry: Registry) -> None:
    """Add the augmentations of whole batches."""
    registry.register("Mixup", "ppclas_augment.batch:Mixup", summary="blend each image and label with another one's")
