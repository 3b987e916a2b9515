"""Heat maps: where in a photo the evidence for an answer is. ppclas-search draws them, and may be
missing.
"""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import PpclasError

from ppclas_serve.backend.problems import Problem
from ppclas_serve.backend.served import Photo, Served

_MOST_WAITING = 4


def available() -> bool:
    """Whether heat maps can be drawn here."""
    return importlib.util.find_spec("ppclas_search") is not None


class HeatMaps:
    """Draws them one at a time: each takes the engine some sixty photos, unless the export has
    its own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "ppclas-heat")
        self._waiting = 0

    async def draw(self, served: Served, photo: Photo, label: str | None) -> bytes:
        """A PNG of what the model sees of the photo, red where covering it makes ``label`` (None:
        the most probable class) less likely.

        Raises:
            Problem: heat maps are not installed, too many wait, the photo cannot be read, or the
                model has no such class.
        """
        if not available():
            raise Problem(404, 'No heat maps here. Install "ppclas-serve[explain]" on the server.')
        if self._waiting >= _MOST_WAITING:
            raise Problem(429, f"{self._waiting} heat maps are being drawn already; try again.")
        stopped, loop = threading.Event(), asyncio.get_running_loop()

        def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            # In parts, so that other requests come in between.
            size, found = served.limits.max_batch, []
            for start in range(0, len(images), size):
                if stopped.is_set():
                    raise Problem(503, "Nobody waits for it any more.")
                prepared = served.engine.prepare(images[start : start + size])
                answer = asyncio.run_coroutine_threadsafe(served.answer_prepared(prepared), loop)
                found.append(answer.result(2 * served.limits.timeout))
            return np.concatenate(found)

        self._waiting += 1
        try:
            with served.in_use():
                drawn = await loop.run_in_executor(
                    self._thread, _try_to_draw, served, photo, label, predict
                )
        finally:
            stopped.set()
            self._waiting -= 1
        if isinstance(drawn, Problem):
            raise drawn
        return drawn


def _try_to_draw(served: Served, photo: Photo, label: str | None, predict: Any) -> bytes | Problem:
    """What hinders it is a value, as in ``Served``: a traceback would keep the photo."""
    try:
        return _draw(served, photo, label, predict)
    except Problem as problem:
        return problem.with_traceback(None)
    except (PpclasError, MemoryError) as error:
        return Problem(422, str(error) or f"{photo.name}: not enough memory to read it")
    except FutureTimeout:
        return Problem(503, "The engine is too busy for a heat map; try again.")


def _draw(served: Served, photo: Photo, label: str | None, predict: Any) -> bytes:
    from ppclas_search.heat.maps import as_large, occlusion
    from ppclas_search.heat.pictures import encode_picture, overlay

    pixels = served.pixels(photo)
    chances = served.bundle.probabilities(predict(pixels[None]))[0]
    # Several classes may have one name: ImageNet has two called crane.
    named = [index for index, name in enumerate(served.bundle.labels) if label in (None, name)]
    of_class = max(named, key=lambda index: chances[index])
    facts, engine = served.bundle.manifest.export or {}, served.engine
    if facts.get("heatmap") and of_class == int(chances.argmax()) and hasattr(engine, "heat_maps"):
        # One answer in the place of some sixty.
        (heat,) = as_large(engine.heat_maps(engine.prepare(pixels[None])), pixels[None])
    else:
        (heat,) = occlusion(predict, pixels[None], [of_class])
    return encode_picture(overlay(pixels, heat))
