"""What this package registers: each catalogue name whose family is built, and weight formats."""

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

    from ppclas_models.catalog import load_catalog
    from ppclas_models.spellings import spellings

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


def _summary(row: CatalogRow) -> str:
    accuracy = [f"top-1 {row.top1 * 100:g} %"] if row.top1 is not None else []
    size = [f"{row.params_m:g} M parameters"] if row.params_m is not None else []
    facts = ", ".join(accuracy + size)
    return f"{row.series}: {facts}" if facts else row.series
