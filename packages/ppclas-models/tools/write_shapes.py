"""Write ``shapes.json.xz``: the state-dict names and shapes of every published architecture with
1000 classes.

``python tools/write_shapes.py FOLDER...`` reads ``FOLDER/<Architecture>.json`` of each folder,
lists of ``[name, shape, dtype]``; a fourth element marks what holds no learned value.
Later architectures of the catalogue that are in none of them, since no Paddle weights are
published, are built here; so are those whose published file needs other parameters.
"""

from __future__ import annotations

import json
import lzma
import sys
from pathlib import Path
from typing import Any

import paddle
from ppclas_core.models import create_model
from ppclas_models.catalog import load_catalog
from ppclas_models.shapes import TABLE


def main(folders: list[Path]) -> None:
    """Collect the lists of ``folders``; a file of another form describes an architecture without
    published weights.
    """
    table = {}
    for file in [file for folder in folders for file in sorted(folder.glob("*.json"))]:
        rows = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(rows, list):
            table[file.stem] = {name: shape for name, shape, _, *mark in rows if not mark}
    for row in load_catalog().values():
        if row.year and row.family and row.architecture not in table:
            table[row.architecture] = _built(row.architecture)
        if row.weights_params:
            table[row.weights_table] = _built(row.architecture, **row.weights_params)
    TABLE.write_bytes(lzma.compress(json.dumps(table, separators=(",", ":")).encode(), preset=9))


def _built(architecture: str, **params: Any) -> dict[str, list[int]]:
    with paddle.LazyGuard(), paddle.utils.unique_name.guard():
        state = create_model(architecture, **params).state_dict()
    return {name: list(tensor.shape) for name, tensor in state.items()}


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
