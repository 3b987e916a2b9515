"""Read weight files without executing anything in them, fit them to a model, and say what happened.

``.safetensors`` cannot hold code, and is read here; other kinds of files are read by what plugins
register. Which kind a file is goes by its content, not by its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ppclas_core.errors import WeightsError
from ppclas_core.files import write_bytes
from ppclas_core.limits import weights_bytes
from ppclas_core.plugins import get_registries
from ppclas_core.wording import first_few

if TYPE_CHECKING:
    from ppclas_core.contracts.image_model import ImageModel
    from ppclas_core.contracts.weight_format import WeightFormat

State = dict[str, NDArray[Any]]
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class LoadReport:
    """What became of the tensors of a weight file."""

    loaded: int
    """Tensors of the model that got their value from the file."""
    total: int
    """Tensors of the model, batch-norm statistics included."""
    head_classes: tuple[int | None, int | None] = (None, None)
    """Classes in the file and in the model; None where there is no classifier."""
    head_loaded: bool = True
    """Whether the classifier came from the file. If not, it keeps its fresh weights."""
    missing: tuple[str, ...] = ()
    """Tensors of the model outside the head that the file lacks."""
    extra: tuple[str, ...] = ()
    """Tensors of the file that the model has no place for."""
    prefix: str = ""
    """What all names begin with in the file, and not in the model: ``Student.``, for one."""

    def __str__(self) -> str:
        """One sentence, for example "318/320 tensors loaded, head re-initialised 1000→5"."""
        where = f" from those whose names begin with {self.prefix}" if self.prefix else ""
        parts = [f"{self.loaded}/{self.total} tensors loaded{where}"]
        in_file, in_model = self.head_classes
        if not self.head_loaded and in_model is not None:
            parts.append(
                f"head re-initialised {in_file}→{in_model}"
                if in_file is not None
                else f"head newly initialised with {in_model} classes (the file has none)"
            )
        elif in_file is not None and in_model is None:
            parts.append(f"head of {in_file} classes left out")
        if self.missing:
            count, named = len(self.missing), first_few(self.missing)
            parts.append(f"{count} not in the file and newly initialised: {named}")
        if self.extra:
            count, named = len(self.extra), first_few(self.extra)
            parts.append(f"{count} in the file and not in the model: {named}")
        return ", ".join(parts)


def read_state(path: str | Path, most: int | None = None) -> State:
    """The arrays of a weight file of any registered kind, in its order (bf16 as float32).

    ``path`` may leave the suffix out. Arrays may be read-only views of the file's content. A file
    of more than ``most`` bytes is refused before it is read.

    Raises:
        WeightsError: there is no such file, it is damaged, too large, or asks for anything but
            arrays.
    """
    registry = get_registries().weight_formats
    formats: list[WeightFormat] = [registry.build(name) for name in registry]
    suffixes = [suffix for each in formats for suffix in each.suffixes] + [".safetensors"]
    found = _find(Path(path), suffixes)
    try:
        size = found.stat().st_size
        if most is not None and size > most:
            raise WeightsError(
                f"{found} has {size:,} bytes; weights of this model have at most {most:,}. Are "
                "these the weights of another model?"
            )
        with found.open("rb") as file:
            start = file.read(512)
        for each in formats:
            if each.recognises(found, start):
                return each.read(found)
        if start[5:9] == b"\0\0\0{":
            return _read_safetensors(found, found.read_bytes())
    except OSError as error:
        raise WeightsError(f"cannot read the weights {found}: {error.strerror or error}") from error
    if not start:
        raise WeightsError(f"{found} is empty (0 bytes): the copy was interrupted. Get it again.")
    expected = f"expected {' or '.join(suffixes)}"
    if not formats:
        expected += " (ppclas-models reads .pdparams as well: pip install ppclas-models)"
    raise WeightsError(f"{found} is no weight file: {expected}, found {_kind(start)}")


def check_finite(state: Arrays) -> None:
    """Refuse weights that no answer can come from.

    Raises:
        WeightsError: a tensor has values that are not finite; the message names it.
    """
    bad = [key for key, array in state.items() if not np.isfinite(array).all()]
    if bad:
        raise WeightsError(
            f"{len(bad)} of {len(state)} tensors have values that are not finite (NaN or Inf): "
            f"{first_few(bad)}. The training that made them diverged, or the file is damaged"
        )


_WRAPPERS = [
    "state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model_state_dict", "model",
    "Student", "student", "backbone", "module", "_layers",
]  # fmt: skip
"""What programs put before a model's names; of several the first is meant, the averaged weights."""


def without_prefix(state: Arrays, names: Iterable[str]) -> tuple[Arrays, str]:
    """The tensors of a model of those ``names`` without what wrappers put before them, and that."""
    first = next(iter(names), "")
    found = [key.removesuffix(first) for key in state if key.endswith(f".{first}")]
    known = [prefix for prefix in found if {*prefix[:-1].split(".")} <= {*_WRAPPERS}]
    if first in state or not known:
        return state, ""
    cut = min(known, key=lambda prefix: [*map(_WRAPPERS.index, prefix[:-1].split("."))])
    return {key.removeprefix(cut): state[key] for key in state if key.startswith(cut)}, cut


