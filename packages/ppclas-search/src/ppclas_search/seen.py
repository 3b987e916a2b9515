"""Photos as a model sees them: through the preprocessing of its bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import Bundle
from ppclas_core.contracts.data import Draw
from ppclas_core.errors import ImageError
from ppclas_data.decoding.web import read_file
from ppclas_data.loading.pipeline import Pipeline, bundle_pipeline


@dataclass(frozen=True)
class Seen:
    """One photo; ``pixels`` is None and ``error`` says why where it could not be read."""

    path: str
    pixels: NDArray[np.uint8] | None
    """[H, W, 3] RGB."""
    error: str = ""


def see(bundle: Bundle, paths: Sequence[str], *, threads: int = 2) -> Iterator[Seen]:
    """Each photo in the order of ``paths``; several are read at a time."""
    pipeline = bundle_pipeline(bundle)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        yield from pool.map(lambda path: _see(pipeline, path), paths)


def _see(pipeline: Pipeline, path: str) -> Seen:
    try:
        data = read_file(path)
        return Seen(path, pipeline(data, Draw(np.random.default_rng(0)), path))
    except ImageError as error:
        return Seen(path, None, str(error))
    except OSError as error:
        return Seen(path, None, f"{path}: {error.strerror or error}")
