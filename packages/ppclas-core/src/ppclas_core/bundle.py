"""The bundle: architecture, preprocessing, labels and activation, for all that follows training.

A bundle is a folder with ``bundle.json`` and ``model.safetensors``; an export is a bundle with the
engine's files and ``parity.json`` beside it. Reading one executes nothing and needs no Paddle.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, ValidationError

from ppclas_core.config.schema import ComponentConfig, NormalizeConfig, Task
from ppclas_core.errors import BundleError
from ppclas_core.files import building_folder, sha256, write_json
from ppclas_core.normalize import normalize_batch
from ppclas_core.params import Params
from ppclas_core.plugins import get_registries

if TYPE_CHECKING:
    from ppclas_core.contracts.image_model import ImageModel

MANIFEST = "bundle.json"
WEIGHTS = "model.safetensors"
SCHEMA_VERSION = 1
_LARGEST_MANIFEST = 64 << 20  # bytes: a million long class names


class Architecture(Params):
    """Which model to build."""

    name: str
    num_classes: PositiveInt
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters of the model beside the class count."""
    distribution: str = ""
    """The package that registered the name, and its version: what to install if it is unknown."""
    version: str = ""


class Preprocessing(Params):
    """Encoded bytes to what the model takes: decode to RGB, ``transforms``, ``normalize``."""

    color: Literal["RGB"] = "RGB"
    image_size: tuple[PositiveInt, PositiveInt]
    """(height, width) in pixels after the transforms."""
    transforms: tuple[ComponentConfig, ...]
    normalize: NormalizeConfig = NormalizeConfig()


class FileEntry(Params):
    """Size and content of a file of the bundle."""

    bytes: int
    sha256: str


class Manifest(Params):
    """The content of ``bundle.json``."""

    schema_version: int = SCHEMA_VERSION
    kind: Literal["bundle", "export"] = "bundle"
    task: Task = "classification"
    """``multilabel``: an image may have several labels."""
    architecture: Architecture
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    """Class names in the order of the logits."""
    activation: Literal["softmax", "sigmoid", "none"] = "softmax"
    """Turns the model's logits into probabilities; never inside the model."""
    thresholds: tuple[float, ...] | None = None
    """Of multilabel: the probability from which an image has each label. Nothing: 0.5."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """What the weights scored on the validation photos."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Packages that wrote it."""
    export: dict[str, Any] | None = None
    """Of an export: ``engine``, ``model`` (file), and what else its engine needs."""
    files: dict[str, FileEntry] = Field(default_factory=dict)
    seals: dict[str, str] = Field(default_factory=dict)
    """The start of the SHA-256 of each other field, as it was written; see ``edited_fields``."""

    def edited_fields(self) -> list[str]:
        """Names of the fields that were changed in the file since ``write_manifest`` wrote it."""
        now = _seals(self)
        return [name for name, seal in self.seals.items() if now.get(name) != seal]


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, or one in memory around published weights, its ``weights_file``."""

    folder: Path
    manifest: Manifest
    weights_file: Path

    @classmethod
    def load(cls, path: str | Path) -> Bundle:
        """Read a bundle, an export or a run folder and verify the hashes of its files.

        Raises:
            BundleError: there is none at ``path``, it is damaged or was written by a newer ppclas.
        """
        folder = _find(Path(path))
        manifest = _read_manifest(folder / MANIFEST)
        root = folder.resolve()
        for name, entry in manifest.files.items():
            file = folder / name
            if root not in file.resolve().parents:
                listed = f"{folder / MANIFEST} lists {name!r}"
                raise BundleError(f"{listed}, which lies outside the bundle. Do not use it.")
            if not file.is_file():
                listed = f"{MANIFEST} lists it with {entry.bytes} bytes"
                raise BundleError(f"{file} is missing; {listed}. Copy the whole folder.")
            if file.stat().st_size != entry.bytes or sha256(file) != entry.sha256:
                raise BundleError(
                    f"{file} is not the file that {MANIFEST} describes ({file.stat().st_size} "
                    f"bytes, expected {entry.bytes} and the hash {entry.sha256[:12]}…). Copy or "
                    "export it again."
                )
        return cls(folder, manifest, folder / WEIGHTS)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of what the model takes."""
        return self.manifest.preprocessing.image_size

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.manifest.labels

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The probability from which an image has each label; of images that may have several."""
        return self.manifest.thresholds or (0.5,) * len(self.labels)

    def build_model(self) -> ImageModel:
        """The model with its weights, in eval mode.

        Raises:
            BundleError: no installed package has the architecture, or the weights no classifier.
            WeightsError: the weights do not fit it.
        """
        from ppclas_core.models import create_model
        from ppclas_core.weights import load_weights

        architecture = self.manifest.architecture
        if architecture.name not in get_registries().models and architecture.distribution:
            raise BundleError(
                f"{self.folder}: the model {architecture.name!r} comes from "
                f"{architecture.distribution} {architecture.version}, which is not installed. Run: "
                f"pip install {architecture.distribution}"
            )
        model = create_model(architecture.name, architecture.num_classes, **architecture.params)
        report = load_weights(model, self.weights_file)
        if not report.head_loaded:
            wanted = f"classifier of {architecture.num_classes} classes"
            raise BundleError(f"{self.weights_file} has no {wanted}: {report}.")
        model.eval()
        return model

    def normalize(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Pixels [N, H, W, 3] in 0..255 → what the model takes: float32 [N, 3, H, W]."""
        return normalize_batch(images, self.manifest.preprocessing.normalize)

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [N, C] → probabilities [N, C] by the bundle's activation."""
        if self.manifest.activation == "softmax":
            shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
            return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float32)
        if self.manifest.activation == "sigmoid":
            return sigmoid(logits)
        return logits


