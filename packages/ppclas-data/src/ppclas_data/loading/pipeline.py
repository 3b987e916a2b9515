"""From the bytes of a file to the array that goes into a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from ppclas_core.config.schema import ComponentConfig, ResizeMode, Size
from ppclas_core.contracts.data import Draw, Image, Transform, sample_draw
from ppclas_core.errors import ConfigError, ImageError, PpclasError, ShapeError, UnknownNameError
from pydantic import ValidationError

from ppclas_data.decoding.decode import MAX_PIXELS, decode, decode_window
from ppclas_data.decoding.samples import Decode
from ppclas_data.transforms.basic import RandomFlip
from ppclas_data.transforms.window import Window, WindowTransform

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle

RESIZE_OVER_CROP = 256 / 224
"""Short side before the centre crop, over the crop's side: ImageNet evaluation resizes to 256 and
crops 224."""


class Pipeline:
    """Decode an image and apply transforms one after the other."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, data: bytes, draw: Draw, where: str, out: Image | None = None) -> Image:
        """[H, W, C] uint8, or float32 if a transform normalises, from the bytes of an image file.

        ``out`` is memory that may be written to on the way: the row of a batch. The result may be
        it, or not.

        Raises:
            ImageError: the image cannot be read.
            ShapeError: what comes out of the transforms is no [H, W, C].
            ConfigError: a transform failed.
        """
        first, *rest = self.transforms or (None,)
        if isinstance(first, Decode):
            return self._apply(rest, first.read(data, where), draw, where)
        # A subclass that does more than resize a window has its own way to be called.
        if (
            not isinstance(first, WindowTransform)
            or type(first).__call__ is not WindowTransform.__call__
        ):
            return self.transform(decode(data, where), draw, where)

        def choose(height: int, width: int) -> Window:
            try:
                window = first.window(height, width, draw)
            except PpclasError:
                raise
            except Exception as error:  # as in _apply
                raise _explained(error, first, (height, width), where) from error
            if math.prod(window.size) > MAX_PIXELS:
                raise ImageError(
                    f"{where}: {height}x{width} would become {window.size[0]}x{window.size[1]} by "
                    f"{first!r}, more than {MAX_PIXELS:,} pixels: crop it, or use another "
                    "resize_mode"
                )
            return window

        pixels, window = decode_window(data, where, choose)
        image = first.finish(window.resize(pixels, out))
        second = rest[0] if rest else None
        if image is out and type(second) is RandomFlip:  # a subclass may do more
            second.in_place(image, draw)
            rest = rest[1:]
        return self._apply(rest, image, draw, where)

    def read(self, data: bytes, where: str) -> Image:
        """All of a picture [H, W, C] as its transforms see it first, from the bytes of its file.

        Raises:
            ImageError: it cannot be read.
        """
        first = next(iter(self.transforms), None)
        return first.read(data, where) if isinstance(first, Decode) else decode(data, where)

    @property
    def channels(self) -> int:
        """Of a picture as it is read."""
        first = next(iter(self.transforms), None)
        return first.channels if isinstance(first, Decode) else 3

    def transform(self, image: Image, draw: Draw, where: str) -> Image:
        """Apply the transforms to a decoded image [H, W, 3] uint8."""
        return self._apply(self.transforms, image, draw, where)

    def _apply(
        self, transforms: Sequence[Transform], image: Image, draw: Draw, where: str
    ) -> Image:
        for transform in transforms:
            try:
                image = transform(image, draw)
            except PpclasError:
                raise
            except Exception as error:  # whatever a stranger's transform raises
                raise _explained(error, transform, image.shape, where) from error
        if (
            image.ndim != 3
            or image.shape[2] not in (1, 3, 4, self.channels)
            or image.dtype not in (np.uint8, np.float32)
        ):
            raise ShapeError(
                f"{where}: expected uint8 or float32 [H, W, C] with 1, 3 or 4 channels from the "
                f"transforms, got {image.dtype} {list(image.shape)}; ToCHW does not belong here, "
                "the layout changes on the device"
            )
        return image

    def output_shape(self) -> tuple[int, int, int]:
        """Shape [H, W, C] of what comes out, tried on a grey image of 500 x 375."""
        grey = np.full((375, 500, self.channels), 128, np.uint8)
        height, width, channels = self.transform(
            grey, sample_draw(0, 0, 0), "a grey test image"
        ).shape
        return height, width, channels


