"""Means of weights that a run has had at several times.

Averaging checkpoints finds a flatter place than the last one ("Averaging Weights Leads to Wider
Optima and Better Generalization", Izmailov et al. 2018, https://arxiv.org/abs/1803.05407), and half
way between the start of fine-tuning and its end is often better than both ("Robust Fine-Tuning of
Zero-Shot Models", Wortsman et al. 2022, https://arxiv.org/abs/2109.01903); batch-norm statistics
are averaged too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
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

        return mean_state(load_file(file) for file in self._files(epoch))


class StartWeights:
    """The weights that fine-tuning starts from, in a file in ``folder`` until the run ends."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "start.safetensors"

    def keep(self, model: ImageModel) -> None:
        """Write those of ``model``."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        save_state(self._file, model_state(model))

    @property
    def kept(self) -> bool:
        """Whether they were written."""
        return self._file.exists()

    @contextmanager
    def applied(self, model: ImageModel) -> Iterator[None]:
        """The model is half way back to them inside the block, as it was after it."""
        from safetensors.numpy import load_file

        own = model_state(model)
        try:
            model.set_state_dict(mean_state([load_file(self._file), own]))
            yield
        finally:
            model.set_state_dict(own)

    def remove(self) -> None:
        """Remove the file."""
        self._file.unlink(missing_ok=True)


def mean_state(states: Iterable[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """The mean of several states with the same keys, summed in float64."""
    sums: dict[str, NDArray[Any]] = {}
    dtypes: dict[str, Any] = {}
    count = 0
    for state in states:
        count += 1
        for key, array in state.items():
            dtypes[key] = array.dtype
            sums[key] = sums.get(key, 0.0) + array.astype(np.float64)
    return {key: (total / count).astype(dtypes[key]) for key, total in sums.items()}
