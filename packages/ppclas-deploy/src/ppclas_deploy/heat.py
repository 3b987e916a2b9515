"""Heat maps of exports that have them: asked for, and compared with Paddle's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import Bundle
from ppclas_core.contracts.export import export_facts
from ppclas_core.errors import BundleError, ParityError
from ppclas_core.paddle_runtime import require_paddle
from ppclas_core.plugins import get_registries
from ppclas_data.leftovers import temporary_folder
from ppclas_data.loading.device import normalize_on_device

from ppclas_deploy.answers import in_batches, read_photos
from ppclas_deploy.engines.heat_output import OUTPUT
from ppclas_deploy.isolate import bundle_job, bundle_of, run_isolated

if TYPE_CHECKING:
    from ppclas_core.contracts.export import Engine

    from ppclas_deploy.photos import Photos

TOLERANCE = 1e-3
"""Largest accepted difference of a map, whose values are in 0..1."""


def heat_maps(bundle: Bundle, engine: Engine, images: NDArray[Any]) -> NDArray[np.float32]:
    """Maps [N, h, w] in 0..1 of each image's most probable class, 1 at the strongest place.

    Args:
        bundle: an export.
        engine: with the export loaded.
        images: as ``engine.prepare`` gives them.

    Raises:
        BundleError: the export or the engine has no heat maps.
    """
    if OUTPUT not in export_facts(bundle):
        raise BundleError(
            f"{bundle.folder} gives no heat maps. Export the model again with --heatmap."
        )
    ask: Callable[[NDArray[Any]], NDArray[np.float32]] | None = getattr(engine, "heat_maps", None)
    if ask is None:
        raise BundleError(
            f"{type(engine).__name__} gives no heat maps. Use the engine onnxruntime or openvino."
        )
    return ask(images)


def check_heat(
    bundle: Bundle, folder: Path, photos: Photos, log: Path, timeout: float, tolerance: float
) -> float:
    """The largest difference between the maps of the export in ``folder`` and Paddle's.

    Raises:
        ExportError: a step crashed or took longer than ``timeout`` seconds.
        ParityError: a map differs by more than ``tolerance``.
    """
    paths = [str(path) for path in photos.paths]
    with temporary_folder() as name:
        found = []
        for step, job in (
            ("heat_reference", {"bundle": bundle_job(bundle)}),
            ("heat_engine", {"folder": str(folder.resolve())}),
        ):
            file = Path(name) / f"{step}.npy"
            run_isolated(step, {**job, "photos": paths, "maps": str(file)}, log, timeout)
            found.append(np.load(file))
    differences = np.abs(found[0] - found[1]).max(axis=(1, 2))
    worst = int(differences.argmax())
    if not differences[worst] <= tolerance:
        raise ParityError(
            f"the heat maps differ from Paddle's by {differences[worst]:.2g} of 1, most in "
            f"{photos.names()[worst]}; expected at most {tolerance:g}. Export without --heatmap, "
            "and report the model."
        )
    return float(differences[worst])


def run_reference(job: Mapping[str, Any]) -> dict[str, str]:
    """The step ``heat_reference``: the maps in Paddle, written to ``job["maps"]``."""
    paddle = require_paddle("the trained model's heat maps")
    paddle.set_device("cpu")
    from ppclas_deploy.heat_network import HeatNetwork

    bundle = bundle_of(job["bundle"])
    network = HeatNetwork(bundle.build_model(), *bundle.image_size)
    network.eval()
    parts = []
    with paddle.no_grad():
        for pixels in in_batches(read_photos(bundle, job["photos"])):
            images = normalize_on_device(pixels, bundle.manifest.preprocessing.normalize)
            parts.append(network(images)[1].numpy())
    np.save(job["maps"], np.concatenate(parts))
    return {"kind": network.kind}


def run_export(job: Mapping[str, Any]) -> dict[str, str]:
    """The step ``heat_engine``: the same of an export in the engine that it names."""
    bundle = Bundle.load(job["folder"])
    engine = get_registries().engines.build(export_facts(bundle)["engine"])
    engine.load(bundle)
    images = engine.prepare(read_photos(bundle, job["photos"]))
    parts = [heat_maps(bundle, engine, part) for part in (images[:1], *in_batches(images[1:]))]
    np.save(job["maps"], np.concatenate(parts))
    return {}
