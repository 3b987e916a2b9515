"""Pooled features of photos: what the classifier of a model sees."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.data import ImageSet
from ppclas_core.errors import BundleError, DataError, MissingDependencyError
from ppclas_core.normalize import normalize_on_device
from ppclas_data.loading.loader import Batch, Loader, auto_workers
from ppclas_data.loading.pipeline import bundle_pipeline

from ppclas_search.writing import write_bytes

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle
    from ppclas_core.contracts.image_model import ImageModel
    from ppclas_engine.console import Console

UNKNOWN = -1
"""The label of a photo whose class nobody said."""
_TEMPERATURE = 0.07


@dataclass(frozen=True)
class Features:
    """Features of N photos."""

    names: tuple[str, ...]
    """Path of each photo, and name inside an archive."""
    labels: NDArray[np.int64]
    """[N] class indices; ``UNKNOWN`` where nobody said them."""
    class_names: tuple[str, ...]
    values: NDArray[np.float32]
    """[N, D], as the classifier takes them."""

    def __len__(self) -> int:
        return len(self.names)


def extract_features(
    bundle: Bundle,
    images: ImageSet,
    console: Console,
    *,
    batch_size: int = 32,
    workers: int | None = None,
) -> Features:
    """Features of every readable photo, in the order of ``images``.

    Raises:
        BundleError: ``bundle`` is an export: those give answers, and no features.
        DataError: not one photo could be read.
    """
    if bundle.manifest.kind == "export":
        raise BundleError(
            f"{bundle.folder} is an export, which gives answers and no features. Give the run or "
            "bundle that it was made from."
        )
    model = bundle.build_model()
    loader = Loader(
        images,
        bundle_pipeline(bundle),
        batch_size,
        workers=auto_workers("cpu") if workers is None else workers,
        max_bad_fraction=1.0,
        on_bad=lambda bad: console.warn(f"{bad.where}: {bad.reason} (left out)"),
    )
    values, labels, places = [], [], []
    with loader, console.bar("features", loader.batches_per_epoch) as bar:
        for batch, found in _pooled(model, bundle, loader.epoch(0)):
            values.append(found)
            labels.append(batch.labels)
            places.append(batch.indices)
            bar.advance()
    if not values:
        raise DataError(f"{images.origin}: not one photo could be read. Run 'ppclas data check'.")
    order = np.argsort(np.concatenate(places), kind="stable")
    read = np.concatenate(places)[order]
    return Features(
        tuple(images.records[place].name for place in read.tolist()),
        np.concatenate(labels)[order].astype(np.int64),
        images.class_names,
        np.concatenate(values)[order],
    )


def _pooled(
    model: ImageModel, bundle: Bundle, batches: Iterator[Batch]
) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
    import paddle

    normalize = bundle.manifest.preprocessing.normalize
    for batch in batches:
        with paddle.no_grad():
            maps = model.forward_features(normalize_on_device(batch.images, normalize))
            pooled = model.forward_head(maps, pre_logits=True)
        yield batch, pooled.numpy().reshape(len(batch.labels), -1)


def check_suffix(path: Path) -> None:
    """Need a name that ``save_features`` can write.

    Raises:
        DataError: it ends in neither ``.npz`` nor ``.parquet``.
        MissingDependencyError: pyarrow is not installed, which Parquet needs.
    """
    if path.suffix not in (".npz", ".parquet"):
        raise DataError(f"{path}: expected a name that ends in .npz or .parquet")
    if path.suffix == ".parquet":
        _pyarrow()


def save_features(features: Features, path: Path) -> None:
    """Write ``path``: ``.npz``, or ``.parquet`` (a row for each photo).

    Raises:
        DataError: the name ends in neither.
        MissingDependencyError: pyarrow is not installed, which Parquet needs.
    """
    check_suffix(path)
    if path.suffix == ".npz":
        content = io.BytesIO()
        np.savez_compressed(
            content,
            names=np.array(features.names),
            labels=features.labels,
            class_names=np.array(features.class_names),
            values=features.values,
        )
        write_bytes(path, content.getvalue())
    else:
        pyarrow, parquet = _pyarrow()
        known = [None if n == UNKNOWN else features.class_names[n] for n in features.labels]
        table = pyarrow.table(
            {"name": list(features.names), "label": known, "features": list(features.values)}
        )
        sink = pyarrow.BufferOutputStream()
        parquet.write_table(table, sink)
        write_bytes(path, sink.getvalue().to_pybytes())


def load_features(path: Path) -> Features:
    """Read what ``save_features`` wrote.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    try:
        if path.suffix == ".parquet":
            return _from_table(_pyarrow()[1].read_table(path))
        with np.load(path, allow_pickle=False) as arrays:
            return Features(
                tuple(arrays["names"].tolist()),
                arrays["labels"],
                tuple(arrays["class_names"].tolist()),
                arrays["values"],
            )
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path}: expected features of 'ppclas features' (.npz or .parquet), got something "
            f"else ({error})"
        ) from error


