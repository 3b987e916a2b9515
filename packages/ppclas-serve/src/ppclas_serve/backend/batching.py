"""The queue before an engine: photos of many requests, answered together by one thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppclas_serve.backend.problems import Problem

Run = Callable[[NDArray[Any]], NDArray[np.float32]]
"""A batch [N, ...] → logits [N, C]."""


@dataclass
class _Item:
    image: NDArray[Any]
    answer: asyncio.Future[tuple[NDArray[np.float32], float]]
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Answers images in batches, in the order in which they came.

    The engine takes what is there as soon as it is free. It waits, at most ``max_delay`` seconds,
    only while photos are being read that would fill the batch: a lone request never waits.
    """

    def __init__(
        self,
        run: Run,
        *,
        max_batch: int,
        max_delay: float,
        observe: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        """Start the thread.

        Args:
            run: the engine; called from that thread alone.
            max_batch: images that it is given at a time.
            max_delay: seconds.
            observe: told the size of each batch and the seconds that it took.
        """
        self._run, self._max_batch, self._max_delay = run, max_batch, max_delay
        self._observe = observe
        self._waiting: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._coming = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="ppclas-engine", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Images that wait."""
        return len(self._waiting)

    def expect(self, count: int) -> None:
        """``count`` images are being read, or (negative) will not come."""
        with self._changed:
            self._coming += count
            if count < 0:
                self._changed.notify()

    async def answer(self, image: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
        """Logits [C] of an image that was expected, and the seconds from now until they were
        there.

        Raises:
            Problem: the model is being closed, or its engine failed.
        """
        item = _Item(image, asyncio.get_running_loop().create_future())
        with self._changed:
            self._coming -= 1
            if self._closed:
                raise Problem(503, "The model is being closed; try again.")
            self._waiting.append(item)
            self._changed.notify()
        return await item.answer

    def close(self) -> None:
        """Answer what waits, take no more, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            started = time.monotonic()
            try:
                logits = self._run(np.stack([item.image for item in batch]))
                if not np.isfinite(logits).all():
                    raise FloatingPointError("it gave a number that is not finite")
            except Exception as error:  # whatever an engine raises: these requests fail, no other
                problem = Problem(503, f"The engine failed: {' '.join(str(error).split())[:300]}")
                _deliver(batch, [problem] * len(batch))
            else:
                self._observe(len(batch), time.monotonic() - started)
                _deliver(batch, list(logits))

    def _next(self) -> list[_Item]:
        """The next batch, without what nobody waits for any more; empty when all is done."""
        with self._changed:
            while True:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return []
                until = self._waiting[0].since + self._max_delay
                while (
                    len(self._waiting) < self._max_batch
                    and self._coming > 0
                    and not self._closed
                    and (left := until - time.monotonic()) > 0
                ):
                    self._changed.wait(left)
                count = min(self._max_batch, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(count)]
                if wanted := [item for item in batch if not item.answer.cancelled()]:
                    return wanted


def _deliver(batch: list[_Item], answers: list[Any]) -> None:
    """Hand each its answer in the thread of its loop; one wake-up for each loop."""
    now = time.monotonic()
    loops: dict[asyncio.AbstractEventLoop, list[tuple[_Item, Any]]] = {}
    for item, answer in zip(batch, answers, strict=True):
        loops.setdefault(item.answer.get_loop(), []).append((item, answer))

    def settle(pairs: list[tuple[_Item, Any]]) -> None:
        for item, answer in pairs:
            if item.answer.done():  # the client has gone
                continue
            if isinstance(answer, Problem):
                item.answer.set_exception(answer)
            else:
                item.answer.set_result((answer, now - item.since))

    for loop, pairs in loops.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, pairs)
