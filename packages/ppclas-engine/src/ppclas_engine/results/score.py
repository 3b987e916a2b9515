"""Score a bundle on photos: those its run was validated on, or others with the same classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import MANIFEST, Bundle
from ppclas_core.component import build_component
from ppclas_core.config.load import load_config
from ppclas_core.contracts.data import ImageSet
from ppclas_core.contracts.training import Metric
from ppclas_core.errors import DataError
from ppclas_core.plugins import get_registries
from ppclas_data.loading.loader import BadImage, Batch, Loader, auto_workers
from ppclas_data.loading.pipeline import bundle_pipeline
from ppclas_data.sources.labels import are_ids, with_class_order
from ppclas_data.sources.opening import open_image_set
from ppclas_data.sources.splits import open_splits

from ppclas_engine.console import Console
from ppclas_engine.scoring.evaluate import Evaluation, evaluate
from ppclas_engine.scoring.predictors import Predictor, bundle_predictor

MAX_BAD_FRACTION = 0.01
"""Share of the photos that may be unreadable."""


@dataclass(frozen=True)
class Scoring:
    """What to score a bundle on, and how."""

    images: ImageSet
    batch_size: int = 32
    metrics: tuple[Metric, ...] = ()
    """Beside the ones always given."""


def plan_scoring(
    bundle: Bundle,
    path: str | None,
    data: str | None,
    *,
    root: str | None = None,
    labels: str | None = None,
) -> Scoring:
    """Score ``bundle`` on the photos in ``data``, or else on those that the run at ``path`` was
    validated on.

    The batch size and metrics of a run are used again: the numbers are then those of its training
    to the last digit.

    Raises:
        DataError: no photos are named, or their classes are not the bundle's.
    """
    run = _run_config(path)
    scoring = Scoring(ImageSet((), bundle.labels, ""))
    if run is not None:
        config = load_config(str(run)).config
        registry = get_registries().metrics
        scoring = replace(
            scoring,
            batch_size=config.data.eval_batch_size or scoring.batch_size,
            metrics=tuple(build_component(registry, metric) for metric in config.metrics),
        )
        if data is None:
            # The classes of an older run may be in another order than they are read in now.
            images = with_class_order(open_splits(config.data).val, bundle.labels)
            return replace(scoring, images=images)
    if data is None:
        raise DataError("Which photos? This is no run folder, so name them: --data FOLDER|LIST|CSV")
    images = open_image_set(
        data,
        root=root,
        labels=labels,
        class_names=_settled_names(bundle, data),
        task=bundle.manifest.task,
    )
    if are_ids(images.class_names) and len(images.class_names) == len(bundle.labels):
        images = replace(images, class_names=bundle.labels)
    if len(images.class_names) > len(bundle.labels):
        raise DataError(
            f"{data} has {len(images.class_names)} classes and the model {len(bundle.labels)}. "
            f"Use photos of the model's classes: {', '.join(bundle.labels[:5])}…"
        )
    return replace(scoring, images=images)


def _settled_names(bundle: Bundle, data: str) -> tuple[str, ...]:
    """The class names that the photos must have: ids of published weights, which call their classes
    as they like, for photos that use other words (synsets, a list of labels).
    """
    published = not (bundle.folder / MANIFEST).is_file()
    if published and not any((Path(data) / name).is_dir() for name in bundle.labels):
        return tuple(str(label) for label in range(len(bundle.labels)))
    return bundle.labels


def evaluate_bundle(
    bundle: Bundle, scoring: Scoring, console: Console, *, workers: int | None = None
) -> Evaluation:
    """Run ``bundle`` in its own preprocessing and engine."""
    predictor = bundle_predictor(bundle)
    loader = scoring_loader(
        bundle,
        scoring,
        auto_workers("cpu") if workers is None else workers,
        on_bad=lambda bad: console.warn(f"{bad.where}: {bad.reason} (left out)"),
    )
    with loader, console.bar("evaluating", loader.batches_per_epoch) as bar:
        return score_batches(bundle, scoring, predictor, loader.epoch(0), lambda _: bar.advance())


def scoring_loader(
    bundle: Bundle,
    scoring: Scoring,
    workers: int,
    on_bad: Callable[[BadImage], None],
    part: Callable[[list[NDArray[np.int64]]], list[NDArray[np.int64]]] | None = None,
) -> Loader:
    """Reads the photos of ``scoring`` in the preprocessing of ``bundle``; ``part`` is this
    process's share of the batches.
    """
    return Loader(
        scoring.images,
        bundle_pipeline(bundle),
        scoring.batch_size,
        shuffle=False,
        workers=workers,
        max_bad_fraction=MAX_BAD_FRACTION,
        on_bad=on_bad,
        part=part,
    )


def score_batches(
    bundle: Bundle,
    scoring: Scoring,
    predictor: Predictor,
    batches: Iterable[Batch],
    on_batch: Callable[[int], None],
) -> Evaluation:
    """The metrics of ``scoring`` for what ``predictor`` says of ``batches``."""
    thresholds = bundle.thresholds if bundle.manifest.task == "multilabel" else None
    return evaluate(
        predictor, batches, bundle.labels, on_batch, scoring.metrics, thresholds=thresholds
    )


def report_scoring(
    folder: Path, bundle: Bundle, evaluation: Evaluation, scoring: Scoring, name: str, command: str
) -> None:
    """Write the tables, pictures and ``report.html`` of an evaluation into ``folder``.

    ``name`` is what the user called the bundle, ``command`` the shell line.

    Raises:
        DataError: the folder cannot be written.
    """
    # Pictures need matplotlib, which takes its time to import.
    from ppclas_engine.results.report import bundle_page, write_report
    from ppclas_engine.results.tables import read_tables, write_tables

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_tables(folder, evaluation, scoring.images)
        tables = read_tables(folder)
        assert tables is not None
        write_report(
            folder,
            bundle_page(bundle, evaluation, scoring.images, name, command),
            tables,
            scoring.images,
        )
    except OSError as error:
        raise DataError(
            f"The report cannot be written to {error.filename or folder} ({error.strerror}). "
            "Choose another --report."
        ) from error


def _run_config(path: str | None) -> Path | None:
    config = Path(path) / "config.yaml" if path is not None else None
    return config if config is not None and config.is_file() else None