def _explained(
    error: Exception, transform: Transform, shape: tuple[int, ...], where: str
) -> ConfigError:
    said = f"{type(error).__name__}: {error}"
    return ConfigError(f"{where}: transform {transform!r} failed on an image {list(shape)}: {said}")


def build_transforms(
    components: Sequence[ComponentConfig], field: str = "data.train_transforms"
) -> tuple[Transform, ...]:
    """The transforms behind their configs; ``field`` is where they stand in the config, for
    messages.

    Raises:
        ConfigError: an unknown transform or a parameter that does not fit, naming the component and
            the parameter.
    """
    # Not at the top: worker processes need the pipeline alone, and start sooner without these.
    from ppclas_core.config.explain import dotted, problems_of
    from ppclas_core.plugins import get_registries

    registry = get_registries().transforms
    built = []
    for index, component in enumerate(components):
        place = f"{field}.{index}"
        try:
            model = registry.entry(component.name).params_model()
            built.append(registry.build(component.name, **component.params))
        except UnknownNameError as error:
            raise ConfigError(f"{place}: {error}") from None
        except ValidationError as error:
            problems = problems_of(error, model, component.params)
            said = " ".join(
                f"{dotted((component.name, *problem.path))}: {problem.message}"
                for problem in problems
            )
            raise ConfigError(f"{place}: {said}") from None
    return tuple(built)


def bundle_pipeline(bundle: Bundle) -> Pipeline:
    """Encoded bytes → uint8 [H, W, 3], as in the bundle's evaluation.

    Raises:
        ConfigError: a transform of the bundle is not installed here.
    """
    return Pipeline(build_transforms(bundle.manifest.preprocessing.transforms))


def with_all_parameters(components: Sequence[ComponentConfig]) -> tuple[ComponentConfig, ...]:
    """The components with every parameter written out, so that later defaults change nothing."""
    from ppclas_core.plugins import get_registries

    registry = get_registries().transforms
    written = []
    for component in components:
        params = registry.entry(component.name).params_model()(**component.params)
        written.append(ComponentConfig(name=component.name, **params.model_dump()))
    return tuple(written)


def default_train_transforms(
    image_size: Size,
    interpolation: str,
    scale: tuple[float, float] = (0.08, 1.0),
    mode: ResizeMode = "center",
) -> tuple[ComponentConfig, ...]:
    """What happens to a training image where the config says nothing: brought to its size, flipped
    by chance.

    In mode ``center`` that is a random box, resized; ``scale`` is the smallest and largest share of
    the image's area that it covers. The other modes show images as they do in evaluation, ``none``
    another part of them each time.
    """
    if mode == "center":
        sized = ComponentConfig(
            name="RandomResizedCrop", size=image_size, scale=scale, interpolation=interpolation
        )
    elif mode == "none":
        sized = ComponentConfig(name="RandomCrop", size=image_size)
    else:
        (sized,) = default_eval_transforms(image_size, None, interpolation, mode)
    return sized, ComponentConfig(name="RandomFlip")


def default_eval_transforms(
    image_size: Size, resize_short: int | None, interpolation: str, mode: ResizeMode = "center"
) -> tuple[ComponentConfig, ...]:
    """What happens to an image everywhere else.

    ``center``: short side to ``resize_short`` (256/224 of the size), middle kept; the other modes:
    ``ResizeMode``.
    """
    if mode == "squash":
        return (ComponentConfig(name="Resize", size=image_size, interpolation=interpolation),)
    if mode == "letterbox":
        return (ComponentConfig(name="Letterbox", size=image_size, interpolation=interpolation),)
    middle = ComponentConfig(name="CenterCrop", size=image_size)
    if mode == "none":
        return (middle,)
    longest = image_size if isinstance(image_size, int) else max(image_size)
    short = resize_short or round(longest * RESIZE_OVER_CROP)
    return ComponentConfig(name="Resize", short=short, interpolation=interpolation), middle
