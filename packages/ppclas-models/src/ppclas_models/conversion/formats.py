"""Weight files beside plain ``.safetensors``: those that are read, and those to convert first."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from ppclas_core.contracts.weight_format import WeightFormat
from ppclas_core.errors import WeightsError

from ppclas_models.conversion.eight_bit import dequantised
from ppclas_models.conversion.pdparams import read_pdparams
from ppclas_models.conversion.scattered import is_tar
from ppclas_models.conversion.torch_file import is_safetensors, is_torch

LEVELS = ".levels"
"""``x`` of uint8 and ``x.levels`` stand for ``x.levels[x]``: up to 256 values, a byte for each."""


class Pdparams(WeightFormat):
    """What ``paddle.save`` writes: arrays by name, as a pickle."""

    suffixes = (".pdparams",)

    def recognises(self, path: Path, start: bytes) -> bool:
        # A .safetensors file starts with a length, whose lowest byte can be a pickle's.
        return start[:1] == b"\x80" and not is_safetensors(start) and not is_torch(start)

    def read(self, path: Path) -> dict[str, NDArray[Any]]:
        return read_pdparams(path)


class Packed(WeightFormat):
    """A ``.safetensors`` file of codes, and of the values or the scales that they stand for."""

    def recognises(self, path: Path, start: bytes) -> bool:
        length = int.from_bytes(start[:8], "little")
        if not is_safetensors(start) or length > path.stat().st_size:
            return False
        with path.open("rb") as file:
            header = file.read(8 + length)
        return f'{LEVELS}":'.encode() in header or b'"I8"' in header

    def read(self, path: Path) -> dict[str, NDArray[Any]]:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            state: dict[str, NDArray[Any]] = load_file(path)
        except SafetensorError as error:
            raise WeightsError(f"{path} is a damaged .safetensors file: {error}") from error
        for name in [name for name in state if name.endswith(LEVELS)]:
            levels, coded = state.pop(name), name.removesuffix(LEVELS)
            codes = state.get(coded)
            if codes is None or codes.dtype != np.uint8 or levels.ndim != 1:
                said = f"{name} expects a tensor {coded} of uint8 codes, and a vector of values"
                raise WeightsError(f"{path}: {said}")
            if codes.size and int(codes.max()) >= levels.size:
                said = f"{coded} has the code {int(codes.max())}, and {name} {levels.size} values"
                raise WeightsError(f"{path}: {said}")
            state[coded] = levels[codes]
        return dequantised(state, str(path), path.stat().st_size)


def _convert(path: Path) -> str:
    return f"ppclas models convert {shlex.quote(str(path))} --model NAME"


class Torch(WeightFormat):
    """What ``torch.save`` writes: its names and shapes are those of another program's model."""

    def recognises(self, path: Path, start: bytes) -> bool:
        return is_torch(start)

    def read(self, path: Path) -> NoReturn:
        raise WeightsError(
            f"{path} is a file of torch.save, whose tensors have other names and shapes than here. "
            f"Convert it for its model first: {_convert(path)}"
        )


class Tar(WeightFormat):
    """A tar of one file for each tensor, as models of 2020 were published."""

    def recognises(self, path: Path, start: bytes) -> bool:
        return is_tar(path)

    def read(self, path: Path) -> NoReturn:
        raise WeightsError(
            f"{path} is a tar archive. If it holds the weights of a 2020 release, convert it for "
            f"its model first: {_convert(path)}"
        )