def sigmoid(logits: NDArray[Any]) -> NDArray[Any]:
    """``1 / (1 + exp(-x))`` without overflow, in the logits' own precision."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), dtype=logits.dtype)


def write_bundle(folder: Path, manifest: Manifest, state: Mapping[str, NDArray[Any]]) -> Bundle:
    """Write a bundle to ``folder``; one that is there is replaced only by a complete one."""
    from ppclas_core.weights import save_state

    with building_folder(folder) as temporary:
        save_state(temporary / WEIGHTS, state)
        write_manifest(temporary, manifest)
    return Bundle.load(folder)


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write ``bundle.json`` with size and hash of every other file in ``folder``, at any depth."""
    files = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != MANIFEST:
            entry = FileEntry(bytes=file.stat().st_size, sha256=sha256(file))
            files[file.relative_to(folder).as_posix()] = entry
    complete = manifest.replace(files=files)
    complete = complete.replace(seals=_seals(complete))
    write_json(folder / MANIFEST, complete.model_dump(mode="json"))
    return complete


def _seals(manifest: Manifest) -> dict[str, str]:
    content = manifest.model_dump(mode="json", exclude={"seals"})
    return {
        name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
        for name, value in content.items()
    }


def architecture_of(name: str, num_classes: int, params: Mapping[str, Any]) -> Architecture:
    """The architecture with the package that registered it."""
    entry = get_registries().models.entry(name)
    return Architecture(
        name=entry.name,
        num_classes=num_classes,
        params=dict(params),
        distribution=entry.owner,
        version=_version(entry.owner),
    )


def versions() -> dict[str, str]:
    """Versions of what decides about results here."""
    names = ("ppclas-core", "paddlepaddle", "paddlepaddle-gpu", "numpy", "opencv-python-headless")
    found = {name: version for name in names if (version := _version(name))}
    return {"python": platform.python_version(), **found}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _find(path: Path) -> Path:
    for folder in (path, path / "bundle"):
        if (folder / MANIFEST).is_file():
            return folder
    if path.name == MANIFEST and path.is_file():
        return path.parent
    if not path.exists():
        raise BundleError(f"No such bundle: {path}. Expected a run folder, a bundle or an export.")
    if (path / "config.yaml").is_file():
        raise BundleError(
            f"{path} is a run that has not evaluated an epoch yet, so it has no bundle. "
            f"Go on with: ppclas train --resume {shlex.quote(str(path))}"
        )
    if path.is_file():
        raise BundleError(
            f"{path} is a file; for published weights give the architecture as well: --model NAME "
            f"--weights {path}"
        )
    raise BundleError(f"{path} holds no {MANIFEST}. Expected a run folder, a bundle or an export.")


def _read_manifest(path: Path) -> Manifest:
    try:
        if path.stat().st_size > _LARGEST_MANIFEST:
            size = f"{path.stat().st_size} bytes"
            raise BundleError(f"{path} has {size}; a manifest is smaller. Copy or export it again.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BundleError(f"{path} cannot be read ({error}). Copy or export it again.") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema version {version}; this ppclas-core reads up to {SCHEMA_VERSION}. "
            f"Run: pip install --upgrade ppclas-core"
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path}: {where}: {first['msg']}. Copy or export it again.") from error
