"""From the tensors of a torch model to those of the model here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import WeightsError
from ppclas_core.weights import State
from ppclas_core.wording import first_few

from ppclas_models.conversion.torch_names import TorchNames, torch_names
from ppclas_models.shapes import shapes_of

_EPSILON = 1e-5
"""Of the batch norms that are made the identity."""


@dataclass(frozen=True)
class Taken:
    """What a file gave."""

    state: State
    """Tensors of the model here; those that the file lacks are missing."""
    made: tuple[str, ...]
    """Those of layers that the torch model lacks, made the identity."""
    scaled: tuple[str, ...]
    """Those whose values were multiplied."""
    unused: tuple[str, ...]
    """Tensors of the file that the model has no place for."""
    notes: tuple[str, ...]
    """What was done."""
    differences: tuple[str, ...]
    """Why the answers may differ from the torch model's."""


def take_torch(found: State, path: Path, architecture: str, model: str | None) -> Taken:
    """Tensors of ``architecture`` from those of ``path``, called ``model`` if the user says so.

    Raises:
        WeightsError: no torch weights fit ``architecture``, or not these.
    """
    naming, guesses = _chosen(torch_names(architecture), found, path, architecture, model)
    state: State = {}
    made: list[str] = []
    for key, shape in shapes_of(architecture).items():
        name = naming.names[key]
        parts = naming.joined.get(key, ())
        try:
            if parts:
                if all(part is None or part in found for part in parts):
                    state[key] = _joined(found, parts, shape)
            elif name is None:
                state[key] = _neutral(key, shape)
                made.append(key)
            elif name in found:
                state[key] = _converted(found, name, shape, naming, key)
        except ValueError as error:
            raise WeightsError(
                f"{path}: the tensors for {key} are not of the shapes that a {architecture} has"
            ) from error
    unused = tuple(name for name in found if name not in naming.sources)
    return Taken(
        state,
        tuple(made),
        tuple(naming.factors),
        unused,
        _notes(naming, found),
        (*guesses, *_differences(naming, unused)),
    )


def _chosen(
    namings: Sequence[TorchNames], found: State, path: Path, architecture: str, model: str | None
) -> tuple[TorchNames, tuple[str, ...]]:
    """The naming that fits the file best, and what was guessed."""
    if model is not None:
        titles = "; ".join(naming.layout.title for naming in namings)
        namings = [naming for naming in namings if naming.layout.fits(model)]
        if not namings:
            raise WeightsError(
                f"a {architecture} cannot be made from a torch model called {model!r}. It can "
                f"from: {titles}"
            )
    fits = [sum(name in found for name in naming.sources) for naming in namings]
    if not max(fits):
        names = sorted(namings[0].sources)
        raise WeightsError(
            f"{path} has no tensor of a {architecture} as torchvision or timm name it, such as "
            f"{first_few(names)}; it has {first_few(found)}"
        )
    best = [naming for naming, fit in zip(namings, fits, strict=True) if fit == max(fits)]
    # Models of the same names that compute differently: perhaps the file is called after one of
    # them.
    called = (
        best if len(best) == 1 else [naming for naming in best if naming.layout.fits(path.name)]
    )
    if len(called) == 1:
        return called[0], ()
    others = " or ".join(naming.layout.title for naming in best[1:])
    return best[0], (
        f"taken for {best[0].layout.title}; {others} has the same names and computes differently: "
        f"if it is that, say so with --torch-model NAME",
    )


def _notes(naming: TorchNames, found: State) -> tuple[str, ...]:
    notes = [f"read as the weights of {naming.layout.title}"]
    folded = [name for name in naming.biases.values() if name in found]
    if folded:
        into = (
            "the position embeddings"
            if "pos_embed" in naming.biases
            else ("their batch norms' means")
        )
        notes.append(f"{len(folded)} biases of convolutions went into {into}: {first_few(folded)}")
    if naming.variance:
        there = naming.layout.epsilon
        notes.append(
            f"the batch norms' variances were changed by {naming.variance:+.3g}: "
            f"{there:g} is added to them there, {there - naming.variance:g} here"
        )
    return tuple(notes)


def _differences(naming: TorchNames, unused: Sequence[str]) -> tuple[str, ...]:
    unexplained = [name for name in unused if not re.fullmatch(naming.layout.dropped, name)]
    if not unexplained:
        return naming.layout.differences
    count = "1 tensor" if len(unexplained) == 1 else f"{len(unexplained)} tensors"
    return (
        *naming.layout.differences,
        f"no place here for {count} of the file, another model's: {first_few(unexplained)}",
    )


def _converted(
    found: State, name: str, shape: tuple[int, ...], naming: TorchNames, key: str
) -> NDArray[Any]:
    value = found[name]
    if piece := naming.pieces.get(key):
        number, of = piece
        value = np.split(value, of)[number]
    value = _arranged(value, shape, linear=key.endswith(".weight"))
    if key in naming.factors:
        value = value * np.asarray(naming.factors[key], value.dtype)
    bias = naming.biases.get(key)
    if bias is not None and bias in found:
        if key.endswith("._mean"):
            value = value - found[bias].astype(np.float32)
        else:  # of patches: the token of the whole image comes first
            value = np.concatenate([value[:, :1], value[:, 1:] + found[bias]], axis=1)
    if naming.variance and key.endswith("._variance"):
        value = value.astype(np.float32) + np.float32(naming.variance)
    return np.ascontiguousarray(value)


def _arranged(value: NDArray[Any], shape: tuple[int, ...], *, linear: bool) -> NDArray[Any]:
    """``value`` with as many axes as ``shape``, in the order here."""
    # torch keeps the weight of a linear layer as [out, in]; there it can be a convolution of the
    # whole map.
    if len(shape) == 2 and linear and value.ndim in (2, 4):
        return value.reshape(len(value), -1).T
    if value.ndim == 4 and len(shape) == 3:  # of positions on a map: [1, C, H, W] there
        return value.reshape(*value.shape[:2], -1).transpose(0, 2, 1)
    if value.ndim > len(shape):
        return value.reshape(value.shape[: len(shape)])
    return value.reshape(*value.shape, *(1,) * (len(shape) - value.ndim))


def _joined(found: State, names: Sequence[str | None], shape: tuple[int, ...]) -> NDArray[Any]:
    """The tensors called ``names`` one after another, with zeros for None, as ``shape``.

    Raises:
        ValueError: they do not fit together.
    """
    tensors = [None if name is None else found[name] for name in names]
    given = [tensor for tensor in tensors if tensor is not None]
    axis = next(
        (i for i, (a, b) in enumerate(zip(given[0].shape, shape, strict=True)) if a != b), 0
    )
    missing = list(shape)
    missing[axis] -= sum(tensor.shape[axis] for tensor in given)
    zeros = np.zeros([max(size, 0) for size in missing], given[0].dtype)
    return np.concatenate([zeros if each is None else each for each in tensors], axis)


def _neutral(key: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """What makes a 1x1 convolution, or the batch norm behind it, give back its input; zeros for
    what the answers do not depend on.
    """
    if len(shape) == 4 and shape[2:] == (1, 1):
        return np.eye(shape[0], shape[1], dtype=np.float32).reshape(shape)
    values = {"weight": 1.0, "bias": 0.0, "_mean": 0.0, "_variance": 1.0 - _EPSILON}
    leaf = key.rpartition(".")[2]
    return np.full(shape, values[leaf] if len(shape) == 1 else 0.0, np.float32)
