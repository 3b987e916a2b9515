"""The mean of the weights of a run's last epochs.

Averaging checkpoints finds a flatter place than the last one ("Averaging Weights Leads to Wider
Optima and Better Generalization", Izmailov et al. 2018, https://arxiv.org/abs/1803.05407);
batch-norm statistics are averaged too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.weights import model_state, save_state

if TYPE_CHECKING:
    from ppclas_core.contracts.image_model import ImageModel


class LastWeights:
    """The weights of the last ``count`` epochs, a file each in ``folder`` until the run ends."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count

    def keep(self, model: ImageModel, epoch: int) -> None:
        """Write those of ``epoch`` (1-based), and remove what is too old."""
        self._folder.mkdir(parents=True, exist_ok=True)
        save_state(self._folder / f"weights-{epoch}.safetensors", model_state(model))
        kept = self._files(epoch)
        for file in self._folder.glob("weights-*.safetensors"):
            if file not in kept:
                file.unlink()

    def count(self, epoch: int) -> int:
        """How many there are at the end of ``epoch``."""
        return len(self._files(epoch))

    @contextmanager
    def applied(self, model: ImageModel, epoch: int) -> Iterator[None]:
        """The model has the mean of those up to ``epoch`` inside the block, its own after it."""
        own = model_state(model)
        try:
            model.set_state_dict(self._mean(epoch))
            yield
        finally:
            model.set_state_dict(own)

    def remove(self) -> None:
        """Remove the files."""
        for file in self._folder.glob("weights-*.safetensors"):
            file.unlink()

    def _files(self, epoch: int) -> list[Path]:
        found = {}
        for file in self._folder.glob("weights-*.safetensors"):
            number = re.fullmatch(r"weights-(\d+)\.safetensors", file.name)
            if number and epoch - self._count < int(number[1]) <= epoch:
                found[int(number[1])] = file
        return [found[number] for number in sorted(found)]

    def _mean(self, epoch: int) -> dict[str, NDArray[Any]]:
        from safetensors.numpy import load_file

        files = self._files(epoch)
        sums: dict[str, NDArray[Any]] = {}
        dtypes: dict[str, Any] = {}
        for file in files:
            for key, array in load_file(file).items():
                dtypes[key] = array.dtype
                sums[key] = (
                    sums[key] + array.astype(np.float64)
                    if key in sums
                    else array.astype(np.float64)
                )
        return {key: (total / len(files)).astype(dtypes[key]) for key, total in sums.items()}
