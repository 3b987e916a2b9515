"""NVIDIA DALI as the reader of batches: it decodes, crops, resizes and mirrors on the GPU, and the
batch stays there.

Nothing is left to DALI's own random numbers. The transforms of the config draw from the samples'
draws as everywhere, and what they drew goes to DALI as arguments of each picture: so the boxes and
mirrorings are those of the worker processes, for any number of threads and after a resume.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.data import SampleDraws
from ppclas_core.contracts.readers import (
    BadImage,
    BatchReader,
    OpenReader,
    Reader,
    Request,
    Samples,
)
from ppclas_core.errors import ImageError
from ppclas_data.decoding.decode import decode, plain_jpeg_size
from ppclas_data.loading.workers import Workers
from ppclas_data.transforms.window import Window

from ppclas_augment.dali_frame import FILTERS, Frame, Placement

_AHEAD = 4
"""Batches that are being read or decoded while one is consumed."""


class Dali(BatchReader):
    """NVIDIA DALI (extra ``[dali]``); what it cannot do here, the worker processes do."""

    device: Literal["gpu", "cpu"] = "gpu"
    """gpu: decode on the GPU that Paddle trains on. cpu: decode in ``data.workers`` threads of the
    training process."""

    def open(self, plain: Reader, workers: int, note: Callable[[str], None]) -> OpenReader:
        frame = Frame.of(plain.transforms)
        hindrance = frame if isinstance(frame, str) else self._hindrance()
        if isinstance(frame, str) or hindrance is not None:
            note(f"the photos are {_who_instead(workers)}, not by dali: {hindrance}")
            return Workers().open(plain, workers, note)
        import nvidia.dali

        threads, gpu = max(1, workers), _paddle_gpu() if self.device == "gpu" else None
        place = "the CPU" if gpu is None else f"GPU {gpu}"
        note(
            f"the photos are read by NVIDIA DALI {nvidia.dali.__version__} on {place}, "
            f"{_count(threads, 'thread')}"
        )
        return _DaliReader(plain, frame, threads, gpu, note)

    def _hindrance(self) -> str | None:
        if self.device == "gpu" and _paddle_gpu() is None:
            return "Paddle has no GPU here (data.reader.device: cpu decodes with DALI on the CPU)"
        try:
            import nvidia.dali  # noqa: F401
        except ImportError as error:
            return f"it cannot be imported ({error}); pip install 'ppclas-augment[dali]'"
        return None


@dataclass(frozen=True)
class _Encoded:
    """What DALI needs for a batch of N readable pictures."""

    files: list[NDArray[np.uint8]]
    placements: list[Placement]
    indices: list[int]
    bad: tuple[BadImage, ...]


class _DaliError(Exception):
    """DALI could not read a batch."""


class _DaliReader(OpenReader):
    def __init__(
        self,
        plain: Reader,
        frame: Frame,
        threads: int,
        gpu: int | None,
        note: Callable[[str], None],
    ) -> None:
        self._plain, self._frame, self._note = plain, frame, note
        self._decoder = _Decoder(frame, threads, gpu)
        self._files = ThreadPoolExecutor(min(threads, _AHEAD), "dali-files")
        self._runs = ThreadPoolExecutor(1, "dali-runs")  # a pipeline takes one batch at a time
        self._told = False

    def read(self, requests: Iterable[Request]) -> Iterator[Samples]:
        under_way: deque[tuple[Request, Future[Samples]]] = deque()
        try:
            for request in requests:
                encoded = self._files.submit(self._encode, request)
                under_way.append((request, self._runs.submit(self._decode, encoded)))
                if len(under_way) > _AHEAD:
                    yield self._finished(*under_way.popleft())
            while under_way:
                yield self._finished(*under_way.popleft())
        finally:
            for _, abandoned in under_way:
                abandoned.cancel()

    def close(self) -> None:
        for pool in (self._runs, self._files):
            pool.shutdown(cancel_futures=True)

    def _encode(self, request: Request) -> _Encoded:
        draws = SampleDraws(self._plain.seed, self._plain.epochs, self._plain.repeat_draws_after)
        batch = replace(self._plain.image_set, records=request.records)
        files, placements, indices, bad = [], [], [], []
        earlier = request.earlier or itertools.repeat(0)
        for place, (index, record, repeat) in enumerate(
            zip(request.indices, request.records, earlier, strict=False)
        ):
            try:
                data = batch.read(place)
                size = plain_jpeg_size(data, record.where)
                if size is None:
                    # Decoded as everywhere, so that transparency, CMYK and animations look the
                    # same.
                    pixels = decode(data, record.where)
                    size, data = (pixels.shape[0], pixels.shape[1]), _as_ppm(pixels)
            except (ImageError, OSError) as error:
                bad.append(BadImage.of(index, record, error))
                continue
            files.append(np.frombuffer(data, np.uint8))
            placements.append(self._frame.place(*size, draws(request.epoch, index, repeat)))
            indices.append(index)
        return _Encoded(files, placements, indices, tuple(bad))

    def _decode(self, coming: Future[_Encoded]) -> Samples:
        encoded = coming.result()
        images = (
            self._decoder(encoded.files, encoded.placements)
            if encoded.files
            else np.empty((0, 0, 0, 0), np.uint8)
        )
        return Samples(images, np.array(encoded.indices, np.int64), encoded.bad)

    def _finished(self, request: Request, samples: Future[Samples]) -> Samples:
        try:
            finished = samples.result()
        except _DaliError as error:
            # One damaged file fails the whole batch. Reading it here tells which, or shows what
            # there is of it.
            if not self._told:
                self._told = True
                self._note(
                    f"DALI could not read a batch ({error}); it is read without DALI, as are "
                    "others like it"
                )
            return self._plain.read(*request)
        if isinstance(finished.images, np.ndarray):
            return finished
        from paddle.utils.dlpack import from_dlpack

        # Here, in the thread that trains: Paddle's device and stream are a thread's own.
        return replace(finished, images=from_dlpack(finished.images))


class _Decoder:
    """Encoded files to a batch [N, H, W, 3] uint8 RGB, on the CPU or in the GPU's memory."""

    def __init__(self, frame: Frame, threads: int, gpu: int | None) -> None:
        self._frame, self._threads, self._gpu = frame, threads, gpu
        self._pipeline: Any = None

    def __call__(self, files: list[NDArray[np.uint8]], placements: list[Placement]) -> Any:
        """A NumPy array on the CPU; on the GPU a tensor of DALI's that keeps its memory."""
        if self._pipeline is None or len(files) > self._pipeline.max_batch_size:
            self._pipeline = self._build(len(files))
        windows = [placement.window for placement in placements]
        try:
            (images,) = self._pipeline.run(
                files=files,
                box_start=[np.array((w.top, w.left), np.int32) for w in windows],
                box_shape=[np.array((w.height, w.width), np.int32) for w in windows],
                reduced=[np.array(_reduced(w), np.float32) for w in windows],
                resized=[np.array(w.size, np.float32) for w in windows],
                start=[np.array((p.top, p.left), np.int32) for p in placements],
                left_right=[np.int32(p.mirrored[0]) for p in placements],
                top_bottom=[np.int32(p.mirrored[1]) for p in placements],
            )
        except RuntimeError as error:
            self._pipeline = None  # it is of no use any more
            raise _DaliError(_gist(error)) from error
        return np.array(images.as_array()) if self._gpu is None else images.as_tensor()

    def _build(self, batch_size: int) -> Any:
        from nvidia.dali import Pipeline, fn, types

        pipeline = Pipeline(
            batch_size,
            self._threads,
            self._gpu,
            # reading ahead is done here, and a run ends when its batch is complete
            prefetch_queue_depth=1,
            exec_dynamic=True,  # a batch keeps its memory until nobody has it any more
        )

        def given(name: str, dtype: Any, ndim: int) -> Any:
            return fn.external_source(name=name, dtype=dtype, ndim=ndim)

        height, width = self._frame.size
        with pipeline:
            images = fn.decoders.image_slice(
                given("files", types.UINT8, 1),
                start=given("box_start", types.INT32, 1),
                shape=given("box_shape", types.INT32, 1),
                axis_names="HW",
                output_type=types.RGB,
                device="cpu" if self._gpu is None else "mixed",
            )
            images = fn.resize(images, size=given("reduced", types.FLOAT, 1), antialias=True)
            images = fn.resize(
                images,
                size=given("resized", types.FLOAT, 1),
                interp_type=getattr(types, FILTERS[self._frame.interpolation]),
                antialias=False,  # as OpenCV
            )
            images = fn.slice(
                images,
                start=given("start", types.INT32, 1),
                shape=[height, width],
                axis_names="HW",
                out_of_bounds_policy="pad",
                fill_values=list(self._frame.fill),
            )
            images = fn.flip(
                images,
                horizontal=given("left_right", types.INT32, 0),
                vertical=given("top_bottom", types.INT32, 0),
            )
            pipeline.set_outputs(images)
        pipeline.build()
        return pipeline


def _paddle_gpu() -> int | None:
    """Number of the GPU that Paddle uses; None on a CPU."""
    import paddle

    kind, _, number = paddle.get_device().partition(":")
    return int(number) if kind == "gpu" else None


def _who_instead(workers: int) -> str:
    return (
        f"read by {_count(workers, 'worker process', 'es')}"
        if workers
        else "read by the training process"
    )


def _count(number: int, what: str, plural: str = "s") -> str:
    return f"{number} {what}{'' if number == 1 else plural}"


def _reduced(window: Window) -> tuple[int, int]:
    """(height, width) a box is averaged to first, as the workers' JPEG decoder would do."""
    scale = next(
        (
            n
            for n in (8, 4, 2)
            if all(b // n >= s for b, s in zip(window[2:4], window.size, strict=True))
        ),
        1,
    )
    return -(-window.height // scale), -(-window.width // scale)


def _as_ppm(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels [H, W, 3] as a file that says no more than that: Netpbm's binary PPM."""
    return b"P6\n%d %d\n255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes()


def _gist(error: Exception) -> str:
    """The line of DALI's message that says what happened, after those that say where."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next(
        (after for before, after in itertools.pairwise(lines) if before == "encountered:"), lines[0]
    )
    return said.rstrip(" :")
