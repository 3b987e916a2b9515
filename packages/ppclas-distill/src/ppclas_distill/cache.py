"""A teacher's logits on disk, so that crops that come again cost no second pass.

One file of fixed-size rows, a row for each (photo, draw): a digest of the pixels that were asked
about, a checksum, the logits. A row counts only where both fit, so that a cache never answers for
other pixels, and never with half a row.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import TrainingError

if TYPE_CHECKING:
    from paddle import Tensor


class LogitCache:
    """Logits [rows, num_classes] float32 in ``folder``, in a file that is named after
    ``fingerprint``.

    A file that has fewer rows already grows. Rows that were never stored take no space on file
    systems with sparse files. Several processes may write at once. It is read and written, not
    mapped: a write to a mapped page that a full disk has no room for kills the process.
    """

    def __init__(
        self,
        folder: str | Path,
        fingerprint: str,
        rows: int,
        num_classes: int,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Open or make the file; ``warn`` is called once, where a later write fails.

        Raises:
            TrainingError: it cannot be made there.
        """
        name = hashlib.sha256(f"{fingerprint} {num_classes}".encode()).hexdigest()[:16]
        self.path = Path(folder) / f"{name}.logits"
        self._row = np.dtype(
            [("pixels", "<u8"), ("checksum", "<u4"), ("logits", "<f4", (num_classes,))]
        )
        self._warn: Callable[[str], None] | None = warn
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab") as file:
                if os.fstat(file.fileno()).st_size < rows * self._row.itemsize:
                    file.truncate(rows * self._row.itemsize)
        except OSError as error:
            raise TrainingError(
                f"The teacher's cache {self.path} cannot be written ({error.strerror or error}). "
                f"Give another folder (objective.cache), or none."
            ) from error

    def look_up(
        self, rows: NDArray[np.int64], digests: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Logits [N, C] of the rows, and which of them [N] are known for these pixels."""
        found = np.frombuffer(self._read(rows), self._row)
        logits = found["logits"].copy()  # of one row it would be a view of what is read-only
        checksums = np.array([_checksum(row) for row in logits], dtype=np.uint32)
        known = (found["pixels"] == digests) & (found["checksum"] == checksums)
        return logits, known

    def store(
        self, rows: NDArray[np.int64], digests: NDArray[np.uint64], logits: NDArray[np.float32]
    ) -> None:
        """Keep logits [N, C]; an earlier answer in the same rows is replaced.

        A cache that cannot be written any more (a full disk) says so once, and goes on answering
        with what it has.
        """
        if self._warn is None:
            return
        fresh = np.zeros(len(rows), dtype=self._row)
        fresh["pixels"], fresh["logits"] = digests, logits
        fresh["checksum"] = [_checksum(row) for row in fresh["logits"]]
        try:
            with open(self.path, "r+b", buffering=0) as file:
                for row, answer in zip(rows.tolist(), fresh, strict=True):
                    file.seek(row * self._row.itemsize)
                    file.write(answer.tobytes())
        except OSError as error:
            self._warn(
                f"the teacher's cache {self.path} takes no more answers "
                f"({error.strerror or error}); the teacher is asked where it has none"
            )
            self._warn = None

    def _read(self, rows: NDArray[np.int64]) -> bytes:
        """The rows one after the other; zeros, which no checksum fits, for what is not there."""
        size, found = self._row.itemsize, bytearray()
        try:
            with open(self.path, "rb", buffering=0) as file:
                for row in rows.tolist():
                    file.seek(row * size)
                    found += file.read(size).ljust(size, b"\0")
        except OSError:
            return bytes(len(rows) * size)  # storing will say so
        return bytes(found)


def pixel_digests(pixels: NDArray[Any] | Tensor) -> NDArray[np.uint64]:
    """[N] numbers that tell images [N, H, W, C] apart."""
    return np.array(
        [
            int.from_bytes(
                hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).digest(), "big"
            )
            for image in np.asarray(pixels)
        ],
        dtype=np.uint64,
    )


def _checksum(logits: NDArray[np.float32]) -> int:
    # Never 0: an empty row is all zeros and must not pass for an answer.
    return zlib.crc32(np.ascontiguousarray(logits).data) or 1
