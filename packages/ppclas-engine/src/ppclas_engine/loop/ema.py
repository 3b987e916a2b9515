"""An exponential moving average of the weights, in float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import CheckpointError

if TYPE_CHECKING:
    from paddle import Tensor
    from ppclas_core.contracts.image_model import ImageModel


class Ema:
    """Average what trains in ``model``, and with ``statistics`` the mean and variance of its batch
    norms too.

    Those are left as they are otherwise, being averages themselves. After step t (0-based) the
    average moves by ``1 - min(decay, (1 + t) / (10 + t))`` towards the weights, so that a short run
    is not judged by its first weights.
    """

    def __init__(self, model: ImageModel, decay: float, *, statistics: bool = False) -> None:
        self._decay = decay
        self._own = dict(model.trainable())
        if statistics:
            self._own |= {
                k: v for k, v in model.state_dict().items() if k.endswith(("._mean", "._variance"))
            }
        self._average: dict[str, Tensor] = {
            name: tensor.detach().clone().astype("float32") for name, tensor in self._own.items()
        }

    def update(self, step: int) -> None:
        """Take in the weights as they are after ``step``."""
        import paddle

        share = 1.0 - min(self._decay, (1 + step) / (10 + step))
        with paddle.no_grad():
            for name, tensor in self._own.items():
                average = self._average[name]
                average.set_value(average + share * (tensor.detach().astype("float32") - average))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside the block, and its own again after it."""
        own = {name: tensor.detach().clone() for name, tensor in self._own.items()}
        try:
            for name, tensor in self._own.items():
                tensor.set_value(self._average[name].astype(tensor.dtype))
            yield
        finally:
            for name, tensor in self._own.items():
                tensor.set_value(own[name])

    def start_again(self) -> None:
        """Make the average the weights as they are."""
        for name, tensor in self._own.items():
            self._average[name].set_value(tensor.detach().astype("float32"))

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The averages by parameter, for a checkpoint."""
        return {name: average.numpy() for name, average in self._average.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """The inverse of ``arrays``.

        Raises:
            CheckpointError: they are of other parameters.
        """
        if arrays.keys() != self._average.keys():
            odd = sorted(arrays.keys() ^ self._average.keys())[:3]
            raise CheckpointError(
                "The checkpoint's moving average is of other parameters (for example "
                f"{', '.join(odd)}). Resume with the run's own config."
            )
        for name, average in self._average.items():
            average.set_value(arrays[name])
