"""The reader of our own: worker processes, or this process alone."""

from __future__ import annotations

import pickle
import queue
import signal
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator

from ppclas_core.contracts.readers import BatchReader, OpenReader, Reader, Request, Samples
from ppclas_core.errors import ConfigError, TrainingError

from ppclas_data.loading.worker import Answer, WorkerProcess

_AHEAD = 2
"""Batches under way for each worker."""
_FINISHED = 4
"""Further batches, for each worker, that may be done while an earlier one is not: a photo that
takes long to come does not fill the memory with what is behind it."""


class Workers(BatchReader):
    """Fresh worker processes, or this process alone; see ``ppclas_data.loading.worker``."""

    def open(self, plain: Reader, workers: int, note: Callable[[str], None]) -> OpenReader:
        if not workers:
            return _InThisProcess(plain)
        return _WorkerPool(_packed(plain), workers)


class _InThisProcess(OpenReader):
    def __init__(self, plain: Reader) -> None:
        self._plain = plain

    def read(self, requests: Iterable[Request]) -> Iterator[Samples]:
        for request in requests:
            yield self._plain.read(*request)


class _WorkerPool(OpenReader):
    def __init__(self, packed: bytes, workers: int) -> None:
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._next_ticket = 0
        self._latest: dict[int, Samples] = {}
        """What has come for the epoch that was begun last."""
        self._workers: list[WorkerProcess] = []
        self._finalizer = weakref.finalize(self, _kill_all, self._workers)
        for number in range(workers):
            try:
                self._workers.append(WorkerProcess(number, packed, self._answers))
            except (OSError, RuntimeError) as error:
                # A container's limit on processes, of which threads are some.
                self.close()
                raise TrainingError(
                    f"loader worker {number + 1} of {workers} cannot be started: {error}; use "
                    "fewer (data.workers), or 0, or raise the limit on processes or open files"
                ) from error
        self.pids = tuple(worker.pid for worker in self._workers)

    def read(self, requests: Iterable[Request]) -> Iterator[Samples]:
        if not self._finalizer.alive:
            raise TrainingError("expected an open loader, got one that was closed; make a new one")
        coming = enumerate(requests)
        following = next(coming, None)
        places: dict[
            int, int
        ] = {}  # ticket → place; answers to an abandoned epoch have none and are dropped
        ready: dict[int, Samples] = {}
        self._latest = ready
        place = 0
        at_once = (_AHEAD + _FINISHED) * len(self._workers)
        while following is not None or places or ready:
            while (
                following is not None
                and following[0] < place + at_once
                and (worker := self._free_worker()) is not None
            ):
                places[self._next_ticket] = following[0]
                worker.send(self._next_ticket, following[1])
                self._next_ticket += 1
                following = next(coming, None)
            if place in ready:
                yield ready.pop(place)
                place += 1
                continue
            if self._latest is not ready:
                raise TrainingError(
                    "expected one epoch at a time, got one that was gone on with after another "
                    "was begun, which takes the workers' answers; make a loader for each"
                )
            answer = self._receive()
            if answer.ticket in places:
                if answer.error is not None:
                    raise answer.error
                assert answer.samples is not None  # neither an error nor a death
                ready[places.pop(answer.ticket)] = answer.samples

    def close(self) -> None:
        self._finalizer()

    def _free_worker(self) -> WorkerProcess | None:
        """The least busy worker; None where all have enough to do."""
        worker = min(self._workers, key=lambda worker: len(worker.open_tickets))
        return worker if len(worker.open_tickets) < _AHEAD else None

    def _receive(self) -> Answer:
        answer = self._answers.get()
        if answer.exit_code is not None:
            self.close()
            raise TrainingError(f"a loader worker {_how_it_ended(answer.exit_code)}")
        if answer.ticket is None:
            self.close()
            assert answer.error is not None  # neither samples nor a death
            raise answer.error
        self._workers[answer.worker].open_tickets.discard(answer.ticket)
        return answer


def _packed(plain: Reader) -> bytes:
    """The reader as every worker is sent it.

    Raises:
        ConfigError: a transform, or what holds the images, cannot be made again in another process.
    """
    for transform in plain.transforms:
        if type(transform).__module__ == "__main__":
            script = getattr(sys.modules["__main__"], "__file__", "the notebook")
            raise ConfigError(
                f"transform {type(transform).__name__} is defined in {script}, which worker "
                "processes do not run; move it to a module of its own, or use 0 workers"
            )
    try:
        return pickle.dumps(plain)
    except Exception as error:  # whatever a stranger's class raises
        raise ConfigError(
            f"a transform or the image set cannot be sent to worker processes: {error}; define its "
            "class at the top of a module, or use 0 workers"
        ) from error


def _kill_all(workers: list[WorkerProcess]) -> None:
    for worker in workers:
        worker.kill()


def _how_it_ended(exit_code: int) -> str:
    advice = "use fewer workers, or 0 (data.workers) to see what happens"
    if exit_code < 0:
        name = (
            signal.Signals(-exit_code).name
            if -exit_code in set(signal.Signals)
            else str(-exit_code)
        )
        cause = (
            "; the system ends processes this way when memory runs out" if name == "SIGKILL" else ""
        )
        return f"was ended by the signal {name}{cause}: {advice}"
    return f"ended with exit code {exit_code} (its own message is above): {advice}"
