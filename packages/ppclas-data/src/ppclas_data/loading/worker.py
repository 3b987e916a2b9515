"""The processes that read images for the loader, and the parent's end of the line to one.

A worker is a fresh interpreter that is told what to import, so it never runs the user's script
again (no ``if __name__ == "__main__"`` needed), never imports Paddle and inherits no lock or
thread. Batches come back through a pipe: no shared memory to run out of or to leave behind, for a
copy of about 0.1 ms per image of 224 x 224.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.data import ImageSet, Record, SampleDraws, Transform
from ppclas_core.contracts.readers import BadImage, Request, Samples
from ppclas_core.errors import ConfigError, ImageError, PpclasError, ShapeError, TrainingError

from ppclas_data.loading.pipeline import Pipeline

_START = """
import pickle, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
sys.path[:] = pickle.load(sys.stdin.buffer)
from ppclas_data.loading.worker import main
main()
"""
_PIPE_BYTES = 1 << 20


@dataclass(frozen=True)
class PipelineReader:
    """Read batches: the one definition, for workers and for reading in the training process."""

    image_set: ImageSet
    """Its records are not looked at: a task brings its own, so that a worker need not hold a
    million of them."""
    pipeline: Pipeline
    seed: int
    epochs: int
    repeat_draws_after: int | None = None
    """Epochs after which the random draws come again. None: never."""

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """What is done to each decoded image, in order."""
        return self.pipeline.transforms

    def read(
        self,
        epoch: int,
        indices: Sequence[int],
        records: tuple[Record, ...],
        earlier: Sequence[int] | None = None,
    ) -> Samples:
        images: NDArray[Any] | None = None
        kept: list[int] = []
        bad = []
        draws = SampleDraws(self.seed, self.epochs, self.repeat_draws_after)
        batch = replace(self.image_set, records=records)
        for place, (index, record) in enumerate(zip(indices, records, strict=True)):
            draw = draws(epoch, index, earlier[place] if earlier is not None else 0)
            try:
                row = None if images is None else images[len(kept)]
                image = self.pipeline(batch.read(place), draw, record.where, row)
            except (ImageError, OSError) as error:
                bad.append(BadImage.of(index, record, error))
                continue
            if images is None:
                images = np.empty((len(records), *image.shape), image.dtype)
            if image.shape != images.shape[1:]:
                raise ShapeError(
                    f"{record.where}: expected every image of a batch to have one shape, got "
                    f"{list(image.shape)} after {list(images.shape[1:])}; end the transforms with "
                    "Resize (size) or CenterCrop"
                )
            if image.dtype != images.dtype:
                raise ShapeError(
                    f"{record.where}: expected every image of a batch to be of one dtype, got "
                    f"{image.dtype} after {images.dtype}; a transform that normalises has to do so "
                    "with each"
                )
            if image is not row:
                images[len(kept)] = image  # now, while it is in the processor's cache
            kept.append(index)
        if images is None:
            images = np.empty((0, 0, 0, 0), np.uint8)
        return Samples(images[: len(kept)], np.array(kept, np.int64), tuple(bad))


def _import_path() -> list[str]:
    """This process's, with the current folder last: a ``random.py`` there is no module of ours."""
    here = ("", ".", os.getcwd())  # noqa: PTH109 - as sys.path has it
    return sorted(sys.path, key=lambda folder: folder in here)


@dataclass(frozen=True)
class Answer:
    """What a worker process said: samples, an error of reading, or that the process is gone."""

    worker: int
    ticket: int | None
    """Of the task. None: there will be no answer to any."""
    samples: Samples | None = None
    error: PpclasError | None = None
    exit_code: int | None = None


