"""From photos on disk to batches: sources, decoding, transforms, the loader, and the checks.

Importing it imports neither OpenCV nor NumPy; a name is loaded when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppclas_data.builtin import builtin_photos
    from ppclas_data.decoding.decode import decode
    from ppclas_data.loading.loader import Loader
    from ppclas_data.loading.pipeline import Pipeline, bundle_pipeline
    from ppclas_data.sources.opening import open_image_set

__all__ = ["Loader", "Pipeline", "builtin_photos", "bundle_pipeline", "decode", "open_image_set"]

_LAZY = {
    "Loader": "ppclas_data.loading.loader",
    "Pipeline": "ppclas_data.loading.pipeline",
    "builtin_photos": "ppclas_data.builtin",
    "bundle_pipeline": "ppclas_data.loading.pipeline",
    "decode": "ppclas_data.decoding.decode",
    "open_image_set": "ppclas_data.sources.opening",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
