"""Change what a bundle says of its answers, on purpose, and prove that it still gives some."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ppclas_core.bundle import Bundle, Manifest, write_bundle
from ppclas_core.config.explain import problems_of
from ppclas_core.config.overrides import apply_override
from ppclas_core.contracts.data import sample_draw
from ppclas_core.errors import BundleError, ConfigError
from ppclas_core.weights import read_state
from ppclas_data.builtin import builtin_photos
from ppclas_data.loading.pipeline import bundle_pipeline
from ppclas_data.sources.labels import read_class_names
from ppclas_data.sources.photo_files import image_files
from ppclas_engine.scoring.predictors import bundle_predictor
from pydantic import ValidationError

CHANGEABLE = ("labels", "thresholds", "activation", "preprocessing")
"""What can be changed of a bundle without training."""


def change_bundle(path: str, assignments: Sequence[str]) -> Bundle:
    """Change fields of the bundle or run at ``path`` by ``KEY=VALUE``.

    ``labels=FILE`` takes the names from a file. The bundle is replaced once the changed one has
    given probabilities for the built-in photos. One that was edited by hand is taken as it is now.

    Raises:
        BundleError: it is an export, or does not answer with the change.
        ConfigError: a key is none of ``CHANGEABLE``, or a value does not fit it.
    """
    bundle = Bundle.load(path, edited=True)
    if bundle.manifest.kind == "export":
        raise BundleError(
            f"{path} is an export: change the bundle that it was made from, and export that again."
        )
    content = bundle.manifest.model_dump(mode="json", exclude={"files", "seals"})
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        if key.split(".")[0] not in CHANGEABLE:
            raise ConfigError(f"{assignment}: expected a key of {', '.join(CHANGEABLE)}.")
        if key == "labels" and not value.startswith("["):
            content["labels"] = list(read_class_names(value))
        else:
            apply_override(content, assignment)
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        problem = problems_of(error, Manifest, content)[0]
        where = ".".join(map(str, problem.path))
        raise ConfigError(": ".join(filter(None, (where, problem.message)))) from error
    _prove(Bundle(bundle.folder, manifest, bundle.weights_file))
    return write_bundle(bundle.folder, manifest, read_state(bundle.weights_file))


def _prove(bundle: Bundle) -> None:
    photos = image_files(builtin_photos() / "val")[::12]
    pipeline, draw = bundle_pipeline(bundle), sample_draw(0, 0, 0)
    images = np.stack([pipeline(Path(photo).read_bytes(), draw, photo) for photo in photos])
    if images.shape[1:3] != bundle.image_size:
        raise BundleError(
            f"the transforms give {images.shape[1]}x{images.shape[2]} pixels, and "
            f"preprocessing.image_size says {list(bundle.image_size)}."
        )
    answers = bundle.probabilities(bundle_predictor(bundle)(images))
    if answers.shape != (len(photos), len(bundle.labels)) or not np.isfinite(answers).all():
        raise BundleError(f"with this change {bundle.folder} gives no probabilities.")