class WorkerProcess:
    """The parent's end of one worker: ``send`` tasks; a thread fills ``answers``."""

    def __init__(self, number: int, packed: bytes, answers: queue.SimpleQueue[Answer]) -> None:
        """``packed`` is a pickled ``PipelineReader``."""
        self.number = number
        self.open_tickets: set[int] = set()
        # Python 3.10 knows no safe path: there the current folder stays first.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
        with _interrupts_held_back():
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._tasks, results = self._process.stdin, self._process.stdout
        _widen(self._tasks)
        _widen(results)
        # The reader goes as bytes within the message: one that does not load leaves the line in
        # order.
        self._write(pickle.dumps(_import_path()) + pickle.dumps(packed))
        self._thread = threading.Thread(target=self._listen, args=(results, answers), daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, ticket: int, request: Request) -> None:
        """Ask for a batch; its answer carries ``ticket``."""
        self.open_tickets.add(ticket)
        self._write(pickle.dumps((ticket, *request)))

    def kill(self) -> None:
        """End the process at once: it holds nothing that could be lost."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):  # of the tasks that were still buffered
            self._tasks.close()
        self._thread.join()

    def _write(self, data: bytes) -> None:
        # Where the process is gone, the listening thread reports that, with its exit code.
        with contextlib.suppress(OSError):
            self._tasks.write(data)
            self._tasks.flush()

    def _listen(self, results: IO[bytes], answers: queue.SimpleQueue[Answer]) -> None:
        try:
            with results:
                while True:
                    ticket, samples, shape, dtype, error = pickle.load(results)
                    if error is not None:
                        answers.put(Answer(self.number, ticket, error=_rebuilt(*error)))
                        continue
                    images = np.empty(shape, dtype)
                    _read_into(results, images)
                    answers.put(Answer(self.number, ticket, replace(samples, images=images)))
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            answers.put(Answer(self.number, None, exit_code=self._process.wait()))
        # Mostly no memory for the batch. Whatever it is: without an answer the loader would wait
        # for ever.
        except Exception as error:
            failure = TrainingError(
                f"a batch of a loader worker cannot be taken: {type(error).__name__}: {error}; use "
                "smaller batches (data.batch_size) or fewer workers"
            )
            answers.put(Answer(self.number, None, error=failure))


class WorkerTracebackError(Exception):
    """Where an error happened inside a worker; the cause of the error in the training process."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def main() -> None:
    """Answer tasks until the parent closes the line. The program of a worker process."""
    import cv2

    cv2.setNumThreads(0)
    tasks = sys.stdin.buffer
    # What a transform prints must not get in between the answers.
    results = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        packed = pickle.load(tasks)
        try:
            reader: PipelineReader = pickle.loads(packed)
        except Exception as error:  # a transform whose module does not import here
            failure: Exception = ConfigError(
                f"a loader worker cannot import a transform: {error}; define it in a module that "
                "can be imported, or use 0 workers"
            )
            while True:
                ticket, *_ = pickle.load(tasks)
                _answer(results, ticket, None, failure)
        while True:
            ticket, *task = pickle.load(tasks)
            try:
                samples = reader.read(*task)
            except Exception as error:  # whatever a stranger's transform or image set raises
                _answer(results, ticket, None, error)
            else:
                _answer(results, ticket, samples, None)
    except (EOFError, BrokenPipeError):
        # The parent closed the line, or is gone. Nothing to clean up; skip the flush of a broken
        # pipe.
        os._exit(0)


def _answer(
    results: IO[bytes], ticket: int, samples: Samples | None, error: Exception | None
) -> None:
    if samples is None:
        assert error is not None
        # Of a plugin's error the one of ours that it derives from: its own need not be made from a
        # message alone.
        kind = next(
            (base for base in type(error).__mro__ if base.__module__ == PpclasError.__module__),
            None,
        )
        said = (
            kind or type(error).__name__,
            str(error),
            "".join(traceback.format_exception(error)),
        )
        results.write(pickle.dumps((ticket, None, None, None, said)))
    else:
        images = np.ascontiguousarray(samples.images)
        head = replace(samples, images=np.empty(0, np.uint8))
        results.write(pickle.dumps((ticket, head, images.shape, images.dtype.str, None)))
        results.write(images.reshape(-1).view(np.uint8).data)
    results.flush()


def _rebuilt(kind: type[PpclasError] | str, message: str, trace: str) -> PpclasError:
    if isinstance(kind, str):
        error: PpclasError = TrainingError(f"a loader worker failed: {kind}: {message}")
    else:
        error = kind(message)
    error.__cause__ = WorkerTracebackError(trace)
    return error


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Start a new process with Ctrl-C held back, until it can say that it ignores it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _read_into(stream: Any, array: NDArray[Any]) -> None:
    view, position = array.reshape(-1).view(np.uint8).data, 0
    while position < len(view):
        count = stream.readinto(view[position:])
        if not count:
            raise EOFError
        position += count


def _widen(stream: IO[bytes]) -> None:
    """Let the pipe hold more than 64 KiB where possible (Linux): fewer process switches."""
    try:
        import fcntl

        fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (ImportError, AttributeError, OSError):
        return
