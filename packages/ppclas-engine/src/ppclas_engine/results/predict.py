"""Names and probabilities for files, folders, lists and globs."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count, repeat
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import Bundle
from ppclas_core.contracts.data import Draw
from ppclas_core.errors import DataError, ImageError
from ppclas_data.decoding import jpeg
from ppclas_data.decoding.web import is_address, read_photo
from ppclas_data.loading.pipeline import bundle_pipeline
from ppclas_data.sources.labels import read_lines
from ppclas_data.sources.photo_files import LeftOut, image_files, why_no_photos

from ppclas_engine.scoring.predictors import Predictor, bundle_predictor, open_engine

if TYPE_CHECKING:
    from ppclas_core.contracts.export import Engine

Item = TypeVar("Item")


@dataclass(frozen=True)
class Prediction:
    """The answer for one image; an unreadable one has ``error`` and nothing else."""

    path: str
    top: tuple[tuple[str, float], ...] = ()
    """(class name, probability in 0..1), best first."""
    error: str = ""
    labels: tuple[tuple[str, float], ...] | None = None
    """Where an image may have several labels: those whose probability reaches their threshold, best
    first."""
    damage: str = ""
    """What is wrong with the image although it was read: a part of the picture is lost."""
    picture: str = field(default="", repr=False, compare=False)
    """What a notebook shows of an image that came from memory: the ``src`` of an ``img``."""

    @property
    def label(self) -> str | None:
        """The most probable class; None where the image could not be read."""
        return self.top[0][0] if self.top else None

    @property
    def probability(self) -> float | None:
        """Of ``label``, in 0..1."""
        return self.top[0][1] if self.top else None

    def _repr_html_(self) -> str:
        from ppclas_engine.results.card import card

        return card(self.path, self.top, self.error, self.picture)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        if self.error:
            return {"path": self.path, "error": self.error}
        label, probability = self.top[0]
        damaged = {"damaged": self.damage} if self.damage else {}
        ranking = [{"label": name, "probability": value} for name, value in self.top]
        if self.labels is not None:
            said = [{"label": name, "probability": value} for name, value in self.labels]
            return {"path": self.path, "labels": said, "top": ranking, **damaged}
        answer = {"path": self.path, "label": label, "probability": probability, "top": ranking}
        return {**answer, **damaged}


class Predictions(list[Prediction]):
    """Answers in the order of the images: a list, of which a notebook shows the first ones."""

    SHOWN = 20

    def __getattr__(self, name: str) -> Any:
        # Who asked about one image expects one answer.
        hint = f": they are a list, so take [0].{name}" if hasattr(Prediction, name) else ""
        raise AttributeError(f"Predictions have no {name!r}{hint}", name=name, obj=self)

    def _repr_html_(self) -> str:
        more = f"<div>and {len(self) - self.SHOWN} more</div>" if len(self) > self.SHOWN else ""
        return "".join(one._repr_html_() for one in self[: self.SHOWN]) + more


def expand_paths(inputs: Sequence[str], notes: list[str] | None = None) -> list[str]:
    """The image files that files, folders (recursively), ``.txt`` lists (one path per line) and
    globs stand for; web addresses are left as they are.

    What a folder's photos are is said by ``walk_photos``; what is passed over goes to ``notes``.

    Raises:
        DataError: an input stands for no file at all, none of a list's photos is there, or a list
            is not UTF-8 text.
    """
    notes = [] if notes is None else notes
    return [path for given in inputs for path in _expand(given, notes)]


def _expand(given: str, notes: list[str]) -> list[str]:
    if is_address(given):
        return [given]
    path = Path(given)
    if path.is_dir():
        left_out = LeftOut()
        found = image_files(given, left_out)
        if not found:
            raise DataError(
                f"{given}: expected a folder with photos in it, at any depth; got none"
                f"{why_no_photos(given, left_out)}"
            )
        notes += left_out.notes(given)
        return found
    if path.is_file():
        if path.suffix.lower() in (".csv", ".tsv"):
            raise DataError(
                f"{given}: a table; expected photos, folders or a .txt list with a path a line. "
                f"For tables: ppclas eval -m MODEL --data {given}"
            )
        if path.suffix.lower() != ".txt":
            return [given]
        listed = [_beside(path, line) for line in read_lines(path) if line.strip()]
        if not any(Path(photo).exists() for photo in listed):
            raise DataError(
                f"{given}: expected a photo's path in each line, from the folder of the list on; "
                f"none of its {len(listed)} is there" + (f", {listed[0]} for one" if listed else "")
            )
        return listed
    # Path.glob takes no absolute patterns.
    matches = sorted(match for match in glob.glob(given, recursive=True) if Path(match).is_file())  # noqa: PTH207
    if not matches:
        raise DataError(f"No such file, folder or pattern: {given}")
    return matches


def _beside(list_file: Path, line: str) -> str:
    """The path in a line of a list: relative to the list's folder; a label after it is left out."""
    text = line.strip()
    candidate = list_file.parent / text
    if not candidate.exists():
        head = text.rsplit("\t" if "\t" in text else " ", 1)[0]
        if (list_file.parent / head).exists():
            return str(list_file.parent / head)
    return str(candidate)


