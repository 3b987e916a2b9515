"""Score a bundle on photos: those its run was validated on, or others with the same classes."""

from __future__ import annotations

from pathlib import Path

from ppclas_core.bundle import Bundle
from ppclas_core.config.load import load_config
from ppclas_core.data.base import ImageSet
from ppclas_core.data.loader import Loader, auto_workers
from ppclas_core.data.sources import open_image_set
from ppclas_core.data.splits import open_splits
from ppclas_core.engine.console import Console
from ppclas_core.engine.evaluate import Evaluation, evaluate
from ppclas_core.engine.predictors import bundle_predictor
from ppclas_core.errors import DataError

_BATCH_SIZE = 32


def evaluation_set(
    bundle: Bundle, path: str | None, data: str | None, *, root: str | None = None, labels: str | None = None
) -> tuple[ImageSet, int]:
    """The photos to score ``bundle`` on, and the batch size: those in ``data``, else what the run at ``path`` used.

    The same batch size as in training gives the same numbers to the last digit.

    Raises:
        DataError: no photos are named, or their classes are not the bundle's.
    """
    run = _run_config(path)
    batch_size = _BATCH_SIZE
    if run is not None:
        section = load_config(str(run)).config.data
        batch_size = section.eval_batch_size or batch_size
        if data is None:
            return open_splits(section).val, batch_size
    if data is None:
        raise DataError("Which photos? This is no run folder, so name them: --data FOLDER|LIST|CSV")
    images = open_image_set(data, root=root, labels=labels, class_names=bundle.labels)
    if len(images.class_names) > len(bundle.labels):
        raise DataError(
            f"{data} has {len(images.class_names)} classes and the model {len(bundle.labels)}. "
            f"Use photos of the model's classes: {', '.join(bundle.labels[:5])}…"
        )
    return images, batch_size


def evaluate_bundle(
    bundle: Bundle, images: ImageSet, console: Console, *, batch_size: int = _BATCH_SIZE, workers: int | None = None
) -> Evaluation:
    """Run ``bundle`` over ``images`` in its own preprocessing and engine."""
    predictor = bundle_predictor(bundle)
    loader = Loader(
        images,
        bundle.pipeline(),
        batch_size,
        shuffle=False,
        workers=auto_workers("cpu") if workers is None else workers,
        on_bad=lambda bad: console.warn(f"{bad.where}: {bad.reason} (left out)"),
    )
    with loader, console.bar("evaluating", loader.batches_per_epoch) as bar:
        return evaluate(predictor, loader.epoch(0), bundle.labels, lambda _: bar.advance())


def _run_config(path: str | None) -> Path | None:
    config = Path(path) / "config.yaml" if path is not None else None
    return config if config is not None and config.is_file() else None