def fit_state(model: ImageModel, state: Arrays, *, strict: bool = True) -> LoadReport:
    """Copy ``state`` into ``model``, casting to the model's dtype, and report.

    The classifier (``model.is_head``) is loaded whole or not at all: where its shape differs it
    keeps its fresh weights. Outside of it a tensor of another shape is always an error, a tensor
    that the file lacks is one unless ``strict`` is false, and a tensor that only the file has is
    reported. Nothing is copied when an error is raised.

    Raises:
        WeightsError: nothing matches, or tensors outside the head differ or are missing.
    """
    target = model.state_dict()
    state, prefix = without_prefix(state, target)
    body = [key for key in target if not model.is_head(key)]
    head = [key for key in target if model.is_head(key)]
    matched = [key for key in body if key in state]
    if not matched:
        raise WeightsError(
            f"none of the file's {len(state)} tensors belongs to this {type(model).__name__}: it "
            f"has {first_few(target)}, the file {first_few(state)}. Are these the weights of "
            "another model?"
        )
    different = [
        f"{key} {[*state[key].shape]} instead of {[*target[key].shape]}"
        for key in matched
        if [*state[key].shape] != [*target[key].shape]
    ]
    if different:
        raise WeightsError(
            f"{len(different)} of {len(body)} tensors outside the head have another shape than in "
            f"this {type(model).__name__}: {first_few(different, separator='; ')}. Are these the "
            "weights of another width or depth?"
        )
    missing = [key for key in body if key not in state]
    if missing and strict:
        raise WeightsError(
            f"the file lacks {len(missing)} of the {len(body)} tensors that this "
            f"{type(model).__name__} has outside the head: {first_few(missing)}. Are these the "
            "weights of another model, or only a part of them?"
        )
    head_loaded = all(key in state and [*state[key].shape] == [*target[key].shape] for key in head)
    chosen = matched + (head if head_loaded else [])
    for key in chosen:
        if (kind := state[key].dtype).kind not in "fiu":
            raise WeightsError(f"the tensor {key} of the file is {kind}: expected numbers")
    check_finite({key: state[key] for key in chosen})
    for key in chosen:
        dtype = str(target[key].dtype).removeprefix("paddle.")
        target[key].set_value(np.ascontiguousarray(state[key], dtype=dtype))
    return LoadReport(
        loaded=len(chosen),
        total=len(target),
        head_classes=(
            _classes({key: array for key, array in state.items() if model.is_head(key)}),
            _classes({key: target[key] for key in head}),
        ),
        head_loaded=head_loaded,
        missing=tuple(missing),
        extra=tuple(key for key in state if key not in target and not model.is_head(key)),
        prefix=prefix,
    )


def load_weights(model: ImageModel, path: str | Path, *, strict: bool = True) -> LoadReport:
    """``read_state``, then ``fit_state``.

    Raises:
        WeightsError: the file cannot be read or does not fit; the message begins with its path.
    """
    state = read_state(path, most_bytes(model))
    try:
        return fit_state(model, state, strict=strict)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def most_bytes(model: ImageModel) -> int:
    """Of a file with weights of ``model``."""
    return weights_bytes(sum(prod(tensor.shape) for tensor in model.state_dict().values()))


def model_state(model: ImageModel) -> State:
    """The model's tensors by key, copied to the host."""
    return {key: tensor.numpy() for key, tensor in model.state_dict().items()}


def save_state(path: str | Path, state: Arrays, metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays and strings as ``.safetensors``; a kill leaves the old file or the new.

    Raises:
        WeightsError: the file cannot be written.
    """
    from safetensors.numpy import save

    arrays = {key: np.ascontiguousarray(array) for key, array in state.items()}
    content = save(arrays, dict(metadata or {}) or None)
    try:
        write_bytes(Path(path), content)
    except OSError as error:
        raise WeightsError(f"cannot write the weights {path}: {error.strerror or error}") from error


# Finding the file and naming what it is


def _find(path: Path, suffixes: Sequence[str]) -> Path:
    for candidate in (path, *(path.with_name(path.name + suffix) for suffix in suffixes)):
        if candidate.is_file():
            return candidate
    if path.is_dir():
        raise WeightsError(
            f"{path} is a folder: expected a {' or '.join(suffixes)} file. If it holds the weights "
            "of a 2020 release, one file per tensor, run 'ppclas models convert' first"
        )
    raise WeightsError(f"there are no weights at {path} (nor with {' or '.join(suffixes)} added)")


def _kind(content: bytes) -> str:
    start = content[:256].lstrip().lower()
    known = {
        b"<": "an HTML or XML page: a download got an error page instead of the file",
        b"\x1f\x8b": "a gzip archive: unpack it first",
        b"version https://git-lfs": "a Git LFS pointer: fetch the file itself with 'git lfs pull'",
    }
    other = f"something that begins with {content[:16]!r}"
    return next((name for magic, name in known.items() if start.startswith(magic)), other)


# .safetensors


_SAFETENSORS_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip


def _read_safetensors(file: Path, content: bytes) -> State:
    from safetensors import SafetensorError, deserialize

    try:
        tensors = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise WeightsError(f"{file} is a damaged .safetensors file, or cut off: {error}") from error
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    state: State = {}
    for name, tensor in sorted(tensors, key=lambda each: header[each[0]]["data_offsets"]):
        shape, dtype, data = tensor["shape"], tensor["dtype"], tensor["data"]
        if dtype == "BF16":  # the upper half of a float32
            widened = np.frombuffer(data, "<u2").astype("<u4") << 16
            state[name] = widened.view("<f4").reshape(shape)
        elif dtype in _SAFETENSORS_DTYPES:
            state[name] = np.frombuffer(data, _SAFETENSORS_DTYPES[dtype]).reshape(shape)
        else:
            raise WeightsError(f"{file}: the tensor {name} is {dtype}, which cannot be read here")
    return state


# Words for messages


def _classes(head: Mapping[str, Any]) -> int | None:
    """The class count of a classifier: the length of its bias."""
    widths = [tensor.shape[0] for tensor in head.values() if len(tensor.shape) == 1]
    return widths[0] if widths else None
