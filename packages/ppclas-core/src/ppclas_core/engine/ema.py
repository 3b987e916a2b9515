"""An exponential moving average of the weights, in float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from paddle import Tensor

    from ppclas_core.image_model import ImageModel


class Ema:
    """Average what trains in ``model``; batch-norm statistics are left as they are, being averages themselves.

    After step t (0-based) the average moves by ``1 - min(decay, (1 + t) / (10 + t))`` towards the weights, so that a
    short run is not judged by its first weights.
    """

    def __init__(self, model: ImageModel, decay: float) -> None:
        self._model, self._decay = model, decay
        self._average: dict[str, Tensor] = {
            name: parameter.detach().clone().astype("float32") for name, parameter in model.trainable()
        }

    def update(self, step: int) -> None:
        """Take in the weights as they are after ``step``."""
        import paddle

        share = 1.0 - min(self._decay, (1 + step) / (10 + step))
        with paddle.no_grad():
            for name, parameter in self._model.trainable():
                average = self._average[name]
                average.set_value(average + share * (parameter.detach().astype("float32") - average))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside the block, and its own again after it."""
        own = {name: parameter.detach().clone() for name, parameter in self._model.trainable()}
        try:
            for name, parameter in self._model.trainable():
                parameter.set_value(self._average[name].astype(parameter.dtype))
            yield
        finally:
            for name, parameter in self._model.trainable():
                parameter.set_value(own[name])

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The averages by parameter, for a checkpoint."""
        return {name: average.numpy() for name, average in self._average.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """The inverse of ``arrays``."""
        for name, average in self._average.items():
            average.set_value(arrays[name])
