"""Bundles around published weights, which come without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppclas_core.bundle import Bundle, Manifest, Preprocessing, architecture_of, versions
from ppclas_core.errors import BundleError
from ppclas_core.models import create_model
from ppclas_core.plugins import get_registries
from ppclas_core.weights import read_state
from ppclas_data.loading.pipeline import default_eval_transforms


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
    state = read_state(weights)
    probe = create_model(entry.name, **params)
    widths = {
        state[key].shape[0]
        for key in probe.state_dict()
        if probe.is_head(key) and key in state and state[key].ndim == 1
    }
    num_classes = widths.pop() if len(widths) == 1 else probe.config.num_classes
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
