"""A trained model that is ready to answer, from Python."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import Bundle
from ppclas_core.errors import DataError, ShapeError
from ppclas_data.decoding.arrays import rgb_pixels
from ppclas_data.decoding.decode import as_seen
from ppclas_data.decoding.web import is_address
from ppclas_data.loading.pipeline import Pipeline, bundle_pipeline

from ppclas_engine.results.card import picture_of
from ppclas_engine.results.predict import Predictions, expand_paths, predict
from ppclas_engine.scoring.predictors import bundle_predictor, open_engine

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage
    from ppclas_core.contracts.export import Engine

Picture: TypeAlias = Union[
    "str | os.PathLike[str] | bytes | BinaryIO | NDArray[Any]", "PillowImage"
]
"""A file, folder, list, pattern or web address; the bytes of an image file, or such a file that is
open; pixels (uint8; grey, RGB or RGBA; an array or a tensor); or an image of Pillow."""


class Classifier:
    """A bundle or export with what runs it, loaded once. ``ppclas_engine.load`` makes one."""

    def __init__(self, bundle: Bundle, engine: Engine | None = None, *, readers: int = 2) -> None:
        """Build the model, or take ``engine`` with the bundle loaded.

        Args:
            bundle: what answers.
            engine: runs it. Nothing: an export's own; a bundle's model in Paddle.
            readers: images that are read at a time, while the batch before them is answered.

        Raises:
            BundleError: the engine cannot run the bundle.
            MissingDependencyError: what runs it is not installed.
        """
        if engine is None and bundle.manifest.kind == "export":
            engine = open_engine(bundle)
        self.bundle, self.engine = bundle, engine
        self._predictor = bundle_predictor(bundle) if engine is None else engine.logits
        self._readers = readers

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""
        return self.bundle.labels

    def predict(
        self,
        images: Picture | Iterable[Picture],
        *,
        top_k: int = 5,
        batch_size: int = 32,
        layout: Literal["HWC", "CHW"] = "HWC",
    ) -> Predictions:
        """Names and probabilities of an image, or of several, in their order.

        An array [N, H, W, C] is a batch of pixels, with ``layout="CHW"`` [N, C, H, W]. A folder
        stands for every photo below it, a ``.txt`` list for its lines, a pattern for what it
        matches. A file that is missing or cannot be read gets a prediction with ``error`` set.

        Raises:
            DataError: a folder or a pattern stands for no image, or something is no image at all.
            ShapeError: pixels of another shape or dtype; the message says how to turn them.
        """
        single = _is_one(images)
        given: Iterable[Any] = [images] if single else images  # type: ignore[assignment]
        found = list(_expanded(given, layout, bundle_pipeline(self.bundle)))
        answers = Predictions(
            predict(
                self.bundle,
                found,
                top_k=top_k,
                batch_size=batch_size,
                threads=self._readers,
                engine=self.engine,
                predictor=self._predictor,
            )
        )
        for place, image in enumerate(found[: answers.SHOWN]):
            if not isinstance(image, str) and image.shape[2] == 3:
                answers[place] = replace(answers[place], picture=picture_of(image))
        return answers

    def __repr__(self) -> str:
        architecture, (height, width) = self.bundle.manifest.architecture, self.bundle.image_size
        return f"<Classifier {architecture.name}, {len(self.labels)} classes, {height}x{width}>"


def _expanded(
    images: Iterable[Any], layout: str, pipeline: Pipeline
) -> Iterator[str | NDArray[np.uint8]]:
    if layout not in ("HWC", "CHW"):
        raise ShapeError(f"layout: expected 'HWC' or 'CHW' (channels first), got {layout!r}")
    for number, image in enumerate(images, 1):
        name = f"image {number}"
        if isinstance(image, str | os.PathLike):
            path = os.fspath(image)
            # One file may be missing, or have a name that looks like a pattern.
            is_list = path.lower().endswith(".txt")
            if is_address(path):
                yield path
            elif (
                is_list or Path(path).is_dir() or (glob.has_magic(path) and not Path(path).exists())
            ):
                yield from expand_paths([path])
            else:
                yield path
        elif isinstance(image, bytes | bytearray | memoryview):
            yield pipeline.read(bytes(image), name)
        elif _is_pillow(image):
            yield as_seen(image, name)
        elif hasattr(image, "__array__"):
            array = np.asarray(image)
            first = layout == "CHW" and array.ndim == 3
            pixels = array.transpose(1, 2, 0) if first else array
            yield rgb_pixels(pixels, name, pipeline.channels)
        elif hasattr(image, "read"):
            yield pipeline.read(image.read(), name)
        else:
            raise DataError(
                f"{name}: expected a path, the bytes of an image file, an array of pixels or a "
                f"Pillow image, got {type(image).__name__}"
            )


def _is_one(images: Any) -> bool:
    """One image, or what several come from by looking into it."""
    if hasattr(images, "__array__") and not _is_pillow(images):
        return len(images.shape) in (0, 2, 3)  # in one dimension: a column of paths
    # A file that is open would give its lines, and they are no images.
    whole = isinstance(images, str | bytes | bytearray | memoryview) or hasattr(images, "read")
    return whole or not isinstance(images, Iterable)


def _is_pillow(image: object) -> bool:
    # By module, so that Pillow need not be imported where nobody uses it.
    return any(base.__module__ == "PIL.Image" for base in type(image).__mro__)
