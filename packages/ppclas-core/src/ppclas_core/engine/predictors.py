"""Pixels in, logits out: a model in Paddle, or an export in its engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ppclas_core.errors import BundleError
from ppclas_core.normalize import normalize_on_device
from ppclas_core.plugins import get_registries

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle
    from ppclas_core.config.schema import NormalizeConfig
    from ppclas_core.image_model import ImageModel

Predictor = Callable[[NDArray[Any]], NDArray[np.float32]]
"""Pixels [N, H, W, 3] → logits [N, C]."""


def model_predictor(model: ImageModel, normalize: NormalizeConfig) -> Predictor:
    """Run ``model`` as it is (put it in eval mode first), without gradients."""
    import paddle

    def predict(images: NDArray[Any]) -> NDArray[np.float32]:
        with paddle.no_grad():
            logits = model(normalize_on_device(images, normalize))
        return np.asarray(logits.numpy(), dtype=np.float32)

    return predict


def bundle_predictor(bundle: Bundle) -> Predictor:
    """The predictor of a bundle: its model in Paddle, or the engine of an export.

    Raises:
        BundleError: an export does not say which engine runs it.
        MissingDependencyError: what runs it is not installed.
    """
    export = bundle.manifest.export
    if export is None:
        return model_predictor(bundle.build_model(), bundle.manifest.preprocessing.normalize)
    if "engine" not in export:
        raise BundleError(f"{bundle.folder} is an export that names no engine. Export it again.")
    engine = get_registries().engines.build(str(export["engine"]))
    engine.load(bundle)

    def predict(images: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(engine.logits(engine.prepare(images)), dtype=np.float32)

    return predict
