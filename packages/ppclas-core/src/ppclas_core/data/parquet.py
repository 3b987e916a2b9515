"""Parquet files with encoded images, as the Hugging Face hub publishes them; needs the extra ``[parquet]``.

A column ``image`` holds ``{bytes, path}`` (or plain bytes), another one the label; names of the classes come from the
schema's metadata. Parquet cannot hand out a single row: a whole row group is read, and the last few are kept.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_core.data.archives import files_of_one_set, is_pattern
from ppclas_core.data.base import ImageSet, Record, Source
from ppclas_core.data.lists import LABEL_COLUMNS, PATH_COLUMNS, settle_labels
from ppclas_core.errors import DataError, ImageError, MissingDependencyError

if TYPE_CHECKING:
    from pyarrow import ChunkedArray
    from pyarrow.parquet import ParquetFile

_KEPT = 4
"""Row groups held in memory by each process."""
_LARGE_GROUP = 1 << 26
"""Bytes of a row group from which reading in random order is slow: 64 MiB."""


class ParquetSource(Source):
    """Parquet files with a column of encoded images and one of labels: a file, a pattern, or a folder of them."""

    @classmethod
    def recognises(cls, location: str) -> bool:
        """Whether it is called .parquet, or is a folder with such files in it."""
        path = Path(location)
        if path.is_dir():
            return next(path.glob("*.parquet"), None) is not None
        return location.endswith(".parquet") and (path.is_file() or is_pattern(location))

    def load(self) -> ImageSet:
        """One record a row; reads the labels, not the images."""
        said, places = [], []
        names: tuple[str, ...] | None = None
        column, largest = "", 0
        for path in files_of_one_set(self.location, ".parquet"):
            file = _open(path)
            column, label = _columns(file, path)
            names = names or _names_in(file, label)
            row = 0
            for group in range(file.num_row_groups):
                labels = file.read_row_group(group, columns=[label]).column(0).to_pylist()
                largest = max(largest, _group_bytes(file, group, column))
                for offset, value in enumerate(labels):
                    where = f"{path}:row {row + offset + 1}"
                    if isinstance(value, bool) or not isinstance(value, int | str):
                        raise DataError(f"{where}: expected a class id or name in {label!r}, got {value!r}")
                    said.append((str(value), where))
                    places.append((path, group, offset))
                row += len(labels)
        if not said:
            raise DataError(f"{self.location}: expected rows, got none")
        ids, class_names, notes = settle_labels(self, said, may_be_ids=True, own_names=names)
        if largest > _LARGE_GROUP:
            notes.append(
                f"{self.location}: row groups of up to {largest / 2**20:.0f} MiB are read whole for one image each; "
                f"groups of 100 rows, or tar shards, are read faster."
            )
        records = tuple(
            Record(path, label, where, member=f"row {where.rpartition(' ')[2]}", span=(group, offset))
            for (path, group, offset), label, (_, where) in zip(places, ids, said, strict=True)
        )
        return ParquetImageSet(records, class_names, self.location, tuple(notes), column=column)


@dataclass(frozen=True)
class ParquetImageSet(ImageSet):
    """Records of Parquet rows; their ``span`` is (row group, row within it)."""

    column: str = "image"
    """Column of the images."""

    def read(self, index: int) -> bytes:
        """The encoded bytes of an image."""
        record = self.records[index]
        assert record.span is not None  # every record of a Parquet file has one
        group, offset = record.span
        try:
            value = _read_group(record.path, group, self.column)[offset].as_py()
        except (OSError, ValueError) as error:  # pyarrow's errors are both
            raise ImageError(f"{record.where}: damaged Parquet file: {error}") from None
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise ImageError(f"{record.where}: expected the bytes of an image in {self.column!r}, got none")
        return data


def _open(path: str) -> ParquetFile:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError(
            "Parquet files need pyarrow, which is not installed: pip install 'ppclas-core[parquet]'"
        ) from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a Parquet file: {error}") from None


@functools.lru_cache(maxsize=_KEPT)
def _read_group(path: str, group: int, column: str) -> ChunkedArray:
    return _open(path).read_row_group(group, columns=[column]).column(0)


def _columns(file: ParquetFile, path: str) -> tuple[str, str]:
    """The columns of the images and of the labels."""
    import pyarrow

    types = {field.name: field.type for field in file.schema_arrow}

    def holds_images(kind: Any) -> bool:
        if pyarrow.types.is_struct(kind):
            return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
        return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)

    images = [name for name, kind in types.items() if holds_images(kind)]
    image = next((name for name in PATH_COLUMNS if name in images), images[0] if images else None)
    label = next((name for name in LABEL_COLUMNS if name in types), None)
    if image is None or label is None:
        raise DataError(
            f"{path}: expected a column of images (bytes, or a struct with 'bytes') and one of labels "
            f"({', '.join(LABEL_COLUMNS[:3])} …), got {', '.join(types) or 'no columns'}"
        )
    return image, label


def _names_in(file: ParquetFile, label: str) -> tuple[str, ...] | None:
    """Class names from the metadata that the ``datasets`` library writes."""
    metadata = file.schema_arrow.metadata or {}
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None  # not from there, or a label without names
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _group_bytes(file: ParquetFile, group: int, column: str) -> int:
    facts = file.metadata.row_group(group)
    chunks = (facts.column(i) for i in range(facts.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] == column)
