"""The ppclas model zoo: families, catalogue, published weights.

Importing this module imports neither Paddle nor NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppclas_models.catalog import CatalogRow, load_catalog
    from ppclas_models.conversion.convert import read_weights
    from ppclas_models.imagenet import ImageNetClass, imagenet_classes
    from ppclas_models.series import about
    from ppclas_models.shapes import shapes_of
    from ppclas_models.weights import cache_folder, locate

__all__ = [
    "CatalogRow",
    "ImageNetClass",
    "about",
    "cache_folder",
    "imagenet_classes",
    "load_catalog",
    "locate",
    "read_weights",
    "shapes_of",
]

_HOMES = {
    "catalog": ("CatalogRow", "load_catalog"),
    "conversion.convert": ("read_weights",),
    "imagenet": ("ImageNetClass", "imagenet_classes"),
    "series": ("about",),
    "shapes": ("shapes_of",),
    "weights": ("cache_folder", "locate"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