def _from_table(table: Any) -> Features:
    columns = table.to_pydict()
    names = sorted({label for label in columns["label"] if label is not None})
    places = {name: place for place, name in enumerate(names)}
    return Features(
        tuple(columns["name"]),
        np.array([places.get(label, UNKNOWN) for label in columns["label"]], np.int64),
        tuple(names),
        np.array(columns["features"], np.float32),
    )


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependencyError(
            "Parquet needs pyarrow: pip install 'ppclas-search[parquet]', or write .npz"
        ) from error
    return pyarrow, parquet


def nearest(
    asked: NDArray[np.float32],
    known: NDArray[np.float32],
    count: int,
    *,
    index: str = "numpy",
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The ``count`` rows of ``known`` [M, D] most like each row of ``asked`` [N, D].

    By cosine, and exact: every row is compared with every other. ``index`` is ``numpy`` or
    ``faiss`` (faster where there are many).

    Returns:
        Places [N, count] and cosines [N, count], the nearest first; where there are fewer rows, so
        many.
    """
    count = min(count, len(known))
    queries, rows = _unit(asked), _unit(known)
    if index == "faiss":
        return _nearest_by_faiss(queries, rows, count)
    places = np.empty((len(queries), count), np.int64)
    cosines = np.empty((len(queries), count), np.float32)
    for start in range(0, len(queries), 1024):
        part = slice(start, start + 1024)
        alike = queries[part] @ rows.T
        # A stable order: of rows that are as near the earlier one comes first.
        order = np.argsort(-alike, axis=1, kind="stable")[:, :count]
        places[part], cosines[part] = order, np.take_along_axis(alike, order, axis=1)
    return places, cosines


def _nearest_by_faiss(
    queries: NDArray[np.float32], rows: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError(
            "faiss is not installed: pip install 'ppclas-search[faiss]', or use --index numpy"
        ) from error
    flat = faiss.IndexFlatIP(rows.shape[1])
    flat.add(rows)
    cosines, places = flat.search(queries, count)
    return places, cosines


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.ascontiguousarray(values / np.where(lengths > 0, lengths, 1.0), np.float32)


def vote(features: NDArray[np.float32], known: Features, count: int) -> NDArray[np.float32]:
    """Probabilities [N, C]: the ``count`` nearest known photos vote, nearer ones with more weight.

    A vote weighs ``exp(cosine / 0.07)``, as in Wu et al. 2018, section 3.4,
    https://arxiv.org/abs/1805.01978.
    """
    places, cosines = nearest(features, known.values, count)
    weights = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / _TEMPERATURE)
    votes = np.zeros((len(features), len(known.class_names)), np.float32)
    for column in range(places.shape[1]):
        of_class = known.labels[places[:, column]]
        votes[np.arange(len(votes)), of_class] += weights[:, column]
    return votes / votes.sum(axis=1, keepdims=True)


def labelled_names(features: Features, places: Sequence[int]) -> list[str]:
    """Class names of the photos at ``places``; empty where unknown."""
    return [
        "" if features.labels[place] == UNKNOWN else features.class_names[features.labels[place]]
        for place in places
    ]
