"""What this package registers: each catalogue name whose family is built, weights, recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

    from ppclas_models.catalog import CatalogRow

ppclas_load_order = 0


@hookimpl
def register_models(registry: Registry) -> None:
    """Add the catalogue, with each row as metadata."""
    from ppclas_core.contracts.variants import LazyModel

    from ppclas_models.catalog import LEARNED_POSITIONS, load_catalog, load_fine_tuning
    from ppclas_models.spellings import spellings

    fine_tuning = load_fine_tuning()
    for row in load_catalog().values():
        if row.family is not None:
            registry.register(
                row.name,
                LazyModel(f"ppclas_models.families.{row.family}:models", row.architecture),
                aliases=spellings(row.name),
                summary=_summary(row),
                metadata={
                    **vars(row),
                    "pretrained": "ppclas_models.weights:locate",
                    "about": "ppclas_models.series:about",
                    "class_names": "ppclas_models.imagenet:class_names",
                    **({"learned_positions": True} if row.series in LEARNED_POSITIONS else {}),
                    **({"fine_tuning": usual} if (usual := fine_tuning.get(row.series)) else {}),
                },
            )


@hookimpl
def register_weight_formats(registry: Registry) -> None:
    """Add what weights are kept in beside ``.safetensors``."""
    for name, summary in (
        ("Pdparams", "what paddle.save writes; read without running anything"),
        ("Packed", "a byte for each value, and a table of values"),
        ("Torch", "what torch.save writes; converted for a model first"),
        ("Tar", "the archives of 2020, a member for each tensor; converted for a model first"),
    ):
        registry.register(name, f"ppclas_models.conversion.formats:{name}", summary=summary)


@hookimpl
def register_recipes(registry: Registry) -> None:
    """Add what transformers, and networks made like them, are trained and fine-tuned with."""
    for name, (summary, published) in _RECIPES.items():
        registry.register(
            name,
            f"ppclas_models.recipes:{name}",
            summary=summary,
            metadata={} if published is None else {"published": published},
        )


_RECIPES: dict[str, tuple[str, float | None]] = {
    "imagenet-deit-tiny": ("ImageNet-1k: DeiT_tiny_patch16_224, 300 epochs", 0.7208),
    "imagenet-swin-tiny": ("ImageNet-1k: SwinTransformer_tiny, 300 epochs", 0.8110),
    "imagenet-convnext-tiny": ("ImageNet-1k: ConvNeXt_tiny, 300 epochs", 0.8203),
    "finetune-deit": ("your own photos, from DeiT's weights: classifier first, layer decay", None),
    "finetune-swin": ("your own photos, from Swin's weights: classifier first, layer decay", None),
    "finetune-convnext": ("your own photos, from ConvNeXt's weights, likewise", None),
}
"""Name → what it is, and the accuracy that PaddleClas reports, 0..1."""


def _summary(row: CatalogRow) -> str:
    accuracy = [f"top-1 {row.top1 * 100:g} %"] if row.top1 is not None else []
    size = [f"{row.params_m:g} M parameters"] if row.params_m is not None else []
    facts = ", ".join(accuracy + size)
    return f"{row.series}: {facts}" if facts else row.series
