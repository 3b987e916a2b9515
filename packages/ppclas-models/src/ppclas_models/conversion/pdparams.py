"""Read ``.pdparams`` files, which are pickles, without executing anything in them.

The globals that a pickle of arrays by name needs have stand-ins here: neither code nor NumPy's
unpickling ever sees the content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import WeightsError

from ppclas_models.conversion.eight_bit import dequantised
from ppclas_models.conversion.unpickle import RefusedGlobalError, unpickle

_PARAMETER_NAMES = "StructuredToParameterName@@"
_BIG_ARRAYS = "UnpackBigParamInfor@@"
_DEPTH = 3
"""Of maps in maps."""
_NUMBERS = re.compile(r"[<>|=]?(?:f[248]|[iu][1248]|b1|\?)")


class _Dtype:
    """Stands in for ``numpy.dtype`` while unpickling: plain numbers only."""

    def __init__(self, code: Any, *_: object) -> None:
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            said = repr(code[:20]) if isinstance(code, str) else f"a {type(code).__name__}"
            raise UnpicklingError(f"an array of {said}: expected numbers")
        self.dtype = np.dtype(code)

    def take_state(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Text:
    """Bytes that the pickle holds as text: encoded once, however many arrays they are for."""

    def __init__(self, text: Any, encoding: str = "latin1") -> None:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise UnpicklingError("bytes that are no latin1 text")
        self.text = text


class _Array:
    """Stands in for ``numpy.ndarray`` while unpickling."""

    content: tuple[Any, Any, Any, Any]
    """Data, dtype, shape, order."""

    def take_state(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.content = (data, dtype, shape, "F" if fortran else "C")

    def value(self, encoded: dict[int, bytes]) -> NDArray[Any]:
        data, dtype, shape, order = self.content
        # Python 2 wrote bytes as str; latin1 gives them back one to one.
        text = data.text if isinstance(data, _Text) else data
        if isinstance(text, str) and id(text) not in encoded:
            encoded[id(text)] = text.encode("latin1")
        raw = encoded[id(text)] if isinstance(text, str) else text
        return np.frombuffer(raw, dtype.dtype).reshape(shape, order=order)


def _from_buffer(data: Any, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.content = (data, dtype, shape, order)
    return array


def ordered(*arguments: Any) -> dict[Any, Any]:
    """Stands in for ``OrderedDict``, whose items come after it in all but old files."""
    if len(arguments) > 1 or any(type(pair[0]) is not str for each in arguments for pair in each):
        raise UnpicklingError("an OrderedDict of something else than names and values")
    return dict(*arguments)


def _pair(*arguments: Any) -> tuple[Any, ...]:
    """Stands in for ``tuple``, as which ``paddle.save`` writes a tensor that lies inside something:
    its own name and its values."""
    if len(arguments) != 1 or type(arguments[0]) is not tuple:
        raise UnpicklingError("a tuple of something else than a tensor's name and values")
    items: tuple[Any, ...] = arguments[0]
    return items


_NUMPY: dict[str, Callable[..., Any]] = {
    # Always an empty array: its shape and content come as its state.
    "core.multiarray._reconstruct": lambda *_: _Array(),
    "core.multiarray.scalar": lambda dtype, data: _from_buffer(data, dtype, (), "C"),
    "core.numeric._frombuffer": _from_buffer,
    "ndarray": _Array,
    "dtype": _Dtype,
}
_GLOBALS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": ordered,
    "_codecs.encode": _Text,  # how pickle protocol 2 writes bytes, and the next one none
    "__builtin__.bytes": lambda: b"",
    "__builtin__.tuple": _pair,
    "builtins.tuple": _pair,
    **{f"numpy.{name}": stand_in for name, stand_in in _NUMPY.items()},
    **{f"numpy.{name.replace('core', '_core')}": stand_in for name, stand_in in _NUMPY.items()},
}


def read_pdparams(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays in the file, by name; of maps inside it by both names, ``state_dict.fc.bias``.

    Raises:
        OSError: it cannot be read.
        WeightsError: it is damaged, holds no arrays by name, or asks to run something.
    """
    try:
        # A file's own read() would allocate what a broken length asks for.
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            loaded = unpickle(content, _GLOBALS)
            size = content.tell()
            return dequantised(_arrays(path, loaded, size), str(path), size)
    except RefusedGlobalError as error:
        raise WeightsError(
            f"{path} asks to run {str(error)[:80]!r}, which no weights need: nothing of it was run "
            "or loaded. A .pdparams file holds arrays by name; do not trust where this one comes "
            "from."
        ) from None
    except (OSError, WeightsError):
        raise
    # All of them, because a broken stream makes the reader and the stand-ins raise anything.
    except Exception as error:
        raise WeightsError(
            f"{path} is a damaged .pdparams file, perhaps cut off at {path.stat().st_size} bytes "
            f"({type(error).__name__}: {str(error)[:200]}). Get it again."
        ) from error


def _arrays(path: Path, loaded: Any, size: int) -> dict[str, NDArray[Any]]:
    if not isinstance(loaded, dict):
        expected = "arrays by name, as paddle.save writes them"
        raise WeightsError(f"{path} holds a {type(loaded).__name__}: expected {expected}")
    maps = list(_maps(loaded, "", set()))
    checkpoint = any(prefix and _has_arrays(values) for prefix, values in maps)
    state: dict[str, NDArray[Any]] = {}
    encoded: dict[int, bytes] = {}
    for prefix, values in maps:
        if checkpoint and not _has_arrays(values):
            continue
        slices = values.get(_BIG_ARRAYS, {})
        for key, value in values.items():
            array = _as_array(value)
            if key in (_PARAMETER_NAMES, _BIG_ARRAYS):
                continue
            if type(key) is str and array is not None:
                state[prefix + key] = array.value(encoded)
            elif not checkpoint:
                raise WeightsError(
                    f"{path}: {str(key)[:80]!r} is a {type(value).__name__.strip('_').lower()}, no "
                    "array. Weights are arrays by name: is this the optimizer's state (.pdopt) or "
                    "a training checkpoint?"
                )
        # ``paddle.save`` cut up large arrays: old pickle protocols stop at 4 GiB.
        for key, info in slices.items():
            names = [f"{prefix}{name}" for name in info["slices"]]
            parts = [state.pop(name) for name in names if name in state]
            if len(parts) != len(names) or sum(part.nbytes for part in parts) > size:
                raise ValueError("the parts of a large array do not fit together")
            state[f"{prefix}{key}"] = np.concatenate(parts).reshape(info["OriginShape"])
    return state


def _maps(loaded: dict[Any, Any], prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Each map in ``loaded`` with what comes before its names, itself first; each only once."""
    seen.add(id(loaded))
    yield prefix, loaded
    for key, value in loaded.items():
        inside = isinstance(value, dict) and type(key) is str and prefix.count(".") < _DEPTH
        if inside and key not in (_PARAMETER_NAMES, _BIG_ARRAYS) and id(value) not in seen:
            yield from _maps(value, f"{prefix}{key}.", seen)


def _has_arrays(values: dict[Any, Any]) -> bool:
    return any(_as_array(value) is not None for value in values.values())


def _as_array(value: Any) -> _Array | None:
    """An array as it is, or with the name that its tensor had."""
    if isinstance(value, tuple) and len(value) == 2 and type(value[0]) is str:
        value = value[1]
    return value if isinstance(value, _Array) else None
