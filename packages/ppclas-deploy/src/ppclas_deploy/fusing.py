"""Networks that train as several branches, as the one convolution each that they come to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import WEIGHTS, Bundle, versions, write_bundle
from ppclas_core.errors import BundleError, ExportError, ParityError
from ppclas_core.paddle_runtime import require_paddle
from ppclas_data.loading.device import normalize_on_device

from ppclas_deploy.answers import exact_predictor, read_photos
from ppclas_deploy.photos import choose_photos
from ppclas_deploy.timing import Latency, measure

if TYPE_CHECKING:
    from ppclas_core.contracts.image_model import ImageModel

TOLERANCE = 1e-5
"""Difference of the logits in double precision, over their root mean square, that is accepted."""
_PHOTOS = 8


@dataclass(frozen=True)
class Size:
    """What a network costs on this machine."""

    parameters: int
    bytes: int
    """Of the file of weights."""
    latency: Latency
    """In Paddle, of one image."""


@dataclass(frozen=True)
class Fused:
    """What fusing came to."""

    bundle: Bundle
    before: Size
    after: Size
    difference: float
    """Largest difference of the logits of photos, over their root mean square, in double
    precision; ``difference_float32``: of the networks as they are used."""
    difference_float32: float

    @property
    def speedup(self) -> float:
        """Median latency before over that after."""
        return self.before.latency.milliseconds(50) / self.after.latency.milliseconds(50)


def has_branches(model: ImageModel) -> bool:
    """Whether ``model`` has branches that ``fuse()`` would replace: its config says ``fused:
    False``.
    """
    return getattr(model.config, "fused", None) is False


def fuse(model: ImageModel) -> ImageModel:
    """``model`` with its branches fused, in place; as it is, where it has none."""
    if has_branches(model):
        fusible: Any = model
        fusible.fuse()
    return model


def fuse_bundle(bundle: Bundle, folder: Path, *, seconds: float = 1.0) -> Fused:
    """Write ``bundle`` with its network fused to ``folder``, which must not exist yet.

    It is written only if it gives the same logits for photos: the run's, or the built-in ones.
    ``seconds`` is how long each network is timed.

    Raises:
        BundleError: an export, or a network that is fused already.
        ExportError: the network has no branches, or ``folder`` is there.
        ParityError: the fused network gives other logits.
    """
    require_paddle("fusing")
    if bundle.manifest.kind == "export":
        raise BundleError(
            f"{bundle.folder} is an export: what has branches was fused as it was made. Give the "
            "run or the bundle that it was made from."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExportError(f"{folder} is there already. Choose another folder with -o.")
    model = bundle.build_model()
    name = bundle.manifest.architecture.name
    if not has_branches(model):
        raise ExportError(_nothing_to_fuse(name, getattr(model.config, "fused", False)))
    photos = choose_photos(bundle, None, _PHOTOS)
    pixels = read_photos(bundle, [str(path) for path in photos.paths])
    exact = bundle.build_model()
    predict = exact_predictor(exact, bundle.manifest.preprocessing.normalize)
    logits = predict(pixels)
    fuse(exact)
    difference = _difference(predict(pixels), logits)
    if not difference <= TOLERANCE:
        raise ParityError(
            f"{name} gives other logits once it is fused: they differ by {difference:.2g} of their "
            f"size, {TOLERANCE:g} is allowed. That is a mistake of the package that brings it."
        )
    architecture = bundle.manifest.architecture
    manifest = bundle.manifest.replace(
        architecture=architecture.replace(params={**architecture.params, "fused": True}),
        versions=versions(),
        files={},
    )
    state = {
        key: np.asarray(value.numpy(), np.float32 if value.is_floating_point() else None)
        for key, value in exact.state_dict().items()
    }
    written = write_bundle(folder, manifest, state)
    return _compared(bundle, written, model, written.build_model(), pixels, difference, seconds)


def _compared(
    bundle: Bundle,
    written: Bundle,
    model: ImageModel,
    fused: ImageModel,
    pixels: NDArray[Any],
    difference: float,
    seconds: float,
) -> Fused:
    import paddle

    images = normalize_on_device(pixels, bundle.manifest.preprocessing.normalize)
    with paddle.no_grad():
        rounded = _difference(fused(images).numpy(), model(images).numpy())
        one = images[:1]
        latency = measure(
            {"before": lambda: model(one).numpy(), "after": lambda: fused(one).numpy()},
            1,
            seconds=seconds,
        )
    files = {"before": bundle.weights_file, "after": written.folder / WEIGHTS}
    before, after = (
        Size(
            sum(int(parameter.size) for _, parameter in network.trainable()),
            files[key].stat().st_size,
            latency[key],
        )
        for key, network in (("before", model), ("after", fused))
    )
    return Fused(written, before, after, difference, rounded)


def _difference(logits: NDArray[Any], expected: NDArray[Any]) -> float:
    scale = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64))))
    return float(np.abs(logits - expected).max()) / max(scale, 1e-12)


def _nothing_to_fuse(name: str, fused: bool) -> str:
    if fused:
        return f"{name} is fused already."
    return (
        f"{name} has no branches to fuse; RepVGG, MobileOne, FastViT and PP-LCNetV2 have. What "
        "every network has, batch norms after convolutions, the engines of an export fold."
    )
