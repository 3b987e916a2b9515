"""What an exporter and an engine are; they live in plugins (ppclas-deploy has the first ones)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt, PrivateAttr

from ppclas_core.config.schema import NormalizeConfig, Size
from ppclas_core.errors import BundleError, ShapeError
from ppclas_core.normalize import normalize_batch
from ppclas_core.params import Params

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle


class Exporter(Params):
    """Write a bundle in a form that another engine runs. The fields are the target's options."""

    timeout: PositiveFloat = 600.0
    """Seconds that each step may take before it is ended."""
    tolerance: PositiveFloat = 1e-4
    """Largest accepted difference of a logit, as a share of the logits' root mean square."""
    image_size: Size | None = None
    """Take images of this size, a side or (height, width) in pixels, instead of the bundle's."""

    def check(self) -> None:
        """Called before anything heavy: raise if a package of the target is not installed."""

    def accepted(self, facts: Mapping[str, Any]) -> float:
        """For an export with these facts: ``tolerance``, unless the target knows better."""
        return self.tolerance

    def export(self, bundle: Bundle, folder: Path) -> dict[str, Any]:
        """Write the engine's files, and ``export.log`` of the converter, into ``folder``.

        Returns what ``bundle.json`` says of them under ``export``: ``engine`` (a registered
        engine), ``model`` (a file in ``folder``), ``batch`` where the batch size is fixed,
        ``input`` and ``output`` (see ``Engine``) and whatever else the engine needs. Where that
        engine cannot run here, ``verified_with`` names the one that stands in for it, and
        ``verified`` is a sentence that says what it proves.

        Raises:
            ExportError: the converter failed; the message ends with its cause.
        """
        raise NotImplementedError


class Engine(Params):
    """Run an export in a session of its own: build it, ``load`` once, then ask for ``logits``.

    What an export takes is its ``input``: ``images``, normalised float32 [N, 3, H, W], or
    ``pixels``, uint8 [N, H, W, 3], where the normalisation is inside; ``prepare`` makes the one
    that it takes. What it gives is its ``output``: ``logits``, or ``probabilities`` where the
    bundle's activation is inside.
    """

    threads: PositiveInt | None = None
    """CPU threads for one batch. Nothing: as many as this process may use."""

    _batch: int | None = PrivateAttr(None)
    _input: tuple[int, ...] = PrivateAttr(())
    _pixels: bool = PrivateAttr(False)
    _activation: str = PrivateAttr("none")
    _normalize: NormalizeConfig = PrivateAttr(default_factory=NormalizeConfig)

    def load(self, bundle: Bundle) -> None:
        """Open the export's model.

        Raises:
            MissingDependencyError: the engine's package is not installed.
            BundleError: the files do not load.
        """
        facts = export_facts(bundle)
        self._batch, self._pixels = facts.get("batch"), facts.get("input") == "pixels"
        planes = bundle.manifest.architecture.params.get("in_channels", 3)
        self._input = (*bundle.image_size, planes) if self._pixels else (planes, *bundle.image_size)
        inside = facts.get("output") == "probabilities"
        self._activation = bundle.manifest.activation if inside else "none"
        self._normalize = bundle.manifest.preprocessing.normalize
        self.open(bundle)

    def prepare(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Pixels [N, H, W, 3], as the bundle's pipeline gives them → what the export takes."""
        return pixels if self._pixels else normalize_batch(pixels, self._normalize)

    def logits(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits [N, C] of what ``prepare`` gives, for any N of 1 or more.

        Where the export gives probabilities they are turned back: logits that differ from the
        model's by a constant an image, and as good for everything else.

        Raises:
            ShapeError: the images are not what the export takes.
        """
        answers = self.answers(images)
        if self._activation == "none":
            return answers
        # The next numbers that float32 has beside 0 and 1.
        likely = np.clip(answers, np.finfo(np.float32).tiny, 1.0)
        if self._activation == "softmax":
            return np.log(likely)
        return np.log(likely) - np.log1p(-np.minimum(likely, np.float32(1.0 - 2.0**-24)))

    def answers(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits or probabilities [N, C] for what ``prepare`` gives, for any N of 1 or more.

        An export with a fixed batch size is fed such batches, the last one filled up with zeros.

        Raises:
            ShapeError: the images are not what the export takes.
        """
        kind = np.dtype(np.uint8 if self._pixels else np.float32)
        fits = images.ndim == 4 and images.shape[1:] == self._input and images.dtype == kind
        if not fits or not len(images):
            how = "the bundle's pipeline" if self._pixels else "the bundle's pipeline and normalize"
            raise ShapeError(
                f"the export takes {kind} images [N, {', '.join(map(str, self._input))}]; "
                f"got {images.dtype} {list(images.shape)}. Prepare them with {how}."
            )
        if self._batch is None:
            return self.run(np.ascontiguousarray(images))
        missing = -len(images) % self._batch
        padded = np.concatenate([images, np.zeros((missing, *self._input), kind)])
        starts = range(0, len(padded), self._batch)
        parts = [self.run(padded[start : start + self._batch]) for start in starts]
        return np.concatenate(parts)[: len(images)]

    def open(self, bundle: Bundle) -> None:
        """Make the session; ``load`` calls it."""
        raise NotImplementedError

    def run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """What the export gives for one contiguous batch of its size; for ``answers``."""
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

    Only a file listed under ``files`` is given: its hash is verified, and it is in the folder.

    Raises:
        BundleError: the export names no such file.
    """
    name = export_facts(bundle).get(key)
    if not isinstance(name, str) or name not in bundle.manifest.files:
        raise BundleError(
            f"{bundle.folder}: export.{key} in bundle.json should name one of its files "
            f"({', '.join(bundle.manifest.files) or 'none'}); it says {name!r}. Export the model "
            "again."
        )
    return bundle.folder / name
