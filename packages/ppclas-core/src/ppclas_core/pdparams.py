"""Read ``.pdparams`` files, which are pickles, without executing anything in them.

The reader knows the handful of globals that a pickle of arrays by name needs, and stands in for
each with a class of its own: neither code nor NumPy's unpickling ever sees the content.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppclas_core.errors import WeightsError

_PARAMETER_NAMES = "StructuredToParameterName@@"
_BIG_ARRAYS = "UnpackBigParamInfor@@"


class _Dtype:
    """Stands in for ``numpy.dtype`` while unpickling: plain numbers only."""

    def __init__(self, code: str, *_: object) -> None:
        self.dtype = np.dtype(code if isinstance(code, str) else "O")
        if self.dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"an array of {code!r}: expected numbers")

    def __setstate__(self, state: Sequence[Any]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands in for ``numpy.ndarray`` while unpickling."""

    value: NDArray[Any]

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Dtype, bool, bytes | str]) -> None:
        _, shape, dtype, fortran, data = state
        self.value = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: _Dtype, shape: tuple[int, ...], order: Any = "C") -> NDArray[Any]:
    # Python 2 wrote bytes as str; the unpickler's latin1 gives them back one to one.
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, dtype.dtype).reshape(shape, order=order)


def _reconstruct(*_: object) -> _Array:
    return _Array()  # always an empty array: its shape and content come by __setstate__


def _from_buffer(data: Any, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.value = _array(data, dtype, shape, order)
    return array


def _scalar(dtype: _Dtype, data: Any) -> _Array:
    return _from_buffer(data, dtype, (), "C")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    return b""


_NUMPY: dict[str, Callable[..., Any]] = {
    "core.multiarray._reconstruct": _reconstruct,
    "core.multiarray.scalar": _scalar,
    "core.numeric._frombuffer": _from_buffer,
    "ndarray": _Array,
    "dtype": _Dtype,
}
_GLOBALS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": dict,
    "_codecs.encode": _encode,  # how pickle protocol 2 writes bytes, and the next one none
    "__builtin__.bytes": _empty_bytes,
    **{f"numpy.{name}": stand_in for name, stand_in in _NUMPY.items()},
    **{f"numpy.{name.replace('core', '_core')}": stand_in for name, stand_in in _NUMPY.items()},
}


class _RefusedGlobalError(Exception):
    """The pickle asks for a global that no array needs."""


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        full_name = f"{module_name}.{global_name}"
        if full_name not in _GLOBALS:
            raise _RefusedGlobalError(full_name)
        return _GLOBALS[full_name]


def read_pdparams(file: Path, content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays in the ``content`` of ``file``, by name.

    Raises:
        WeightsError: it is damaged, holds no arrays by name, or asks to run something.
    """
    try:
        loaded = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except _RefusedGlobalError as error:
        raise WeightsError(
            f"{file} asks to run {str(error)!r}, which no weights need: nothing of it was run or "
            "loaded. A .pdparams file holds arrays by name; do not trust where this one comes "
            "from."
        ) from None
    # All of them, because a broken stream makes the unpickler and the stand-ins raise anything.
    except Exception as error:
        raise WeightsError(
            f"{file} is a damaged .pdparams file, perhaps cut off at {len(content)} bytes "
            f"({type(error).__name__}: {error}). Get it again."
        ) from error
    if not isinstance(loaded, dict):
        expected = "arrays by name, as paddle.save writes them"
        raise WeightsError(f"{file} holds a {type(loaded).__name__}: expected {expected}")
    loaded.pop(_PARAMETER_NAMES, None)
    state: dict[str, NDArray[Any]] = {}
    slices = loaded.pop(_BIG_ARRAYS, {})
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, _Array) or not hasattr(value, "value"):
            raise WeightsError(
                f"{file}: {key!r} is a {type(value).__name__.strip('_').lower()}, no array. "
                "Weights are arrays by name: is this the optimizer's state (.pdopt) or a training "
                "checkpoint?"
            )
        state[key] = value.value
    return _joined(file, state, slices)


def _joined(file: Path, state: dict[str, NDArray[Any]], slices: Any) -> dict[str, NDArray[Any]]:
    """Join arrays that ``paddle.save`` cut up: old pickle protocols stop at 4 GiB."""
    try:
        for key, info in slices.items():
            parts = [state.pop(part) for part in info["slices"]]
            state[key] = np.concatenate(parts).reshape(info["OriginShape"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{file}: the parts of a large array do not fit together ({error!r})"
        ) from error
    return state
