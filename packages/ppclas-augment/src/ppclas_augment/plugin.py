"""What this package registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

ppclas_load_order = 0


@hookimpl
def register_transforms(registry: Registry) -> None:
    """Add the augmentations of single images; ``preview``: what 'ppclas data preview' shows."""
    for name, summary in {
        "AutoAugment": "a pair of operations from a searched policy, or from your own",
        "RandAugment": "a few random operations of one strength",
        "TrivialAugment": "one random operation of random strength",
        "AugMix": "chains of random operations, blended with the image",
    }.items():
        registry.register(name, f"ppclas_augment.automatic:{name}", summary=summary)
    registry.register(
        "TimmRandAugment",
        "ppclas_augment.timm_policy:TimmRandAugment",
        summary="RandAugment as timm defines it, such as rand-m9-mstd0.5-inc1",
    )
    registry.register(
        "ColorJitter",
        "ppclas_augment.automatic:ColorJitter",
        summary="brightness, contrast, saturation and hue by random amounts",
        metadata={"preview": {"hue": 0.1}},
    )
    for name, summary, preview in (
        ("Cutout", "fill a square anywhere", {}),
        ("RandomErasing", "fill a random rectangle with one colour or noise", {"probability": 1.0}),
        ("HideAndSeek", "hide cells of a grid by chance", {"grid_sizes": (16, 32, 44, 56)}),
        ("GridMask", "remove the squares of a turned grid", {"probability": 1.0}),
    ):
        registry.register(
            name, f"ppclas_augment.erasing:{name}", summary=summary, metadata={"preview": preview}
        )


@hookimpl
def register_readers(registry: Registry) -> None:
    """Add the reader that works on the GPU."""
    registry.register(
        "dali",
        "ppclas_augment.dali:Dali",
        summary="NVIDIA DALI: decoding and resizing on the GPU (extra: dali)",
    )


@hookimpl
def register_batch_transforms(registry: Registry) -> None:
    """Add the augmentations of whole batches."""
    for name, summary, preview in (
        ("Mixup", "blend each image and label with another one's", {"alpha": 1.0}),
        ("CutMix", "paste a box of another image into each", {}),
        ("FMix", "mix each image with another by a mask of random shapes", {}),
    ):
        registry.register(
            name, f"ppclas_augment.batch:{name}", summary=summary, metadata={"preview": preview}
        )
    registry.register(
        "MixupOrCutMix",
        "ppclas_augment.batch:MixupOrCutMix",
        summary="Mixup for some batches, CutMix for the others",
        metadata={"preview": None},
    )
    registry.register(
        "MultiScale",
        "ppclas_augment.scales:MultiScale",
        summary="resize each batch to one of several sizes",
        metadata={"preview": None},
    )
