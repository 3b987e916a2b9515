"""The bundle: architecture, preprocessing, labels and activation, for all that follows training.

A bundle is a folder with ``bundle.json`` and ``model.safetensors``; an export is a bundle with the
engine's files and ``parity.json`` beside it. Reading one executes nothing and needs no Paddle.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from ppclas_core.config.schema import ComponentConfig, Fraction, NormalizeConfig, Task
from ppclas_core.errors import BundleError
from ppclas_core.files import building_folder, sha256, write_json
from ppclas_core.limits import MANIFEST_BYTES, NAMES_BYTES, read_bounded
from ppclas_core.normalize import normalize_batch
from ppclas_core.params import Params
from ppclas_core.plugins import get_registries

if TYPE_CHECKING:
    from ppclas_core.contracts.image_model import ImageModel

MANIFEST, WEIGHTS = "bundle.json", "model.safetensors"
SCHEMA_VERSION = 1
PARITY, LABELS = "parity.json", "labels.txt"
_MEANING = ("task", "architecture", "preprocessing", "labels", "activation", "thresholds")
"""Fields that answers follow from; their seal stands in the weights and in the receipt as well."""


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

    bytes: NonNegativeInt
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


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
    thresholds: tuple[Fraction, ...] | None = None
    """Of multilabel: the probability from which an image has each label. Nothing: 0.5."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """What the weights scored on the validation photos."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Packages that wrote it."""
    export: dict[str, Any] | None = None
    """Of an export: ``engine``, ``model`` (file), and what else its engine needs."""
    files: dict[str, FileEntry] = Field(default_factory=dict)
    seals: dict[str, str] = Field(default_factory=dict)
    """The start of the SHA-256 of each other field, as it was written; checked on loading."""

    @model_validator(mode="after")
    def _counts_agree(self) -> Manifest:
        for name, many in (("labels", self.labels), ("thresholds", self.thresholds)):
            if many is not None and len(many) != self.architecture.num_classes:
                classes = f"{self.architecture.num_classes} classes"
                raise ValueError(f"{name} has {len(many)} values for {classes}")
        return self

    def meaning(self, *, written: bool = False) -> str:
        """A hash of all that answers follow from, beside the weights; ``written``: by the seals."""
        now = _seals(self.model_dump(mode="json", include=set(_MEANING)))
        return _hash([(self.seals if written else now).get(name) for name in _MEANING])


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, or one in memory around published weights, its ``weights_file``."""

    folder: Path
    manifest: Manifest
    weights_file: Path

    @classmethod
    def load(cls, path: str | Path, *, edited: bool = False) -> Bundle:
        """Read a bundle, an export or a run folder and verify the hashes of its files.

        A ``bundle.json`` that was changed after it was written is refused, unless ``edited``.

        Raises:
            BundleError: there is none at ``path``, it is damaged or was written by a newer ppclas.
        """
        folder = _find(Path(path))
        manifest = _read_manifest(folder / MANIFEST, edited)
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
        if (folder / WEIGHTS).exists() and WEIGHTS not in manifest.files:
            raise BundleError(f"{folder / MANIFEST} does not list {WEIGHTS}. Do not use it.")
        if not edited:
            _check_companions(folder, manifest)
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
        return sigmoid(logits) if self.manifest.activation == "sigmoid" else logits


def sigmoid(logits: NDArray[Any]) -> NDArray[Any]:
    """``1 / (1 + exp(-x))`` without overflow, in the logits' own precision."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), dtype=logits.dtype)


def write_bundle(folder: Path, manifest: Manifest, state: Mapping[str, NDArray[Any]]) -> Bundle:
    """Write a bundle to ``folder``; one that is there is replaced only by a complete one."""
    from ppclas_core.weights import save_state

    with building_folder(folder) as temporary:
        save_state(temporary / WEIGHTS, state, {"meaning": manifest.meaning()})
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
    complete = complete.replace(seals=_seals(complete.model_dump(mode="json")))
    write_json(folder / MANIFEST, complete.model_dump(mode="json"))
    return complete


def labels_text(labels: Sequence[str]) -> str:
    """The content of ``labels.txt``."""
    return "".join(f"{index} {name}\n" for index, name in enumerate(labels))


def _seals(content: Mapping[str, Any]) -> dict[str, str]:
    return {name: _hash(value) for name, value in content.items() if name != "seals"}


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _changed(path: Path, what: str) -> BundleError:
    return BundleError(
        f"{path} was changed after it was written: {what}. Put the original back, or make it again "
        "from the run; for a change that is meant: ppclas bundle set RUN, then export it again"
    )


def _check_companions(folder: Path, manifest: Manifest) -> None:
    """What says the same as the manifest must do so: the weights, the receipt, the labels."""
    from safetensors import SafetensorError, safe_open

    said, parity = {}, {}
    try:
        if WEIGHTS in manifest.files:
            with safe_open(folder / WEIGHTS, "numpy") as weights:
                said[WEIGHTS] = (weights.metadata() or {}).get("meaning")
        if PARITY in manifest.files:
            parity = _read_json(folder / PARITY)
            said[PARITY] = parity.get("meaning")
        if LABELS in manifest.files and manifest.kind == "export":
            wanted = labels_text(manifest.labels).encode(errors="backslashreplace")
            if read_bounded(folder / LABELS, NAMES_BYTES) != wanted:
                raise _changed(folder / LABELS, f"it has other labels than {MANIFEST}")
    except (OSError, SafetensorError, AttributeError) as error:
        raise BundleError(f"{folder} is damaged ({error}). Copy or export it again.") from error
    for name, meaning in said.items():
        # As the file was written: a later version may know more fields, with defaults.
        if meaning is not None and meaning != manifest.meaning(written=True):
            raise _changed(folder / MANIFEST, f"{name} was made with another one")
    proven = parity.get("files", {})
    other = [n for n, file in manifest.files.items() if proven.get(n, file.sha256) != file.sha256]
    if parity and (parity.get("verdict") != "agrees" or other):
        about = f"about another {other[0]}" if other else f"{str(parity.get('verdict'))[:40]!r}"
        raise BundleError(f"{folder / PARITY}: its verdict is {about}. Export it again.")


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
    return {"python": platform.python_version(), **{n: v for n in names if (v := _version(n))}}


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


def _read_json(path: Path) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise ValueError(f"the key {twice[:40]!r} is there twice")
        return found

    try:
        text = read_bounded(path, MANIFEST_BYTES).decode("utf-8")
        content = json.loads(text, object_pairs_hook=unique)
    except (ValueError, OSError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error
        raise BundleError(f"{path} cannot be read ({why}). Copy or export it again.") from error
    if not isinstance(content, dict):
        raise BundleError(f"{path} is no map. Copy or export it again.")
    return content


def _read_manifest(path: Path, edited: bool) -> Manifest:
    content = _read_json(path)
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema version {version}; this ppclas-core reads up to {SCHEMA_VERSION}. "
            f"Run: pip install --upgrade ppclas-core"
        )
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path}: {where}: {first['msg']}. Copy or export it again.") from error
    if manifest.seals and not edited:
        now = _seals(content)
        names = sorted({*now, *manifest.seals})
        if changed := [name for name in names if now.get(name) != manifest.seals.get(name)]:
            raise _changed(path, ", ".join(changed))
    return manifest
