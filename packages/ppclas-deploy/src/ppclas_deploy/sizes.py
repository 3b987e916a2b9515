"""What goes into a bundle's model; the same bundle for images of another size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ppclas_core.config.schema import ComponentConfig, Size
from ppclas_core.errors import ConfigError
from ppclas_data.loading.pipeline import bundle_pipeline
from ppclas_data.transforms.basic import size_pair

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle


def channels_of(bundle: Bundle) -> int:
    """Channels of the images that the model takes: 3, where the bundle says nothing else."""
    return int(bundle.manifest.architecture.params.get("in_channels", 3))


def at_size(bundle: Bundle, size: Size) -> Bundle:
    """``bundle`` for images of ``size``: a side or (height, width), in pixels.

    Transforms whose ``size`` is the bundle's get the new one, and a resize by the ``short`` side
    changes in the same proportion, so that as much of a photo is kept as before.

    Raises:
        ConfigError: the transforms do not come to that size this way.
    """
    old, new = bundle.image_size, size_pair(size)
    if old == new:
        return bundle
    preprocessing = bundle.manifest.preprocessing
    transforms = tuple(_scaled(transform, old, new) for transform in preprocessing.transforms)
    changed = type(bundle)(
        bundle.folder,
        bundle.manifest.replace(
            preprocessing=preprocessing.replace(image_size=new, transforms=transforms)
        ),
        bundle.weights_file,
    )
    height, width, _ = bundle_pipeline(changed).output_shape()
    if (height, width) != new:
        names = ", ".join(transform.name for transform in transforms)
        raise ConfigError(
            f"image_size {new[0]}x{new[1]}: the bundle's transforms ({names}) give "
            f"{height}x{width} all the same. Export at the bundle's own size {old[0]}x{old[1]}, or "
            "train with data.image_size."
        )
    return changed


def _scaled(
    transform: ComponentConfig, old: tuple[int, int], new: tuple[int, int]
) -> ComponentConfig:
    params: dict[str, Any] = dict(transform.params)
    if "size" in params and size_pair(params["size"]) == old:
        params["size"] = new
    if isinstance(params.get("short"), int):
        params["short"] = round(params["short"] * max(new) / max(old))
    return ComponentConfig(name=transform.name, **params)
