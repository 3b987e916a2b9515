"""Files of bytes and CSV, written whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppclas_core.files import write_atomic, write_text
from ppclas_data.csv_cells import csv_cells


def write_bytes(path: Path, content: bytes) -> None:
    """``content`` as the file ``path``."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomic(path, write)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """``rows`` with a header; what a row lacks is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(dict(zip(row, csv_cells(row.values()), strict=True)) for row in rows)
    write_text(path, text.getvalue())
