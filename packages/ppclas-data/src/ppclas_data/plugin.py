"""What this package registers, by "module:attribute" so that listing names imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppclas_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ppclas_core.registry import Registry

ppclas_load_order = -1  # before the packages that add to these


@hookimpl
def register_transforms(registry: Registry) -> None:
    """Add the basic image transforms."""
    # Nothing random happens in those whose "preview" is None: 'ppclas data preview' leaves them
    # out.
    fixed: dict[str, None] = {"preview": None}
    for name, summary in {
        "Resize": "to an exact size, or by the short side",
        "CenterCrop": "the middle; smaller images are padded",
        "Normalize": "mean and std, to float32",
    }.items():
        registry.register(
            name, f"ppclas_data.transforms.basic:{name}", summary=summary, metadata=fixed
        )
    registry.register(
        "ToCHW",
        "ppclas_data.transforms.basic:ToCHW",
        aliases=("ToCHWImage",),
        summary="[H, W, C] to [C, H, W]",
        metadata=fixed,
    )
    registry.register(
        "Letterbox",
        "ppclas_data.transforms.framing:Letterbox",
        summary="all of the image, with bars where its shape differs",
        metadata=fixed,
    )
    registry.register(
        "Decode",
        "ppclas_data.decoding.samples:Decode",
        summary="how a file becomes pixels: more channels than three, another range of samples",
        metadata=fixed,
    )
    registry.register(
        "Grayscale",
        "ppclas_data.transforms.channels:Grayscale",
        summary="brightness alone, one channel",
        metadata=fixed,
    )
    for name, summary in {
        "RandomResizedCrop": "a box of random area and aspect ratio, resized",
        "RandomFlip": "mirror left-right, top-bottom or both, by chance",
    }.items():
        registry.register(name, f"ppclas_data.transforms.basic:{name}", summary=summary)
    registry.register(
        "RandomCrop",
        "ppclas_data.transforms.framing:RandomCrop",
        summary="a box of one size anywhere, not resized",
    )


@hookimpl
def register_datasets(registry: Registry) -> None:
    """Add the data sources, in the order in which they are asked."""
    for name, module, summary in (
        ("tar", "archives", "tar shards in the WebDataset layout, or of class folders"),
        ("zip", "archives", "a zip file of class folders"),
        ("parquet", "parquet", "Parquet files with encoded images (needs the extra [parquet])"),
        ("folder", "folder", "a folder of class folders"),
        ("csv", "lists", "a CSV or TSV file with a column of paths and one of labels"),
        ("list", "lists", "a text file of lines 'path label'"),
    ):
        registry.register(
            name, f"ppclas_data.sources.{module}:{name.capitalize()}Source", summary=summary
        )


@hookimpl
def register_readers(registry: Registry) -> None:
    """Add the worker processes."""
    registry.register(
        "workers", "ppclas_data.loading.workers:Workers", summary="worker processes of our own"
    )
