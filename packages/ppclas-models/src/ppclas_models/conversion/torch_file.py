"""Read the state dict of a torch model, without torch and without executing anything in the file.

Both formats of ``torch.save`` are pickles that refer to raw storages: a zip with one member a
storage, and the older one with all of them behind the pickle. The globals that tensors need have
inert stand-ins. Only the storages of the tensors that are wanted are read. ``.safetensors`` cannot
hold code.
"""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import WeightsError
from ppclas_core.limits import unpacked_bytes
from ppclas_core.weights import State, read_state

from ppclas_models.conversion.pdparams import ordered
from ppclas_models.conversion.unpickle import RefusedGlobalError, unpickle

_CHECKPOINT = 8
"""Times the weights that a training checkpoint may be: averages and the optimizer's state."""
_MAGIC = 0x1950A86A20F9469CFC6C
_MAGIC_BYTES = _MAGIC.to_bytes(10, "little")
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

    @property
    def num_bytes(self) -> int:
        return self.size * self.kind.itemsize

    def fill(self, raw: bytes) -> None:
        if len(raw) != self.num_bytes:
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

    def __post_init__(self) -> None:
        if any(type(n) is not int or not 0 <= n < 2**48 for n in (*self.shape, *self.strides)):
            raise UnpicklingError("a shape or strides that are no whole numbers")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        size = self.storage.size
        if type(self.offset) is not int or self.offset < 0 or self.values > size or last >= size:
            raise UnpicklingError(
                f"a tensor of shape {list(self.shape)} does not fit its storage of {size} values"
            )

    @property
    def values(self) -> int:
        return prod(self.shape)

    def array(self) -> NDArray[Any]:
        """A view of the storage: tensors that share one take no memory of their own."""
        content = self.storage.content
        if content is None:
            raise ValueError(f"storage {self.storage.key} is missing")
        steps = tuple(s * content.itemsize for s in self.strides)
        return np.lib.stride_tricks.as_strided(
            content[self.offset :], self.shape, steps, writeable=False
        )


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: object) -> _Tensor:
    if type(storage) is not _Storage or type(shape) is not tuple or type(strides) is not tuple:
        raise UnpicklingError("a tensor without a storage or shape")
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: Any, *_: object) -> Any:
    return tensor


class _Namespace:
    """The command line's options, which scripts save beside the tensors; all is dropped."""

    def take_state(self, _state: object) -> None:
        pass


_GLOBALS: dict[str, Callable[..., Any] | _StorageType] = {
    "collections.OrderedDict": ordered,
    "argparse.Namespace": _Namespace,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    **{f"torch.{name}": _StorageType(dtype) for name, dtype in _DTYPES.items()},
}


def _unpickle(file: mmap.mmap | io.BytesIO, storages: dict[str, _Storage]) -> Any:
    def refer(reference: Any) -> _Storage:
        word, kind, key, _location, size = reference[:5]
        if (
            word != "storage"
            or type(kind) is not _StorageType
            or type(key) not in (str, int)
            or type(size) is not int
            or (len(reference) > 5 and reference[5] is not None)
        ):
            raise UnpicklingError("an unknown reference")
        return storages.setdefault(str(key), _Storage(kind, str(key), size))

    return unpickle(file, _GLOBALS, refer)


def is_safetensors(start: bytes) -> bool:
    """Whether a file that begins so is of that format."""
    return start[5:9] == b"\0\0\0{"


def is_torch(start: bytes) -> bool:
    """Whether a file that begins so is one of ``torch.save``: a zip, or a pickle of its magic."""
    return start.startswith(b"PK\x03\x04") or _MAGIC_BYTES in start[:32]


