"""Who reads a loader's batches (``data.reader``): what it is asked, gives, and how it opens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ppclas_core.contracts.data import ImageSet, Record, Transform
from ppclas_core.errors import ImageError
from ppclas_core.params import Params

if TYPE_CHECKING:
    from paddle import Tensor


@dataclass(frozen=True)
class BadImage:
    """An image that could not be read, and was left out."""

    index: int
    """Its place in the image set."""
    where: str
    """List file and line, or the path."""
    reason: str

    @classmethod
    def of(cls, index: int, record: Record, error: ImageError | OSError) -> BadImage:
        """``record``, number ``index`` of its set, which ``error`` tells about."""
        if isinstance(error, ImageError):
            said = str(error).removeprefix(f"{record.where}: ")
        else:
            said = error.strerror or str(error)
        return cls(index, record.where, record.about(said))


class Request(NamedTuple):
    """A batch to read, N images."""

    epoch: int
    """0-based; transforms draw from it."""
    indices: list[int]
    """[N] places in the whole image set."""
    records: tuple[Record, ...]
    """[N]: where the images are."""
    earlier: list[int] | None
    """[N]: how many times each has come before in the epoch. None: not once."""


@dataclass(frozen=True)
class Samples:
    """The readable images of a batch."""

    images: NDArray[Any] | Tensor
    """[N, H, W, C] uint8 (float32 if transforms normalise); a tensor where on a GPU already."""
    indices: NDArray[np.int64]
    """[N] places in the image set."""
    bad: tuple[BadImage, ...]


class Reader(Protocol):
    """Reads one batch in this process. What every reader is compared with, and falls back on."""

    @property
    def image_set(self) -> ImageSet:
        """Where images come from. Its records are not looked at: a request brings its own."""

    @property
    def transforms(self) -> Sequence[Transform]:
        """What is done to each decoded image, in order."""

    @property
    def seed(self) -> int:
        """Of the random draws."""

    @property
    def epochs(self) -> int:
        """Of the run."""

    @property
    def repeat_draws_after(self) -> int | None:
        """Epochs after which the random draws come again. None: never."""

    def read(
        self,
        epoch: int,
        indices: Sequence[int],
        records: tuple[Record, ...],
        earlier: Sequence[int] | None = None,
    ) -> Samples:
        """The images of a batch: the arguments are the fields of a ``Request``.

        Raises:
            ShapeError: images of one batch come out in different shapes or dtypes.
        """


class OpenReader:
    """A reader at work: processes, threads and buffers, until it is closed."""

    pids: tuple[int, ...] = ()
    """Process ids of its workers, where it has any."""

    def read(self, requests: Iterable[Request]) -> Iterator[Samples]:
        """The samples of each request, in their order.

        ``requests`` are those of the rest of an epoch. A reader that reads ahead takes the next
        ones before it gives the samples of the first, and no more of them than it can hold. An
        epoch may be left in the middle: its iterator is closed, and ``read`` called later.

        Raises:
            PpclasError: a batch cannot be read at all; single bad images are in ``Samples.bad``.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End what was started. Once is enough; more do nothing."""


class BatchReader(Params):
    """A way to read batches. Its fields are what ``data.reader`` may set beside the name."""

    def open(self, plain: Reader, workers: int, note: Callable[[str], None]) -> OpenReader:
        """Start reading.

        Args:
            plain: reads one batch in this process. Every reader gives its samples: the same images
                left out, and the same pixels but for what decoders and resizers differ in.
            workers: processes or threads, ``data.workers``; 0: none beside the training process.
            note: takes a console line: who reads, and what is done where this cannot run.
        """
        raise NotImplementedError
