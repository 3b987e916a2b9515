"""Logits of photos, from the trained model and from an export: the two sides of the parity check.

Both are steps of ``worker``: each reads the photos from disk through the preprocessing of its own
bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import Bundle
from ppclas_core.contracts.data import Draw
from ppclas_core.contracts.export import export_facts
from ppclas_core.paddle_runtime import require_paddle
from ppclas_core.plugins import get_registries
from ppclas_data.loading.device import normalize_on_device
from ppclas_data.loading.pipeline import bundle_pipeline
from ppclas_engine.scoring.predictors import model_predictor

from ppclas_deploy.isolate import bundle_of

if TYPE_CHECKING:
    from ppclas_core.config.schema import NormalizeConfig
    from ppclas_core.contracts.image_model import ImageModel

_BATCH = 8


def run_reference(job: Mapping[str, Any]) -> dict[str, str]:
    """The step ``reference``: the trained model in Paddle, on the CPU. Writes logits [N, C] to
    ``job["logits"]``.

    They are computed in ``job["dtype"]``, float32 unless that is there.
    """
    paddle = require_paddle("the trained model's answers")
    paddle.set_device("cpu")
    bundle = bundle_of(job["bundle"])
    exactly = job.get("dtype") == "float64"
    predict = (exact_predictor if exactly else model_predictor)(
        bundle.build_model(), bundle.manifest.preprocessing.normalize
    )
    pixels = read_photos(bundle, job["photos"])
    np.save(job["logits"], np.concatenate([predict(batch) for batch in in_batches(pixels)]))
    return {"paddle": paddle.__version__}


def exact_predictor(
    model: ImageModel, normalize: NormalizeConfig
) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
    """Pixels [N, H, W, 3] → logits [N, C], computed in double precision. ``model`` is changed to
    that.
    """
    import paddle

    model.to(dtype="float64")

    def predict(images: NDArray[Any]) -> NDArray[np.float64]:
        # The pixels are normalised in single precision as for everyone: it is the network whose
        # rounding counts.
        with paddle.no_grad():
            logits = model(normalize_on_device(images, normalize).astype("float64"))
        return np.asarray(logits.numpy(), dtype=np.float64)

    return predict


def run_export(job: Mapping[str, Any]) -> dict[str, str]:
    """The step ``engine``: an export in the engine that it names. Writes what it gives [N, C] to
    ``job["logits"]``.

    The first photo goes in by itself and the others in batches, so that a graph which is right for
    one batch size only does not pass.
    """
    bundle = Bundle.load(job["folder"])
    facts = export_facts(bundle)
    engine = get_registries().engines.build(facts.get("verified_with", facts["engine"]))
    engine.load(bundle)
    images = engine.prepare(read_photos(bundle, job["photos"]))
    parts = [images[:1], *in_batches(images[1:])]
    np.save(job["logits"], np.concatenate([engine.answers(part) for part in parts]))
    versions: dict[str, str] = engine.versions()
    return versions


def read_photos(bundle: Bundle, photos: Sequence[str]) -> NDArray[Any]:
    """Pixels [N, H, W, 3] of image files, as the bundle prepares them.

    Raises:
        ImageError: one cannot be read.
    """
    pipeline, draw = bundle_pipeline(bundle), Draw(np.random.default_rng(0))
    return np.stack([pipeline(Path(photo).read_bytes(), draw, photo) for photo in photos])


def in_batches(images: NDArray[Any]) -> list[NDArray[Any]]:
    """At most eight at a time."""
    return [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
