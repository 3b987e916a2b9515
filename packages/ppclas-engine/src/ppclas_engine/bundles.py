"""What a word names: a run, a bundle, an export, or a model with its published weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_core.bundle import Bundle, FileEntry, Manifest, Preprocessing, architecture_of, versions
from ppclas_core.config.schema import ModelSection, NormalizeConfig
from ppclas_core.errors import BundleError, UnknownNameError, WeightsError
from ppclas_core.files import sha256
from ppclas_core.models import create_model
from ppclas_core.plugins import get_registries
from ppclas_core.registry import Entry, resolve
from ppclas_core.weights import Arrays, most_bytes, read_state, without_prefix
from ppclas_data.loading.pipeline import default_eval_transforms

if TYPE_CHECKING:
    from ppclas_core.contracts.image_model import ImageModel

DEFAULT_MODEL: str = ModelSection().name
"""What answers and what training starts from where no model is named."""


def open_model(
    source: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    weights: str | os.PathLike[str] | None = None,
    labels: tuple[str, ...] | None = None,
    download: bool = True,
) -> Bundle:
    """The bundle behind a run folder, a bundle, an export, or the name of a model.

    A name stands for the model with its published weights, from this machine or else, with
    ``download``, fetched; ``weights`` is a file to take instead. A folder that is called like a
    model comes first.

    Raises:
        UnknownNameError, BundleError: there is no such run, bundle, export or model.
        WeightsError: the weights are not to be had; the message says what to do.
    """
    said = os.fspath(source)
    models = get_registries().models
    if not Path(said).exists() and said in models:
        file = Path(weights) if weights is not None else pretrained_path(said, download=download)
        return bundle_from_weights(said, file, labels)
    if weights is not None or labels is not None:
        models.entry(said)  # an unknown name: says so, with near ones
        raise BundleError(
            f"weights and labels go with the name of a model, and {said} is a run, bundle or "
            "export, which has its own"
        )
    if not Path(said).exists() and Path(said).name == said:
        try:
            models.entry(said)
        except UnknownNameError as error:
            raise UnknownNameError(f"There is no run, bundle or export {said!r}. {error}") from None
    return Bundle.load(said)


def pretrained_path(
    name: str, *, download: bool = False, folder: Path | None = None, mirror: str | None = None
) -> Path:
    """Where the published weights of the registered model ``name`` are, as its package knows.

    With ``download`` they are fetched where they are not on this machine: into ``folder``, or else
    the cache, from the host of ``mirror`` if given.

    Raises:
        UnknownNameError: no installed package has that model.
        WeightsError: there are none, they are not on this machine, or cannot be fetched; the
            message says what to do.
    """
    entry = get_registries().models.entry(name)
    locate = entry.metadata.get("pretrained")
    if locate is None:
        raise WeightsError(
            f"the package that brings the model {name} knows no published weights for it. "
            f"Give a weight file instead (--pretrained FILE), or train from random weights "
            "(--from-scratch)."
        )
    path: Path = resolve(locate)(entry.name, download=download, folder=folder, mirror=mirror)
    return path


def published_params(name: str) -> dict[str, Any]:
    """What the registered model ``name`` is built with for its published weights, where its name
    alone builds another.
    """
    return dict(get_registries().models.entry(name).metadata.get("weights_params", {}))


def bundle_from_weights(
    model: str, weights: Path, labels: tuple[str, ...] | None = None, **params: Any
) -> Bundle:
    """A bundle around published weights: the catalogue's evaluation preprocessing and parameters,
    labels as given, or the published ones, or class ids.

    Raises:
        UnknownNameError: no installed package has the model.
        WeightsError: the file cannot be read, or holds no classifier of this model.
        BundleError: the weights were trained on images that ppclas does not make.
    """
    entry = get_registries().models.entry(model)
    params = {**published_params(model), **params}
    probe = create_model(entry.name, **params)
    state, _ = without_prefix(read_state(weights, most_bytes(probe)), probe.state_dict())
    num_classes = _classes_of(state, probe)
    facts = entry.metadata
    size = int(facts.get("image_size", 224))
    transforms = default_eval_transforms(
        (size, size),
        int(facts.get("resize_short", round(size * 256 / 224))),
        str(facts.get("interpolation", "bilinear")),
    )
    named = facts.get("class_names") if labels is None else None
    if named is not None:
        published: tuple[str, ...] = resolve(named)(entry.name)
        labels = published if len(published) == num_classes else None
    manifest = Manifest(
        architecture=architecture_of(entry.name, num_classes, params),
        preprocessing=Preprocessing(
            image_size=(size, size), transforms=transforms, normalize=_normalize(entry)
        ),
        labels=labels if labels is not None else tuple(str(i) for i in range(num_classes)),
        versions=versions(),
        files={weights.name: FileEntry(bytes=weights.stat().st_size, sha256=sha256(weights))},
    )
    if len(manifest.labels) != num_classes:
        raise BundleError(
            f"{weights} has {num_classes} classes and {len(manifest.labels)} labels were given"
        )
    return Bundle(weights.parent, manifest, weights)


def _classes_of(state: Arrays, probe: ImageModel) -> int:
    """Classes of the classifier in ``state``; of ``probe`` where all of one is not there: a bias
    alone could ask for a model of any size."""
    head = {key: value for key, value in probe.state_dict().items() if probe.is_head(key)}
    widths = {state[key].shape[0] for key in head if key in state and state[key].ndim == 1}
    before, now = probe.config.num_classes, next(iter(widths), 0)
    whole = all(
        key in state
        and list(state[key].shape) == [now if size == before else size for size in value.shape]
        for key, value in head.items()
    )
    return now if len(widths) == 1 and whole else before


def _normalize(entry: Entry) -> NormalizeConfig:
    """How the published weights of a registered model had their images normalised."""
    if entry.metadata.get("channel_order") == "bgr":
        raise BundleError(
            f"the published weights of {entry.name} take images with blue first, which ppclas does "
            "not make. Fine-tune them on RGB photos: ppclas train photos/ --model " + entry.name
        )
    mean, std = entry.metadata.get("mean"), entry.metadata.get("std")
    return NormalizeConfig(mean=mean, std=std) if mean and std else NormalizeConfig()
