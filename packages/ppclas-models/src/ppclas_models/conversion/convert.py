"""Turn a weight file of any known kind into one of this zoo's, with a report of each tensor."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import WeightsError
from ppclas_core.files import write_atomic
from ppclas_core.limits import weights_bytes
from ppclas_core.weights import check_finite, read_state, save_state, without_prefix
from ppclas_core.wording import first_few

from ppclas_models.catalog import load_catalog
from ppclas_models.conversion.legacy_names import legacy_names
from ppclas_models.conversion.scattered import is_tar, read_scattered, write_scattered
from ppclas_models.conversion.torch_file import is_safetensors, is_torch, read_torch
from ppclas_models.conversion.torch_names import torch_names
from ppclas_models.conversion.torch_weights import take_torch
from ppclas_models.shapes import Shapes, check_shapes, head_of, shapes_of

State = dict[str, NDArray[Any]]
Origin = Literal["paddle", "legacy", "torch"]
Format = Literal["safetensors", "pdparams", "scattered"]

ORIGINS: tuple[Origin, ...] = ("paddle", "legacy", "torch")
FORMATS: tuple[Format, ...] = ("safetensors", "pdparams", "scattered")


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
    """What else was done."""
    differences: tuple[str, ...] = ()
    """Why the model's answers may differ from the original's."""
    head: bool = True
    """Whether the file has a classifier."""

    def __str__(self) -> str:
        """One sentence, for example "320/320 tensors taken, 2 of the file not used: a, b"."""
        parts = [f"{self.taken}/{self.total} tensors taken"]
        if self.made:
            parts.append(
                f"{len(self.made)} made the identity, which the original has not: "
                f"{first_few(self.made)}"
            )
        if self.scaled:
            parts.append(f"{len(self.scaled)} scaled: {first_few(self.scaled)}")
        if self.unused:
            parts.append(f"{len(self.unused)} of the file not used: {first_few(self.unused)}")
        if not self.head:
            parts.append("no classifier in the file: the model's will start afresh")
        return ", ".join(parts)


def read_weights(
    path: Path, name: str, origin: Origin | None = None, torch_model: str | None = None
) -> tuple[State, ConversionReport]:
    """The state dict for the model ``name`` of a weight file or folder; ``origin`` is recognised if
    not given.

    The classifier may have any number of classes, or be missing. ``torch_model`` names the torch
    model that the file is of, where torch has models of the same tensor names that compute
    differently.

    Raises:
        WeightsError: it cannot be read, its names are not known for this model, or tensors are
            missing or of another shape.
    """
    architecture = _architecture(name)
    kind = "torch" if torch_model else origin or _origin(path)
    if kind == "torch":
        state, report = _read_torch(path, architecture, torch_model)
    elif kind == "legacy":
        state, report = _read_legacy(path, architecture)
    else:
        state, report = _read_paddle(path, architecture)
        # Other tools write those too.
        if not state and origin is None and is_safetensors(_start(path)):
            state, report = _read_torch(path, architecture)
    head = head_of(architecture)
    if not any(key in state for key in head):
        report = replace(report, head=False)
    try:
        check_shapes(_shapes(state), architecture, any_classes=True, without_head=not report.head)
        check_finite(state)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    return state, report


def write_weights(
    path: Path, state: Mapping[str, NDArray[Any]], name: str, kind: Format | None = None
) -> Format:
    """Write ``state`` of the model ``name``; the kind is told from the suffix of ``path`` if not
    given.

    Raises:
        WeightsError: it cannot be written, or the old names of this model are not known.
    """
    if kind is None:
        suffixes: dict[str, Format] = {
            ".safetensors": "safetensors",
            ".pdparams": "pdparams",
            "": "scattered",
        }
        if path.suffix not in suffixes:
            raise WeightsError(
                f"{path}: expected a name that ends in .safetensors or .pdparams, or a folder's "
                "without a suffix"
            )
        kind = suffixes[path.suffix]
    if kind == "scattered":
        names = legacy_names(_architecture(name))
        write_scattered(path, {names[key]: array for key, array in state.items() if key in names})
    elif kind == "safetensors":
        save_state(path, state, {"model": name})
    else:
        content = pickle.dumps(
            {key: np.ascontiguousarray(array) for key, array in state.items()}, protocol=4
        )
        try:
            write_atomic(path, partial(_fill, content))
        except OSError as error:
            raise WeightsError(
                f"cannot write the weights {path}: {error.strerror or error}"
            ) from error
    return kind


def _fill(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _architecture(name: str) -> str:
    row = load_catalog().get(name)
    if row is None:
        raise WeightsError(
            f"{name!r} is no name of the catalogue, so its tensor names are not known"
        )
    return row.architecture


def _origin(path: Path) -> Origin:
    if path.is_dir():
        return "legacy"
    if not path.is_file():
        raise WeightsError(f"there are no weights at {path}")
    if is_torch(_start(path)):
        return "torch"
    return "legacy" if is_tar(path) else "paddle"


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(32)
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {error.strerror or error}") from error


def _shapes(state: Mapping[str, NDArray[Any]]) -> Shapes:
    return {key: tuple(array.shape) for key, array in state.items()}


def _most(architecture: str) -> int:
    return weights_bytes(sum(prod(shape) for shape in shapes_of(architecture).values()))


# By origin


def _read_paddle(path: Path, architecture: str) -> tuple[State, ConversionReport]:
    wanted = shapes_of(architecture)
    state, prefix = without_prefix(read_state(path, _most(architecture)), wanted)
    taken = {key: state[key] for key in wanted if key in state}
    unused = tuple(key for key in state if key not in wanted)
    notes = (f"took those whose names begin with {prefix}",) if prefix else ()
    return taken, ConversionReport("paddle", len(wanted), len(taken), unused=unused, notes=notes)


def _read_legacy(path: Path, architecture: str) -> tuple[State, ConversionReport]:
    names = legacy_names(architecture)
    found, others = read_scattered(path, set(names.values()), _most(architecture))
    state = {key: found[old] for key, old in names.items() if old in found}
    if not state:
        raise WeightsError(
            f"{path} has none of the {len(names)} files of a {architecture} of 2020, such as "
            f"{first_few(names.values())}; it has {first_few(others) or 'nothing'}"
        )
    return state, ConversionReport("legacy", len(names), len(state), unused=tuple(others))


def _read_torch(
    path: Path, architecture: str, model: str | None = None
) -> tuple[State, ConversionReport]:
    torch_names(architecture)  # says no before a large file is read
    found, notes = read_torch(path, _most(architecture))
    taken = take_torch(found, path, architecture, model)
    return taken.state, ConversionReport(
        origin="torch",
        total=len(shapes_of(architecture)),
        taken=len(taken.state) - len(taken.made),
        made=taken.made,
        scaled=taken.scaled,
        unused=taken.unused,
        notes=(*taken.notes, *notes),
        differences=taken.differences,
    )
