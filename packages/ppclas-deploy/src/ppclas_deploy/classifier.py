"""A model that is ready to answer, from Python."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import Bundle
from ppclas_core.errors import ShapeError
from ppclas_engine.results.predict import Prediction, predict

from ppclas_deploy.engine_choice import load_engine, readers


class Classifier:
    """A bundle or export in its engine, loaded once."""

    def __init__(
        self, path: str | os.PathLike[str], *, engine: str | None = None, threads: int | None = None
    ) -> None:
        """Load what is at ``path``.

        Args:
            path: a run folder, a bundle or an export.
            engine: its name, or ``auto``. Nothing: an export's own, Paddle for a run or bundle.
            threads: CPU threads for one batch. Nothing: all of this process.

        Raises:
            BundleError: there is nothing at ``path``, or the engine cannot run it.
            MissingDependencyError: the engine is not installed.
        """
        self.bundle, self.engine = load_engine(
            Bundle.load(os.fspath(path)), engine, threads=threads
        )
        self._readers = readers(threads)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names."""
        return self.bundle.labels

    def predict(
        self,
        images: str
        | os.PathLike[str]
        | NDArray[np.uint8]
        | Iterable[str | os.PathLike[str] | NDArray[np.uint8]],
        *,
        top_k: int = 5,
        batch_size: int = 32,
    ) -> list[Prediction]:
        """Names and probabilities of an image, or of several: paths of files, or RGB pixels [H, W,
        3] in 0..255.

        An unreadable file gets a prediction with ``error`` set.

        Raises:
            ShapeError: pixels of another shape or type.
        """
        if isinstance(images, str | os.PathLike) or (
            isinstance(images, np.ndarray) and images.ndim == 3
        ):
            images = [images]
        given = [_checked(image) for image in images]
        return list(
            predict(
                self.bundle,
                given,
                top_k=top_k,
                batch_size=batch_size,
                threads=self._readers,
                engine=self.engine,
            )
        )


def _checked(image: str | os.PathLike[str] | NDArray[np.uint8]) -> str | NDArray[np.uint8]:
    if not isinstance(image, np.ndarray):
        return os.fspath(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ShapeError(
            f"expected RGB pixels, uint8 [H, W, 3] in 0..255, got {image.dtype} "
            f"{list(image.shape)}. OpenCV reads BGR: turn the last axis with image[..., ::-1]."
        )
    return image
