"""Read the state dict of a torch model, without torch and without executing anything in the file.

Both formats of ``torch.save`` are pickles that refer to raw storages: a zip with one member a
storage, and the older one with all of them behind the pickle. The unpickler knows the globals that
tensors need, as inert stand-ins, and nothing else. ``.safetensors`` cannot hold code.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import WeightsError
from ppclas_core.weights import State, read_state

_MAGIC = 0x1950A86A20F9469CFC6C
_MAX_BYTES = 8 * 2**30
_WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "state_dict",
    "model_state_dict",
    "model",
)
"""What training scripts call a model's tensors, the averaged ones first: those are what gets
evaluated."""
_PREFIXES = ("module.", "_orig_mod.", "model.", "ema_model.")
"""What wrappers put before all names: DataParallel and AveragedModel, torch.compile, Lightning."""
_COUNTERS = ("num_batches_tracked", "n_averaged")
_DTYPES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "bf16",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}  # fmt: skip


@dataclass(frozen=True)
class _StorageType:
    dtype: str

    @property
    def itemsize(self) -> int:
        return 2 if self.dtype == "bf16" else np.dtype(self.dtype).itemsize


@dataclass
class _Storage:
    kind: _StorageType
    key: str
    size: int
    content: NDArray[Any] | None = None

    def fill(self, raw: bytes) -> None:
        if len(raw) != self.size * self.kind.itemsize:
            raise ValueError(f"storage {self.key} has {len(raw)} bytes for {self.size} values")
        if self.kind.dtype == "bf16":  # the upper half of a float32
            self.content = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        else:
            self.content = np.frombuffer(raw, self.kind.dtype)


@dataclass
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> NDArray[Any]:
        content = self.storage.content
        if content is None:
            raise ValueError(f"storage {self.storage.key} is missing")
        sizes = [*self.shape, *self.strides, self.offset]
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if (
            any(type(n) is not int or n < 0 for n in sizes)
            or prod(self.shape) > content.size
            or last >= content.size
        ):
            raise ValueError(
                f"a tensor of shape {list(self.shape)} does not fit its storage of {content.size} "
                "values"
            )
        steps = tuple(s * content.itemsize for s in self.strides)
        return np.lib.stride_tricks.as_strided(
            content[self.offset :], self.shape, steps, writeable=False
        ).copy()


class _RefusedGlobalError(Exception):
    """The pickle asks for a global that no tensor needs."""


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: object) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor: Any, *_: object) -> Any:
    return tensor


class _Dict(dict[Any, Any]):
    """An OrderedDict; torch hangs metadata on it, which is dropped."""

    def __setstate__(self, _state: object) -> None:
        pass


class _Namespace:
    """The command line's options, which scripts save beside the tensors; all is dropped."""

    def __setstate__(self, _state: object) -> None:
        pass


