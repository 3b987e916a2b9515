"""Weights of 8 bits with a scale for each tensor or channel, back to float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import WeightsError
from ppclas_core.weights import State
from ppclas_core.wording import first_few

_STEPS = ("_scale", ".scale", "_scales", ".scales")
"""Put behind a tensor's name: what one step of it is worth."""
_LARGEST = "@scale"
"""The same of Paddle's quantised programs: what 127 is worth."""


def dequantised(state: State, origin: str, size: int) -> State:
    """``state`` with each int8 tensor times its scale, in float32, and without the scales.

    A scale is one number, or one for each channel of the output: the first axis of a convolution
    [out, in, H, W], the last of a linear layer [in, out]. ``x_scale`` is the worth of one step, so
    that the values are ``x · x_scale``; ``x@scale`` that of 127: ``x · x@scale / 127``.

    ``size`` is that of the file in bytes, of which the result takes no more than four times.

    Raises:
        WeightsError: a tensor has no scale, or one that does not fit, or tensors share their
            values; the message begins with ``origin``.
    """
    coded = [name for name, array in state.items() if array.dtype == np.int8]
    if not coded:
        return state
    found = {name: _scale_of(name, state) for name in coded}
    lacking = [name for name, (key, _) in found.items() if key not in state]
    if lacking:
        raise WeightsError(
            f"{origin}: {len(lacking)} of {len(state)} tensors are int8 without a scale beside "
            f"them (such as {lacking[0]}_scale): {first_few(lacking)}. Give the weights from "
            "before the quantisation"
        )
    if sum(state[name].nbytes for name in coded) > size:
        raise WeightsError(f"{origin}: tensors share their values many times over")
    scales = {key for key, _ in found.values()}
    floats = {name: array for name, array in state.items() if name not in scales}
    for name, (key, worth) in found.items():
        scale = _along(state[key], state[name].shape)
        if scale is None:
            raise WeightsError(
                f"{origin}: {key} {list(state[key].shape)} fits no channels of {name} "
                f"{list(state[name].shape)}: expected one number, or one for each output"
            )
        floats[name] = (state[name] * (scale / np.float32(worth))).astype(np.float32)
    return floats


def _scale_of(name: str, state: State) -> tuple[str, float]:
    """The name of a tensor's scale, there or not, and how many steps it is worth."""
    if name + _LARGEST in state:
        return name + _LARGEST, 127.0
    return next((name + end for end in _STEPS if name + end in state), name + _STEPS[0]), 1.0


def _along(scale: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """``scale`` in a shape that is multiplied with one of ``shape``; None where it does not fit."""
    if scale.dtype.kind != "f" or not shape:
        return None
    values = scale.astype(np.float32).reshape(-1)
    if values.size == 1:
        return values.reshape((1,) * len(shape))
    axis = 0 if len(shape) > 2 else len(shape) - 1
    if values.size != shape[axis]:
        return None
    return values.reshape([-1 if place == axis else 1 for place in range(len(shape))])
