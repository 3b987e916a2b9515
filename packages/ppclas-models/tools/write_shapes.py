"""Write ``shapes.json.xz``: the state-dict names and shapes of every published architecture with
1000 classes.

``python tools/write_shapes.py FOLDER`` reads ``FOLDER/<Architecture>.json``, lists of ``[name,
shape, dtype]``.
"""

from __future__ import annotations

import json
import lzma
import sys
from pathlib import Path

from ppclas_models.shapes import TABLE


def main(folder: Path) -> None:
    """Collect the lists of ``folder``; a file of another form describes an architecture without
    published weights.
    """
    table = {}
    for file in sorted(folder.glob("*.json")):
        rows = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(rows, list):
            table[file.stem] = {name: shape for name, shape, _ in rows}
    TABLE.write_bytes(lzma.compress(json.dumps(table, separators=(",", ":")).encode(), preset=9))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
