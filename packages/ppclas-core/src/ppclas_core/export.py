"""What an exporter and an engine are; they live in plugins (ppclas-deploy has the first ones)."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt, PrivateAttr

from ppclas_core.component import Params
from ppclas_core.errors import BundleError, ShapeError

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle


class Exporter(Params):
    """Write a bundle in a form that another engine runs. The fields are the target's options."""

    timeout: PositiveFloat = 600.0
    """Seconds that each step may take before it is ended."""
    tolerance: PositiveFloat = 1e-4
    """Largest accepted difference of a logit, as a share of the root mean square of the trained model's logits."""

    def check(self) -> None:
        """Called before anything heavy: raise if a package that the target needs is not installed."""

    def export(self, bundle: Bundle, folder: Path) -> dict[str, Any]:
        """Write the engine's files into ``folder``, and what the converter said into ``export.log`` there.

        Returns what ``bundle.json`` says of them under ``export``: ``engine`` (a registered engine), ``model`` (a
        file in ``folder``), ``batch`` where the batch size is fixed, and whatever else the engine needs.

        Raises:
            ExportError: the converter failed; the message ends with its cause.
        """
        raise NotImplementedError


class Engine(Params):
    """Run an export: build it, ``load`` an export once, then ask for ``logits``. It owns its session."""

    threads: PositiveInt | None = None
    """CPU threads for one batch. Nothing: as many as this process may use."""

    _batch: int | None = PrivateAttr(None)
    _input: tuple[int, ...] = PrivateAttr(())

    def load(self, bundle: Bundle) -> None:
        """Open the export's model.

        Raises:
            MissingDependencyError: the engine's package is not installed.
            BundleError: the files do not load.
        """
        facts = export_facts(bundle)
        self._batch = facts.get("batch")
        self._input = (3, *bundle.image_size)
        self.open(bundle)

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [N, C] of normalised images [N, 3, H, W], for any N of 1 or more.

        An export with a fixed batch size is fed such batches, the last one filled up with zeros.

        Raises:
            ShapeError: the images are not what the export takes.
        """
        if images.ndim != 4 or images.shape[1:] != self._input or images.dtype != np.float32 or not len(images):
            raise ShapeError(
                f"the export takes float32 images [N, {', '.join(map(str, self._input))}]; "
                f"got {images.dtype} {list(images.shape)}. Prepare them with the bundle's pipeline and normalize."
            )
        if self._batch is None:
            return self.run(np.ascontiguousarray(images))
        missing = -len(images) % self._batch
        padded = np.concatenate([images, np.zeros((missing, *self._input), np.float32)])
        parts = [self.run(padded[start : start + self._batch]) for start in range(0, len(padded), self._batch)]
        return np.concatenate(parts)[: len(images)]

    def open(self, bundle: Bundle) -> None:
        """Make the session; ``load`` calls it."""
        raise NotImplementedError

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of one contiguous batch of the size that the export takes; ``logits`` calls it."""
        raise NotImplementedError

    def versions(self) -> dict[str, str]:
        """Name and version of what ran, for receipts."""
        raise NotImplementedError


def export_facts(bundle: Bundle) -> dict[str, Any]:
    """What ``bundle.json`` says of an export.

    Raises:
        BundleError: it is a bundle, not an export.
    """
    facts = bundle.manifest.export
    if facts is None:
        raise BundleError(
            f"{bundle.folder} is a bundle, not an export, so no engine can run it. "
            f"Write one with: ppclas export {shlex.quote(str(bundle.folder))} --target onnx"
        )
    return facts


def export_file(bundle: Bundle, key: str) -> Path:
    """The file of an export that ``bundle.json`` names under ``export.<key>``.

    Only a file listed under ``files`` (its hash is verified on load) is given: never one outside the folder.

    Raises:
        BundleError: the export names no such file.
    """
    name = export_facts(bundle).get(key)
    if not isinstance(name, str) or name not in bundle.manifest.files:
        raise BundleError(
            f"{bundle.folder}: export.{key} in bundle.json should name one of its files "
            f"({', '.join(bundle.manifest.files) or 'none'}); it says {name!r}. Export the model again."
        )
    return bundle.folder / name