def predict(
    bundle: Bundle,
    paths: Iterable[str | NDArray[np.uint8]],
    *,
    top_k: int = 5,
    batch_size: int = 32,
    threads: int = 2,
    engine: Engine | None = None,
    predictor: Predictor | None = None,
) -> Iterator[Prediction]:
    """Predictions in the order of ``paths``; an unreadable image gets one with ``error`` set.

    Args:
        bundle: what answers.
        paths: image files or web addresses of some, or RGB pixels [H, W, 3] of whole images; those
            are called "image 1" and so on.
        top_k: answers an image, clamped to the number of classes.
        batch_size: images per step.
        threads: how many images are read at a time, while the batch before them is being answered.
        engine: loaded with ``bundle``. Nothing: an export's own; a bundle's model in Paddle.
        predictor: what answers, built once for many calls; it takes what ``engine`` prepares.
    """
    if engine is None and bundle.manifest.kind == "export":
        engine = open_engine(bundle)
    # The model in Paddle takes pixels: a GPU normalises them itself.
    if predictor is None:
        predictor = bundle_predictor(bundle) if engine is None else engine.logits
    pipeline, draw = bundle_pipeline(bundle), Draw(np.random.default_rng(0))

    def read(named: tuple[str, str | NDArray[np.uint8]], batch: _Batch, row: int) -> _Read:
        """Put the image into a row of the batch. What hindered that, and what is lost of it."""
        path, image = named
        damage = ""
        try:
            if isinstance(image, str):
                data = read_photo(image)
                pixels = pipeline(data, draw, path)
                damage = jpeg.find_damage(data) if data.startswith(jpeg.SIGNATURE) else ""
            else:
                pixels = pipeline.transform(image, draw, path)
            batch.put(row, pixels if engine is None else engine.prepare(pixels[None])[0], path)
        except ImageError as error:
            return _Read(str(error))
        except OSError as error:
            return _Read(f"{path}: {error.strerror or error}")
        return _Read(damage=damage)

    def answer(paths: list[str], found: list[_Read], batch: _Batch) -> Iterator[Prediction]:
        good = [row for row, one in enumerate(found) if not one.error]
        probabilities = iter(bundle.probabilities(predictor(batch.images(good))) if good else ())
        for path, one in zip(paths, found, strict=True):
            if one.error:
                yield Prediction(path, error=one.error)
            else:
                answered = prediction_of(path, next(probabilities), bundle, top_k)
                yield replace(answered, damage=one.damage)

    # Threads: OpenCV decodes without holding the interpreter lock.
    with ThreadPoolExecutor(max(1, threads)) as pool:
        named = (
            (image if isinstance(image, str) else f"image {number}", image)
            for number, image in enumerate(paths, 1)
        )
        chunks = _chunks(named, batch_size)
        # One is answered, one is read, one may be read ahead.
        idle = [_Batch(batch_size) for _ in range(3)]
        waiting: list[tuple[list[str], Iterator[_Read], _Batch]] = []

        def read_on() -> None:
            for chunk in _take(chunks, len(idle)):
                batch = idle.pop()
                waiting.append(
                    (
                        [path for path, _ in chunk],
                        pool.map(read, chunk, repeat(batch), count()),
                        batch,
                    )
                )

        read_on()
        while waiting:
            paths_of_batch, errors, batch = waiting.pop(0)
            yield from answer(paths_of_batch, list(errors), batch)
            idle.append(batch)
            read_on()


class _Read(NamedTuple):
    """How an image was read."""

    error: str = ""
    damage: str = ""


class _Batch:
    """Where readers put their images: [size, ...]; used again, as touched memory is faster."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._array: NDArray[Any] | None = None
        self._allocating = Lock()

    def put(self, row: int, image: NDArray[Any], path: str) -> None:
        """From any thread.

        Raises:
            ImageError: the image is not of the others' shape.
        """
        with self._allocating:
            if self._array is None or (self._size == 1 and self._array.shape[1:] != image.shape):
                self._array = np.empty((self._size, *image.shape), image.dtype)
        expected = self._array.shape[1:]
        if image.shape != expected:
            raise ImageError(
                f"{path}: {_shape(image.shape)} after the bundle's transforms, where others are "
                f"{_shape(expected)}: they make no batch. Try --batch-size 1, or end the "
                "transforms with a crop of fixed size."
            )
        self._array[row] = image

    def images(self, rows: list[int]) -> NDArray[Any]:
        """Those of the rows: no copy where no row between them is left out."""
        assert self._array is not None
        return self._array[: len(rows)] if rows[-1] == len(rows) - 1 else self._array[rows]


def _shape(sizes: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in sizes)


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _take(chunks: Iterator[list[Item]], count: int) -> list[list[Item]]:
    return [chunk for _, chunk in zip(range(count), chunks, strict=False)]


def prediction_of(
    path: str, probabilities: NDArray[np.float32], bundle: Bundle, top_k: int
) -> Prediction:
    """The answer for one image, from its probabilities [C] in the order of the bundle's labels."""
    top = _top(probabilities, bundle.labels, top_k)
    if bundle.manifest.task == "classification":
        return Prediction(path, top)
    limits = dict(zip(bundle.labels, bundle.thresholds, strict=True))
    ranking = _top(probabilities, bundle.labels, len(bundle.labels))
    return Prediction(
        path, top, labels=tuple((name, value) for name, value in ranking if value >= limits[name])
    )


def _top(
    probabilities: NDArray[np.float32], labels: Sequence[str], top_k: int
) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-probabilities, kind="stable")[: min(top_k, len(labels))]
    return tuple((labels[i], float(probabilities[i])) for i in order)