def read_torch(path: Path, most: int) -> tuple[State, list[str]]:
    """The tensors of a state dict by the model's own names, and what was chosen or left out on the
    way to them.

    The batch norms' counters are dropped, and what wrappers put before all names (``module.`` and
    the like). A training checkpoint that has the state dict under one of the usual names will do.
    A state dict of more than ``most`` bytes is refused before it is read.

    Raises:
        WeightsError: it is no such file, it is damaged or too large, or its pickle asks for
            anything but tensors.
    """
    try:
        with path.open("rb") as file:
            start = file.read(512)
            file.seek(0)
            if is_safetensors(start):
                return _named(read_state(path, most))
            if path.stat().st_size > _CHECKPOINT * most:
                raise ValueError(_too_large(path.stat().st_size, most))
            if start[:4] == b"PK\x03\x04":
                tensors, notes = _read_zip(file, path.stat().st_size, most)
            else:
                # A file's own read() would allocate what a broken length asks for.
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    tensors, notes = _read_old(content, most)
        state, more = _named({key: tensor.array() for key, tensor in tensors.items()})
        return state, [*notes, *more]
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {error.strerror or error}") from error
    except RefusedGlobalError as error:
        raise WeightsError(
            f"{path} asks for {str(error)[:80]!r}, which no weights need: nothing of it was run or "
            "loaded. Save only the state dict: torch.save(model.state_dict(), FILE)"
        ) from None
    # Any: a broken stream makes the reader and its stand-ins raise whatever comes up.
    except Exception as error:
        raise WeightsError(
            f"{path} is no state dict as torch.save writes it, or is damaged "
            f"({type(error).__name__}: {str(error)[:200]})"
        ) from error


def _read_zip(file: IO[bytes], size: int, most: int) -> tuple[dict[str, _Tensor], list[str]]:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if sum(member.file_size for member in archive.infolist()) > unpacked_bytes(size):
            raise ValueError(f"it says that it holds far more than its {size:,} bytes can")
        pickles = [name for name in names if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError(f"{len(pickles)} members called data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in names and archive.read(order) != b"little":
            raise ValueError("written on a big-endian machine")
        if archive.getinfo(pickles[0]).file_size > most:
            raise ValueError("a pickle larger than all weights of this model")
        tensors, notes = _unwrapped(_unpickle(io.BytesIO(archive.read(pickles[0])), {}))
        for storage in _storages(tensors, most).values():
            storage.fill(archive.read(f"{folder}data/{storage.key}"))
    return tensors, notes


def _read_old(file: mmap.mmap, most: int) -> tuple[dict[str, _Tensor], list[str]]:
    if _unpickle(file, {}) != _MAGIC:
        raise ValueError("the magic number is missing")
    _unpickle(file, {})  # version of the protocol
    if not _unpickle(file, {}).get("little_endian", True):
        raise ValueError("written on a big-endian machine")
    storages: dict[str, _Storage] = {}
    tensors, notes = _unwrapped(_unpickle(file, storages))
    wanted = _storages(tensors, most)
    for key in _unpickle(file, {}):
        storage = storages[key]
        (size,) = struct.unpack("<q", file.read(8))
        if size != storage.size:
            raise ValueError(f"storage {key} has {size} values instead of {storage.size}")
        if key in wanted:
            storage.fill(file.read(storage.num_bytes))
        else:
            file.seek(storage.num_bytes, io.SEEK_CUR)
    return tensors, notes


def _too_large(size: int, most: int) -> str:
    return f"{size:,} bytes; weights of this model have at most {most:,}"


def _storages(tensors: Mapping[str, _Tensor], most: int) -> dict[str, _Storage]:
    """Those of ``tensors``, by key, if they are no more than a model has."""
    found = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    stored = sum(storage.num_bytes for storage in found.values())
    if stored > most:
        raise ValueError(_too_large(stored, most))
    # Two names for one tensor are common; hundreds would be copied hundreds of times.
    if sum(t.values * t.storage.kind.itemsize for t in tensors.values()) > 2 * stored:
        raise ValueError("tensors that share their values many times over")
    return found


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
