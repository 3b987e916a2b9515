"""Turn a weight file of any known kind into one of this zoo's, with a report of what became of each tensor."""

from __future__ import annotations

import pickle
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import WeightsError
from ppclas_core.files import write_atomic
from ppclas_core.weights import read_state, save_state

from ppclas_models.catalog import load_catalog
from ppclas_models.conversion.legacy_names import legacy_names
from ppclas_models.conversion.scattered import read_scattered, write_scattered
from ppclas_models.conversion.torch_file import read_torch
from ppclas_models.conversion.torch_names import TorchNames, torch_names
from ppclas_models.shapes import Shapes, check_shapes, shapes_of, some

State = dict[str, NDArray[Any]]
Origin = Literal["paddle", "legacy", "torch"]
Format = Literal["safetensors", "pdparams", "scattered"]

ORIGINS: tuple[Origin, ...] = ("paddle", "legacy", "torch")
FORMATS: tuple[Format, ...] = ("safetensors", "pdparams", "scattered")
_EPSILON = 1e-5
"""Of the batch norms that are made the identity."""


@dataclass(frozen=True)
class ConversionReport:
    """What became of the tensors."""

    origin: Origin
    total: int
    """Tensors of the model."""
    taken: int
    """Of them, those whose values came from the file."""
    made: tuple[str, ...] = ()
    """Those of layers that the other model lacks, made the identity."""
    scaled: tuple[str, ...] = ()
    """Those whose values were multiplied, to make up for what the model here scales."""
    unused: tuple[str, ...] = ()
    """Tensors of the file that the model has no place for."""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One sentence, for example "320/320 tensors taken, 2 of the file not used: a, b"."""
        parts = [f"{self.taken}/{self.total} tensors taken"]
        if self.made:
            parts.append(f"{len(self.made)} made the identity, which the original has not: {some(self.made)}")
        if self.scaled:
            parts.append(f"{len(self.scaled)} scaled: {some(self.scaled)}")
        if self.unused:
            parts.append(f"{len(self.unused)} of the file not used: {some(self.unused)}")
        return ", ".join(parts)


def read_weights(path: Path, name: str, origin: Origin | None = None) -> tuple[State, ConversionReport]:
    """The state dict for the model ``name`` of a weight file or folder; ``origin`` is recognised if not given.

    The classifier may have any number of classes.

    Raises:
        WeightsError: it cannot be read, its names are not known for this model, or tensors are missing or of another
            shape.
    """
    architecture = _architecture(name)
    kind = origin or _origin(path)
    state, report = _READERS[kind](path, architecture)
    try:
        check_shapes(_shapes(state), architecture, any_classes=True)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    return state, report


def write_weights(path: Path, state: Mapping[str, NDArray[Any]], name: str, kind: Format | None = None) -> Format:
    """Write ``state`` of the model ``name``; the kind is told from the suffix of ``path`` if not given.

    Raises:
        WeightsError: it cannot be written, or the old names of this model are not known.
    """
    if kind is None:
        suffixes: dict[str, Format] = {".safetensors": "safetensors", ".pdparams": "pdparams", "": "scattered"}
        if path.suffix not in suffixes:
            raise WeightsError(
                f"{path}: expected a name that ends in .safetensors or .pdparams, or a folder's without a suffix"
            )
        kind = suffixes[path.suffix]
    if kind == "scattered":
        names = legacy_names(_architecture(name))
        write_scattered(path, {names[key]: array for key, array in state.items() if key in names})
    elif kind == "safetensors":
        save_state(path, state, {"model": name})
    else:
        content = pickle.dumps({key: np.ascontiguousarray(array) for key, array in state.items()}, protocol=4)
        try:
            write_atomic(path, partial(_fill, content))
        except OSError as error:
            raise WeightsError(f"cannot write the weights {path}: {error.strerror or error}") from error
    return kind


def _fill(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _architecture(name: str) -> str:
    row = load_catalog().get(name)
    if row is None:
        raise WeightsError(f"{name!r} is no name of the catalogue, so its tensor names are not known")
    return row.architecture


def _origin(path: Path) -> Origin:
    if path.is_dir():
        return "legacy"
    if not path.is_file():
        raise WeightsError(f"there are no weights at {path}")
    with open(path, "rb") as file:
        start = file.read(32)
    if zipfile.is_zipfile(path) or b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" in start:  # torch's magic
        return "torch"
    return "legacy" if tarfile.is_tarfile(path) else "paddle"


def _shapes(state: Mapping[str, NDArray[Any]]) -> Shapes:
    return {key: tuple(array.shape) for key, array in state.items()}


# By origin


def _read_paddle(path: Path, architecture: str) -> tuple[State, ConversionReport]:
    state = read_state(path)
    wanted = shapes_of(architecture)
    taken = {key: state[key] for key in wanted if key in state}
    unused = tuple(key for key in state if key not in wanted)
    return taken, ConversionReport("paddle", len(wanted), len(taken), unused=unused)


def _read_legacy(path: Path, architecture: str) -> tuple[State, ConversionReport]:
    names = legacy_names(architecture)
    found, others = read_scattered(path, set(names.values()))
    state = {key: found[old] for key, old in names.items() if old in found}
    if not state:
        raise WeightsError(
            f"{path} has none of the {len(names)} files of a {architecture} of 2020, such as {some(names.values())}; "
            f"it has {some(others) or 'nothing'}"
        )
    return state, ConversionReport("legacy", len(names), len(state), unused=tuple(others))


def _read_torch(path: Path, architecture: str) -> tuple[State, ConversionReport]:
    namings = torch_names(architecture)
    found = _renumbered(read_state(path) if path.suffix == ".safetensors" else read_torch(path))
    naming = max(namings, key=lambda each: sum(name in found for name in each.names.values()))
    known = {name for name in naming.names.values() if name is not None}
    if not known & found.keys():
        raise WeightsError(
            f"{path} has no tensor of a {architecture} as torchvision or timm name it, such as {some(sorted(known))}; "
            f"it has {some(found)}"
        )
    state, made = {}, []
    for key, shape in shapes_of(architecture).items():
        name = naming.names[key]
        if name is None:
            state[key] = _identity(key, shape)
            made.append(key)
        elif name in found:
            state[key] = _converted(found[name], shape, naming, key)
    total = len(naming.names)
    unused = tuple(name for name in found if name not in known)
    scaled = tuple(naming.factors)
    report = ConversionReport("torch", total, len(state) - len(made), tuple(made), scaled, unused, naming.notes)
    return state, report


_READERS = {"paddle": _read_paddle, "legacy": _read_legacy, "torch": _read_torch}


def _renumbered(state: State) -> State:
    """Old files of torchvision's DenseNet say ``norm.1`` for ``norm1``."""
    renamed = {}
    for name, array in state.items():
        head, layer, tail = name.rpartition("denselayer")
        renamed[head + layer + tail.replace("norm.", "norm").replace("conv.", "conv") if layer else name] = array
    return renamed


def _converted(array: NDArray[Any], shape: tuple[int, ...], naming: TorchNames, key: str) -> NDArray[Any]:
    # torch keeps the weight of a linear layer as [out, in]; a 1x1 convolution may stand for one.
    value = array.T if len(shape) == 2 and array.ndim == 2 else array
    if key in naming.factors:
        value = value * np.asarray(naming.factors[key], value.dtype)
    return np.ascontiguousarray(value)


def _identity(key: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """What makes a 1x1 convolution, or the batch norm behind it, give back its input."""
    if len(shape) == 4:
        return np.eye(shape[0], shape[1], dtype=np.float32).reshape(shape)
    leaf = key.rpartition(".")[2]
    return np.full(shape, {"weight": 1.0, "bias": 0.0, "_mean": 0.0, "_variance": 1.0 - _EPSILON}[leaf], np.float32)
