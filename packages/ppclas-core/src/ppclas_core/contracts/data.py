"""What a record, an image set, a source and a transform are."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ppclas_core.config.schema import Task
from ppclas_core.errors import DataError
from ppclas_core.params import Params

if TYPE_CHECKING:
    from paddle import Tensor

    from ppclas_core.contracts.training import Targets

Image = NDArray[Any]
"""[H, W, C], RGB. uint8 in 0..255 from the decoder on; float32 after a Normalize transform."""


@dataclass(frozen=True)
class Draw:
    """A random transform's randomness: a generator of its own for each (seed, epoch, sample)."""

    rng: np.random.Generator
    epoch: int = 0
    """0-based."""
    epochs: int = 1


class SampleDraws:
    """Draws of one run, one at a time: each ends the one before it, because all share a generator.

    The generator is counter-based (Philox; Salmon et al. 2011, "Parallel random numbers: as easy as
    1, 2, 3"): seed and epoch are its key, sample and repeat stand in its counter, so that every
    sample has a stream of 2**64 numbers of its own, entered without computing any other.
    """

    def __init__(self, seed: int, epochs: int = 1, repeat_after: int | None = None) -> None:
        """``repeat_after``: epochs after which the streams come again. None: never."""
        self._epochs, self._repeat_after = epochs, repeat_after
        self._counter, self._key = np.zeros(4, np.uint64), np.array([seed & _WORD, 0], np.uint64)
        self._philox = np.random.Philox()
        self._state: Any = {
            **self._philox.state,
            "state": {"counter": self._counter, "key": self._key},
            "buffer_pos": 4,
            "has_uint32": 0,
        }
        self._rng = np.random.Generator(self._philox)

    def __call__(self, epoch: int, index: int, repeat: int = 0) -> Draw:
        """Sample ``index`` when it comes for the ``repeat``-th time in ``epoch``, all 0-based."""
        # One number at a time: NumPy takes several times as long for a tuple.
        self._key[1] = epoch if self._repeat_after is None else epoch % self._repeat_after
        self._counter[1] = index
        self._counter[2] = repeat
        self._philox.state = self._state
        return Draw(self._rng, epoch, self._epochs)


def sample_draw(seed: int, epoch: int, index: int, epochs: int = 1, repeat: int = 0) -> Draw:
    """The draw of sample ``index`` in ``epoch``: the same for any workers, ranks and resumes."""
    return SampleDraws(seed, epochs)(epoch, index, repeat)


_WORD = 2**64 - 1


class Transform(Params):
    """Map one image [H, W, C] to another. Random ones draw from ``draw.rng`` alone, and first."""

    def __call__(self, image: Image, draw: Draw) -> Image:
        """The transformed image; ``image`` itself is never written to."""
        raise NotImplementedError


class BatchTransform(Params):
    """Map a normalised batch [N, C, H, W] (float32) and its targets to another."""

    def __call__(self, images: Tensor, targets: Targets, draw: Draw) -> tuple[Tensor, Targets]:
        """The transformed batch; ``draw`` is the batch's, from (seed, epoch, step).

        ``images`` are the transform's own: it may write into them and give them back.
        """
        raise NotImplementedError


SEVERAL = -2
"""What stands in the place of a class index where an image may have several labels."""


@dataclass(frozen=True)
class Record:
    """One labelled image."""

    path: str
    """File on disk."""
    label: int
    """Class index, 0-based; ``SEVERAL`` where ``classes`` says it."""
    where: str
    """Where the record was said, for messages: ``train_list.txt:12`` or the path."""
    classes: tuple[int, ...] = ()
    """Class indices of an image that may have several, or none; rising."""
    member: str = ""
    """Name inside ``path`` where that is an archive."""
    span: tuple[int, int] | None = None
    """Offset and size in bytes of the image in ``path``. Nothing: it is the whole file."""

    @property
    def name(self) -> str:
        """What tells it from other records of its set: path, and name inside an archive."""
        return f"{self.path}/{self.member}" if self.member else self.path

    def about(self, said: str) -> str:
        """``said`` of the image, behind ``where``: with its file's name unless it is there."""
        return said if self.where.startswith(self.path) else f"{self.name}: {said}"

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Its class, or all of them."""
        return self.classes if self.label == SEVERAL else (self.label,)


@dataclass(frozen=True)
class ImageSet:
    """Records and the names of their classes."""

    records: tuple[Record, ...]
    class_names: tuple[str, ...]
    origin: str
    """What the user gave: a folder, a list file, a CSV."""
    notes: tuple[str, ...] = field(default=())
    """What was decided on the way (delimiter, header, skipped files), a sentence each."""
    task: Task = "classification"
    """``multilabel``: an image may have several labels."""
    parts: tuple[str, ...] = ()
    """``train``, ``val`` or ``test`` for each record, where the source itself says it."""

    def __len__(self) -> int:
        return len(self.records)

    def labels(self) -> NDArray[np.int64]:
        """[N] class indices.

        Raises:
            DataError: images may have several labels.
        """
        if self.task == "multilabel":
            raise DataError(
                f"{self.origin}: expected one label per image, got images with several; what was "
                "asked for is for one label per image"
            )
        return np.array([record.label for record in self.records], dtype=np.int64)

    def read(self, index: int) -> bytes:
        """The encoded bytes of an image. Sources other than files and archives override this.

        Several threads may call it at once.

        Raises:
            OSError: there is no such file, it is closed, or a pipe or device that may never end.
        """
        record = self.records[index]
        if not stat.S_ISREG(os.stat(record.path).st_mode):  # noqa: PTH116 - fast
            raise OSError(errno.EINVAL, "a folder, a pipe or a device, not a file")
        with open(record.path, "rb") as file:
            if record.span is None:
                return file.read()
            offset, size = record.span
            file.seek(offset)
            return file.read(size)

    def subset(self, indices: Sequence[int]) -> ImageSet:
        """The same classes, fewer records."""
        return replace(
            self,
            records=tuple(self.records[i] for i in indices),
            parts=tuple(self.parts[i] for i in indices) if self.parts else (),
        )


class Source(Params):
    """A way to find records. Registered sources are asked in turn whether a location is theirs."""

    location: str
    """Path that the user gave."""
    root: str | None = None
    """Folder that relative paths inside the source start from. Nothing: the source's own folder."""
    labels: str | None = None
    """File with a class name, or an id and a name, a line. Nothing: what the source knows."""
    class_names: tuple[str, ...] | None = None
    """Known class names, for a validation set that must agree with its training set."""
    task: Task | None = None
    """Whether images may have several labels. Nothing: as the source looks."""

    @classmethod
    def recognises(cls, location: str) -> bool:
        """Whether this source can read ``location``; cheap, reads a few lines at most."""
        raise NotImplementedError

    def load(self) -> ImageSet:
        """Read every record and check its label.

        Raises:
            DataError: with file and line, what was expected and what came.
        """
        raise NotImplementedError
