"""Pixels in, logits out: a model in Paddle, or an export in its engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.export import export_facts
from ppclas_core.errors import BundleError
from ppclas_core.plugins import get_registries
from ppclas_data.loading.device import normalize_on_device

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle
    from ppclas_core.config.schema import NormalizeConfig
    from ppclas_core.contracts.export import Engine
    from ppclas_core.contracts.image_model import ImageModel

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


def open_engine(bundle: Bundle, name: str | None = None, threads: int | None = None) -> Engine:
    """The engine ``name``, or the one that an export names, with ``bundle`` loaded and ``threads``
    (or all) CPUs.

    Raises:
        BundleError: an export does not say which engine runs it, or the engine cannot run it.
        UnknownNameError: there is no such engine.
        MissingDependencyError: it is not installed.
    """
    if name is None:
        facts = export_facts(bundle)
        if "engine" not in facts:
            raise BundleError(
                f"{bundle.folder} is an export that names no engine. Export it again."
            )
        name = str(facts["engine"])
    engine: Engine = get_registries().engines.build(name, threads=threads)
    engine.load(bundle)
    return engine


def bundle_predictor(bundle: Bundle, threads: int | None = None) -> Predictor:
    """The predictor of a bundle: its model in Paddle, or the engine of an export with ``threads``
    (or all) CPUs.

    Raises:
        BundleError: an export does not say which engine runs it.
        MissingDependencyError: what runs it is not installed.
    """
    if bundle.manifest.kind != "export":
        return model_predictor(bundle.build_model(), bundle.manifest.preprocessing.normalize)
    engine = open_engine(bundle, threads=threads)

    def predict(images: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(engine.logits(engine.prepare(images)), dtype=np.float32)

    return predict
