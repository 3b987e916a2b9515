"""From photos on disk to batches."""

from ppclas_core.data.base import (
    BatchTransform,
    Draw,
    Image,
    ImageSet,
    Record,
    Source,
    Transform,
    sample_draw,
)

__all__ = [
    "BatchTransform",
    "Draw",
    "Image",
    "ImageSet",
    "Record",
    "Source",
    "Transform",
    "sample_draw",
]
