"""Everything a run needs to go on as if it had never stopped.

A checkpoint is one safetensors file: arrays such as ``model/<key>`` and
``optimizer/<accumulator>/<parameter>``, and in its header the training state as JSON with a digest
over all of it. Optimizer state goes by the model's own parameter names: Paddle's are numbered by
creation order, so that a layer built earlier in the process would shift them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import CheckpointError
from ppclas_core.files import write_atomic

if TYPE_CHECKING:
    import paddle
    from paddle import Tensor, nn

SCHEMA_VERSION = 2
_HEADER = "ppclas"


@dataclass(frozen=True)
class Checkpoint:
    """Arrays and training state, as read from disk."""

    arrays: Mapping[str, NDArray[Any]]
    state: Mapping[str, Any]
    """JSON: epoch, step in the epoch, running sums, history, best result."""

    def part(self, name: str) -> dict[str, NDArray[Any]]:
        """The arrays under ``name/``, without that prefix."""
        prefix = f"{name}/"
        return {
            key[len(prefix) :]: value
            for key, value in self.arrays.items()
            if key.startswith(prefix)
        }


def save_checkpoint(
    path: Path, arrays: Mapping[str, NDArray[Any]], state: Mapping[str, Any]
) -> None:
    """Write a checkpoint; the one that was at ``path`` becomes ``previous`` beside it.

    A kill or a full disk at any moment leaves at least one complete checkpoint under one of the two
    names.

    Raises:
        CheckpointError: it cannot be written; earlier checkpoints are untouched.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    header = {"schema_version": SCHEMA_VERSION, "state": state, "digest": _digest(arrays, state)}
    contiguous = {key: np.ascontiguousarray(value) for key, value in arrays.items()}

    def write(temporary: Path) -> None:
        save_file(contiguous, temporary, metadata={_HEADER: json.dumps(header)})
        if path.exists():
            keep_copy(path, previous_of(path))

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, write)
    except (OSError, SafetensorError) as error:
        after = (
            "Earlier checkpoints are untouched; free some space or permissions there and go on "
            "with --resume."
            if path.exists()
            else "There is none before it: free some space or permissions there, or choose "
            "another --output."
        )
        raise CheckpointError(
            f"The checkpoint {path} cannot be written: {error}. {after}"
        ) from error


def keep_copy(path: Path, copy: Path) -> None:
    """Make ``copy`` the same file as ``path``, atomically; a hard link where there are any."""

    def write(temporary: Path) -> None:
        temporary.unlink()
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)

    # Renaming one name of a file to another one of its names would leave both.
    if not copy.exists() or not copy.samefile(path):
        write_atomic(copy, write)


def previous_of(path: Path) -> Path:
    """Where the checkpoint before ``path`` is kept."""
    return path.with_name("previous" + path.suffix)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and verify its digest.

    Raises:
        CheckpointError: it is missing, truncated, changed, or of a newer version.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path}.")
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        version, state, digest = header["schema_version"], header["state"], header["digest"]
    except (OSError, SafetensorError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"The checkpoint {path} is damaged ({_one_line(error)}).") from error
    if version != SCHEMA_VERSION:
        raise CheckpointError(
            f"The checkpoint {path} has version {version}, and this ppclas-engine reads "
            f"{SCHEMA_VERSION}. Go on with the release that wrote it; its bundle can be used with "
            "any."
        )
    if digest != _digest(arrays, state):
        raise CheckpointError(
            f"The checkpoint {path} is damaged (its content does not match its digest)."
        )
    return Checkpoint(arrays, state)


def layer_arrays(layers: Mapping[str, nn.Layer]) -> dict[str, NDArray[Any]]:
    """The state of layers that train beside the model, as ``<layer>.<key>`` → array."""
    return {
        f"{name}.{key}": value.numpy()
        for name, layer in layers.items()
        for key, value in layer.state_dict().items()
    }


def restore_layers(layers: Mapping[str, nn.Layer], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Put ``layer_arrays`` back into the same layers.

    Raises:
        CheckpointError: they are others.
    """
    tensors = {
        f"{name}.{key}": value
        for name, layer in layers.items()
        for key, value in layer.state_dict().items()
    }
    if tensors.keys() != arrays.keys():
        odd = sorted(tensors.keys() ^ arrays.keys())[:3]
        raise CheckpointError(
            f"The checkpoint was written with another objective (for example {', '.join(odd)} "
            "differ). Resume with the run's own config."
        )
    for key, tensor in tensors.items():
        tensor.set_value(arrays[key])


def optimizer_state(
    parameters: Mapping[str, Tensor], optimizer: paddle.optimizer.Optimizer
) -> dict[str, Tensor]:
    """Optimizer state of the trained ``parameters`` as ``<accumulator>/<parameter>`` → tensor."""
    names = {parameter.name: name for name, parameter in parameters.items()}
    # Paddle's public state_dict() glues both names together with a counter, and cannot be taken
    # apart reliably.
    return {
        f"{accumulator}/{names[parameter]}": value
        for accumulator, values in optimizer._accumulators.items()
        for parameter, value in values.items()
    }


def optimizer_arrays(
    parameters: Mapping[str, Tensor], optimizer: paddle.optimizer.Optimizer
) -> dict[str, NDArray[Any]]:
    """``optimizer_state`` as arrays."""
    return {key: value.numpy() for key, value in optimizer_state(parameters, optimizer).items()}


def restore_optimizer(
    parameters: Mapping[str, Tensor],
    optimizer: paddle.optimizer.Optimizer,
    arrays: Mapping[str, NDArray[Any]],
) -> None:
    """Put ``optimizer_arrays`` back into a fresh optimizer over the same parameters.

    Raises:
        CheckpointError: the optimizer keeps other state than the checkpoint has.
    """
    known = {key.split("/", 1)[1] for key in arrays}
    if arrays:
        # Accumulators come into being at the first step; set_state_dict() before it fails on
        # renamed parameters.
        import paddle

        block = paddle.static.default_main_program().global_block()
        optimizer._create_accumulators(
            block, [p for name, p in parameters.items() if name in known]
        )
    fresh = optimizer_state(parameters, optimizer)
    if fresh.keys() != arrays.keys():
        odd = sorted(fresh.keys() ^ arrays.keys())[:3]
        raise CheckpointError(
            "The checkpoint's optimizer state does not fit this optimizer (for example "
            f"{', '.join(odd)}). Resume with the optimizer and the frozen stages of the run."
        )
    for key, value in fresh.items():
        value.set_value(arrays[key])


def _digest(arrays: Mapping[str, NDArray[Any]], state: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode())
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        digest.update(f"{key}:{array.dtype}:{array.shape}".encode())
        with contextlib.suppress(ValueError):  # a zero-size array has no memory to view
            digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _one_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
