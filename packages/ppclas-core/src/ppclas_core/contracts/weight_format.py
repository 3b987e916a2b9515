"""Kinds of weight files beside ``.safetensors``, which the core itself reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from numpy.typing import NDArray


class WeightFormat:
    """One kind of file. What is registered is an object of such a class."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Of such files, ``.pdparams`` for one: who names a file may leave them out."""

    def recognises(self, path: Path, start: bytes) -> bool:
        """Whether the file is of this kind, by its content; ``start`` is its first 512 bytes."""
        raise NotImplementedError

    def read(self, path: Path) -> dict[str, NDArray[Any]]:
        """The arrays by the names of the models here, in the file's order.

        It must run nothing of the file, and allocate no more than the file holds.

        Raises:
            WeightsError: it is damaged, or must be converted first; the message begins with
                ``path`` and says how.
        """
        raise NotImplementedError
