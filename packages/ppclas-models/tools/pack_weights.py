"""Write a weight file in a byte for each value, for those whose tensors have at most 256 values.

python packages/ppclas-models/tools/pack_weights.py MobileNetV2_pretrained.pdparams OUTPUT
"""

from __future__ import annotations

import sys

import numpy as np
from ppclas_core.weights import State, read_state, save_state
from ppclas_models.conversion.formats import LEVELS

FEWEST = 1024
"""Values from which a tensor is packed; smaller ones, as batch norms have, stay as they are."""


def packed(state: State) -> State:
    """``state`` with codes and levels, as ``read_state`` puts them together again."""
    result: State = {}
    for name, values in state.items():
        levels, codes = np.unique(values, return_inverse=True)
        if values.size < FEWEST or levels.size > 256:
            result[name] = values
        else:
            result[name] = codes.reshape(values.shape).astype(np.uint8)
            result[name + LEVELS] = levels
    return result


if __name__ == "__main__":
    source, target = sys.argv[1:]
    save_state(target, packed(read_state(source)))