_GLOBALS: dict[str, Callable[..., Any] | _StorageType] = {
    "collections.OrderedDict": _Dict,
    "argparse.Namespace": _Namespace,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    **{f"torch.{name}": _StorageType(dtype) for name, dtype in _DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file, encoding="utf-8")
        self._storages = storages

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        full_name = f"{module_name}.{global_name}"
        if full_name not in _GLOBALS:
            raise _RefusedGlobalError(full_name)
        found = _GLOBALS[full_name]
        # A copy: a pickle can set attributes of what it is given.
        return replace(found) if isinstance(found, _StorageType) else found

    def persistent_load(self, pid: Any) -> _Storage:
        word, kind, key, _location, size = pid[:5]
        if (
            word != "storage"
            or not isinstance(kind, _StorageType)
            or (len(pid) > 5 and pid[5] is not None)
        ):
            raise pickle.UnpicklingError(f"unknown reference {pid!r}")
        return self._storages.setdefault(str(key), _Storage(kind, str(key), size))


def is_safetensors(path: Path) -> bool:
    """Whether that is the file's format, by its content."""
    try:
        with path.open("rb") as file:
            return file.read(9)[5:] == b"\0\0\0{"
    except OSError:
        return False


def read_torch(path: Path) -> tuple[State, list[str]]:
    """The tensors of a state dict by the model's own names, and what was chosen or left out on the
    way to them.

    The batch norms' counters are dropped, and what wrappers put before all names (``module.`` and
    the like). A training checkpoint that has the state dict under one of the usual names will do.

    Raises:
        WeightsError: it is no such file, it is damaged, or its pickle asks for anything but
            tensors.
    """
    if is_safetensors(path):
        return _named(read_state(path))
    try:
        with path.open("rb") as file:
            start = file.read(4)
        loaded = _read_zip(path) if start == b"PK\x03\x04" else _read_old(path.read_bytes())
        tensors, notes = _unwrapped(loaded)
        state, more = _named({key: tensor.array() for key, tensor in tensors.items()})
        return state, [*notes, *more]
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {error.strerror or error}") from error
    except _RefusedGlobalError as error:
        raise WeightsError(
            f"{path} asks for {str(error)!r}, which no weights need: nothing of it was run or "
            "loaded. Save only the state dict: torch.save(model.state_dict(), FILE)"
        ) from None
    # Any: a broken stream makes the unpickler and its stand-ins raise whatever comes up.
    except Exception as error:
        raise WeightsError(
            f"{path} is no state dict as torch.save writes it, or is damaged "
            f"({type(error).__name__}: {error})"
        ) from error


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > _MAX_BYTES:
            raise ValueError("more than 8 GiB")
        pickles = [
            name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl"
        ]
        if len(pickles) != 1:
            raise ValueError(f"{len(pickles)} members called data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        if (
            f"{folder}byteorder" in archive.namelist()
            and archive.read(f"{folder}byteorder") != b"little"
        ):
            raise ValueError("written on a big-endian machine")
        storages: dict[str, _Storage] = {}
        loaded = _Unpickler(io.BytesIO(archive.read(pickles[0])), storages).load()
        for storage in storages.values():
            storage.fill(archive.read(f"{folder}data/{storage.key}"))
    return loaded


def _read_old(content: bytes) -> Any:
    file, storages = io.BytesIO(content), dict[str, _Storage]()
    if _Unpickler(file, {}).load() != _MAGIC:
        raise ValueError("the magic number is missing")
    _Unpickler(file, {}).load()  # version of the protocol
    if not _Unpickler(file, {}).load().get("little_endian", True):
        raise ValueError("written on a big-endian machine")
    loaded = _Unpickler(file, storages).load()
    for key in _Unpickler(file, {}).load():
        storage = storages[str(key)]
        (size,) = struct.unpack("<q", file.read(8))
        if size != storage.size:
            raise ValueError(f"storage {key} has {size} values instead of {storage.size}")
        storage.fill(file.read(size * storage.kind.itemsize))
    return loaded


def _unwrapped(loaded: Any) -> tuple[dict[str, _Tensor], list[str]]:
    """The tensors by name, and what was passed over."""
    if not isinstance(loaded, Mapping):
        raise ValueError(f"it holds a {type(loaded).__name__}")
    inside = {
        key: value
        for key, value in loaded.items()
        if isinstance(value, Mapping) and _is_state(value)
    }
    if not inside:
        return _tensors(loaded), []
    chosen = next((key for key in _WRAPPERS if key in inside), None)
    if chosen is None and len(inside) > 1:
        raise ValueError(
            f"it holds several state dicts, {', '.join(map(str, inside))}: save the one that is "
            "meant"
        )
    chosen = next(iter(inside)) if chosen is None else chosen
    others = ", ".join(str(key) for key in inside if key != chosen)
    notes = [f"took the checkpoint's {chosen}, not its {others}"] if others else []
    return _tensors(inside[chosen]), notes


def _is_state(value: Mapping[Any, Any]) -> bool:
    return bool(value) and all(isinstance(each, _Tensor) for each in value.values())


def _tensors(loaded: Mapping[Any, Any]) -> dict[str, _Tensor]:
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, _Tensor):
            raise ValueError(f"{key!r} is a {type(value).__name__.strip('_').lower()}, no tensor")
    return dict(loaded)


def _named(tensors: State) -> tuple[State, list[str]]:
    """``tensors`` without counters, and without what wrappers put before all names."""
    state = {
        key: value for key, value in tensors.items() if key.rpartition(".")[2] not in _COUNTERS
    }
    cut = ""
    while prefix := next(
        (each for each in _PREFIXES if state and all(key.startswith(each) for key in state)), ""
    ):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        cut += prefix
    return {_renumbered(key): value for key, value in state.items()}, [
        f"{cut} before all names was dropped"
    ] if cut else []


def _renumbered(name: str) -> str:
    """Old files of torchvision's DenseNet say ``norm.1`` for ``norm1``."""
    head, layer, tail = name.rpartition("denselayer")
    return head + layer + tail.replace("norm.", "norm").replace("conv.", "conv") if layer else name
