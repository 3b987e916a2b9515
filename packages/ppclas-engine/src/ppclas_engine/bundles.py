"""Published weights: where they are, and bundles around them, as they come without one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_core.bundle import Bundle, Manifest, Preprocessing, architecture_of, versions
from ppclas_core.errors import BundleError, WeightsError
from ppclas_core.models import create_model
from ppclas_core.plugins import get_registries
from ppclas_core.registry import resolve
from ppclas_core.weights import State, most_bytes, read_state
from ppclas_data.loading.pipeline import default_eval_transforms

if TYPE_CHECKING:
    from ppclas_core.contracts.image_model import ImageModel


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
    locate = get_registries().models.entry(name).metadata.get("pretrained")
    if locate is None:
        raise WeightsError(
            f"the package that brings the model {name} knows no published weights for it. "
            f"Give a weight file instead, or train from random weights."
        )
    path: Path = resolve(locate)(name, download=download, folder=folder, mirror=mirror)
    return path


def bundle_from_weights(
    model: str, weights: Path, labels: tuple[str, ...] | None = None, **params: Any
) -> Bundle:
    """A bundle around published weights: the catalogue's evaluation preprocessing, labels as given
    or class ids.

    Raises:
        UnknownNameError: no installed package has the model.
        WeightsError: the file cannot be read, or holds no classifier of this model.
    """

    entry = get_registries().models.entry(model)
    probe = create_model(entry.name, **params)
    state = read_state(weights, most_bytes(probe))
    num_classes = _classes_of(state, probe)
    facts = entry.metadata
    size = int(facts.get("image_size", 224))
    transforms = default_eval_transforms(
        (size, size),
        int(facts.get("resize_short", round(size * 256 / 224))),
        str(facts.get("interpolation", "bilinear")),
    )
    manifest = Manifest(
        architecture=architecture_of(entry.name, num_classes, params),
        preprocessing=Preprocessing(image_size=(size, size), transforms=transforms),
        labels=labels if labels is not None else tuple(str(i) for i in range(num_classes)),
        versions=versions(),
    )
    if len(manifest.labels) != num_classes:
        raise BundleError(
            f"{weights} has {num_classes} classes and {len(manifest.labels)} labels were given"
        )
    return Bundle(weights.parent, manifest, weights)


def _classes_of(state: State, probe: ImageModel) -> int:
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
