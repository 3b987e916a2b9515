"""One model that answers: its preprocessing, its engine and the queue before it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.bundle import Bundle
from ppclas_core.contracts.data import Draw
from ppclas_core.contracts.export import Engine
from ppclas_core.errors import ImageError, PpclasError
from ppclas_data.decoding.decode import size_in_header
from ppclas_data.loading.pipeline import bundle_pipeline
from ppclas_deploy.benchmark import model_bytes
from ppclas_deploy.engine_choice import AUTO, fingerprint, load_engine
from ppclas_engine.console import Console

from ppclas_serve.backend.batching import Batcher
from ppclas_serve.backend.metrics import Metrics
from ppclas_serve.backend.problems import Limits, Problem, over_limit

CANDIDATE = "ppclas.candidate"
"""Key of an ASGI scope: the model that is being proven. No request from outside can set it."""


@dataclass(frozen=True)
class Photo:
    """One image of a request: the bytes of a file, or pixels."""

    name: str
    content: bytes | NDArray[np.uint8]


@dataclass(frozen=True)
class Answer:
    """Of one photo; what could not be read has ``error`` and no numbers."""

    logits: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    """[C]."""
    error: str = ""
    read_ms: float = 0.0
    answer_ms: float = 0.0
    """In the queue and the engine, in milliseconds."""


class Served:
    """A bundle in its engine, with the queue before it. Closing waits for who still uses it."""

    def __init__(
        self,
        name: str,
        version: str,
        source: Bundle,
        running: Bundle,
        engine: Engine,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        """Take ``engine`` with ``running`` loaded, which is ``source`` or an export of it."""
        self.name, self.version = name, version
        self.source, self.bundle, self.engine = source, running, engine
        self.limits = limits
        self.revision = fingerprint(source)[:12]
        self.proof = ""
        """A sentence: what its answers were compared with. Empty: not proven yet."""
        self._pipeline, self._draw = bundle_pipeline(running), Draw(np.random.default_rng(0))
        self._users, self._idle = 0, asyncio.Event()
        self._idle.set()
        self.batcher = Batcher(
            engine.logits,
            max_batch=limits.max_batch,
            max_delay=limits.max_delay_ms / 1e3,
            observe=metrics.batch_observer(name, version),
        )

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep it open; from the event loop's thread."""
        self._users += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._idle.set()

    async def close(self) -> None:
        """When nobody uses it any more, answer what waits and let go of the engine."""
        await self._idle.wait()
        await asyncio.get_running_loop().run_in_executor(None, self.batcher.close)

    def read(self, photo: Photo) -> NDArray[Any]:
        """What the engine takes of a photo; from any thread.

        Raises:
            ImageError: it cannot be read.
            Problem: it has too many pixels, or does not come to the model's size.
        """
        if isinstance(photo.content, bytes):
            height, width = size_in_header(photo.content, photo.name)
        else:
            height, width = photo.content.shape[:2]
        if self.proof and height * width > self.limits.max_pixels:
            raise over_limit(
                413,
                "max_pixels",
                self.limits.max_pixels,
                f"{photo.name} has {height} x {width} pixels; this server reads up to "
                f"{self.limits.max_pixels}. Shrink it first.",
            )
        if isinstance(photo.content, bytes):
            pixels = self._pipeline(photo.content, self._draw, photo.name)
        else:
            pixels = self._pipeline.transform(photo.content, self._draw, photo.name)
        if pixels.shape[:2] != self.bundle.image_size:
            raise ImageError(
                f"{photo.name}: the model's transforms make {pixels.shape[0]} x {pixels.shape[1]} "
                f"of it, and the model takes {' x '.join(map(str, self.bundle.image_size))}"
            )
        return self.engine.prepare(pixels[None])[0]

    async def answer(self, photos: Sequence[Photo], readers: Executor) -> list[Answer]:
        """Logits of each photo, read by ``readers``; an unreadable one has its error instead.

        Raises:
            Problem: a photo is over a limit, or the engine failed.
        """
        self.batcher.expect(len(photos))
        tasks = [asyncio.ensure_future(self._answer(photo, readers)) for photo in photos]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:  # one was over a limit, or the client has gone
                task.cancel()

    async def answer_prepared(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits [N, C] of what the engine takes [N, ...].

        Raises:
            Problem: the engine failed.
        """
        self.batcher.expect(len(images))
        found = await asyncio.gather(*(self.batcher.answer(image) for image in images))
        return np.stack([logits for logits, _ in found])

    def _try_to_read(self, photo: Photo) -> NDArray[Any] | str | Problem:
        """As ``read``; what hinders it is a value.

        An error that is handed from thread to thread keeps the photo in its traceback until the
        garbage collector comes, which counts objects and not their bytes.
        """
        try:
            return self.read(photo)
        except Problem as problem:
            return problem.with_traceback(None)
        except (PpclasError, MemoryError) as error:
            return str(error) or f"{photo.name}: not enough memory to read it"

    async def _answer(self, photo: Photo, readers: Executor) -> Answer:
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            image = await loop.run_in_executor(readers, self._try_to_read, photo)
        except BaseException:  # cancelled: the batch must not wait for it
            self.batcher.expect(-1)
            raise
        if not isinstance(image, np.ndarray):
            self.batcher.expect(-1)
            if isinstance(image, Problem):
                raise image
            return Answer(error=image)
        read = time.monotonic()
        logits, waited = await self.batcher.answer(image)
        return Answer(logits, read_ms=(read - started) * 1e3, answer_ms=waited * 1e3)

    def card(self) -> dict[str, Any]:
        """What a person wants to know about the model."""
        manifest = self.source.manifest
        architecture = manifest.architecture
        height, width = self.bundle.image_size
        return {
            "name": self.name,
            "version": self.version,
            "revision": self.revision,
            "architecture": architecture.name,
            "task": manifest.task,
            "classes": len(self.bundle.labels),
            "image_size": [height, width],
            "size_mb": round(model_bytes(self.bundle) / 1e6, 2),
            "metrics": manifest.metrics,
            "origin": f"{architecture.distribution} {architecture.version}".strip(),
            "engine": self.engine.versions(),
            "proof": self.proof,
        }


def open_served(
    name: str,
    version: str,
    source: Bundle,
    *,
    engine: str | None,
    threads: int | None,
    limits: Limits,
    metrics: Metrics,
    console: Console,
) -> Served:
    """``source`` in the engine that is asked for; ``auto``: the fastest that answers right, and an
    export's own engine. From the event loop's thread or another.

    Raises:
        PpclasError: it cannot be run here.
    """
    if engine == AUTO and source.manifest.kind == "export":
        engine = None
    running, loaded = load_engine(source, engine, threads=threads, console=console)
    return Served(name, version, source, running, loaded, limits, metrics)


def not_ready(name: str, reason: str) -> Problem:
    """A model that is not there yet, or never will be."""
    return Problem(503, f"The model {name} is not ready: {reason}")
