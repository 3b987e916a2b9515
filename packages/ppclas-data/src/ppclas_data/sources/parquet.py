"""Parquet files with encoded images, as the Hugging Face hub publishes them; needs the extra
``[parquet]``.

A column ``image`` holds ``{bytes, path}`` (or plain bytes), another one the label; names of the
classes come from the schema's metadata, in each file for itself. Parquet cannot hand out a single
row: a whole row group is read, and the last few are kept.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_core.contracts.data import ImageSet, Record, Source
from ppclas_core.errors import DataError, ImageError, MissingDependencyError
from ppclas_core.wording import first_few

from ppclas_data.sources.lists import LABEL_COLUMNS, PATH_COLUMNS, settle_labels
from ppclas_data.sources.photo_files import is_hidden
from ppclas_data.sources.shards import files_ending, files_of_one_set, is_pattern

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, DataType
    from pyarrow.parquet import ParquetFile

_LABEL_COLUMNS = (*LABEL_COLUMNS, "labels")
_KEPT = 4
"""Row groups held in memory by each process."""
_LARGE_GROUP = 1 << 26
"""Bytes of a row group from which reading in random order is slow: 64 MiB."""


class ParquetSource(Source):
    """Parquet files with encoded images and labels in columns: a file, a pattern, or a folder."""

    @classmethod
    def recognises(cls, location: str) -> bool:
        """Whether it is called .parquet, or is a folder with such files in it or in its folders."""
        path = Path(location)
        if path.is_dir():
            return _holds_files(path) or bool(_folders_with_files(path))
        return location.lower().endswith(".parquet") and (path.is_file() or is_pattern(location))

    def load(self) -> ImageSet:
        """One record a row; reads the labels, not the images."""
        paths = files_of_one_set(self.location, ".parquet")
        if not paths:
            raise self._files_are_deeper()
        said: list[tuple[str, str]] = []
        places: list[tuple[str, int, tuple[int, int]]] = []
        columns: dict[str, str] = {}
        label_columns: dict[str, str] = {}
        names, largest = _Names(), 0
        for path in paths:
            file = _open(path)
            columns[path], label = _columns(file, path)
            label_columns.setdefault(label, path)
            ids = names.ids_of(_names_in(file, label), path)
            largest = max(
                [
                    largest,
                    *(_group_bytes(file, i, columns[path]) for i in range(file.num_row_groups)),
                ]
            )
            for row, (value, span) in enumerate(_labels(file, label, path), 1):
                said.append((str(ids.get(value, value)), f"{path}:row {row}"))
                places.append((path, row, span))
        if not said:
            raise DataError(f"{self.location}: expected rows, got none")
        labels, class_names, more = settle_labels(
            self, said, may_be_ids=True, own_names=names.known
        )
        notes = [
            f"{path}: labels from column {label!r}."
            for label, path in label_columns.items()
            if label != "label"
        ]
        if largest > _LARGE_GROUP:
            notes.append(
                f"{self.location}: row groups of up to {largest / 2**20:.0f} MiB are read whole "
                "for one image each; groups of 100 rows, or tar shards, are read faster."
            )
        records = tuple(
            Record(path, label, where, member=f"row {row}", span=span)
            for (path, row, span), label, (_, where) in zip(places, labels, said, strict=True)
        )
        notes += [*names.notes(), *more]
        return ParquetImageSet(records, class_names, self.location, tuple(notes), columns=columns)

    def _files_are_deeper(self) -> DataError:
        folders = _folders_with_files(Path(self.location))
        one = folders[0]
        return DataError(
            f"{self.location}: expected Parquet files, got them in its folder(s) "
            f"{', '.join(folder.name for folder in folders[:5])}; give {one}, or the files of one "
            f"set as a pattern: {one / 'train*.parquet'}"
        )


class _Names:
    """The class names of several files, which may number them differently."""

    def __init__(self) -> None:
        self.known: tuple[str, ...] | None = None
        self._first = ""
        self._renumbered: list[str] = []

    def ids_of(self, names: tuple[str, ...] | None, path: str) -> dict[int | str, int]:
        """For each id in the file ``path`` the id of the same class in the first file; nothing
        where they are equal.

        Raises:
            DataError: the files have other classes.
        """
        if not self._first:
            self.known, self._first = names, path
        if names == self.known:
            return {}
        if names is None or self.known is None:
            named, nameless = (self._first, path) if names is None else (path, self._first)
            raise DataError(
                f"{nameless}: expected class names in the metadata as in {named}, found none; "
                "write it anew with them, or give the files of one kind as a pattern"
            )
        if sorted(names) != sorted(self.known):
            raise DataError(
                f"{path}: expected the classes of {self._first} ({first_few(self.known)}), got "
                f"{first_few(names)}; give the files of one set, as a pattern"
            )
        if len(set(names)) < len(names):
            raise DataError(
                f"{path}: expected the classes in the order of {self._first}, as two of them have "
                "the same name, got another; number both files alike"
            )
        self._renumbered.append(path)
        return {label: self.known.index(name) for label, name in enumerate(names)}

    def notes(self) -> list[str]:
        """A sentence if files number the classes otherwise than the first."""
        if not self._renumbered:
            return []
        return [
            f"{len(self._renumbered)} file(s) number the classes otherwise than {self._first} "
            f"(first: {self._renumbered[0]}); labels are taken by name."
        ]


@dataclass(frozen=True)
class ParquetImageSet(ImageSet):
    """Records of Parquet rows; their ``span`` is (row group, row within it)."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Column of the images in each file."""

    def read(self, index: int) -> bytes:
        """The encoded bytes of an image."""
        record = self.records[index]
        assert record.span is not None  # every record of a Parquet file has one
        group, offset = record.span
        column = self.columns[record.path]
        try:
            value = _read_group(record.path, group, column)[offset].as_py()
        except (OSError, ValueError) as error:  # pyarrow's errors are both
            raise ImageError(f"{record.where}: damaged Parquet file: {_one_line(error)}") from None
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise ImageError(
                f"{record.where}: expected the bytes of an image in {column!r}, got none"
            )
        return data


def _open(path: str) -> ParquetFile:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError(
            "Parquet files need pyarrow, which is not installed: pip install 'ppclas-data[parquet]'"
        ) from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a Parquet file: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


@functools.lru_cache(maxsize=_KEPT)
def _read_group(path: str, group: int, column: str) -> ChunkedArray:
    return _open(path).read_row_group(group, columns=[column]).column(0)


def _labels(
    file: ParquetFile, column: str, path: str
) -> Iterator[tuple[int | str, tuple[int, int]]]:
    """Each row's label and place: row group, row within it."""
    row = 0
    for group in range(file.num_row_groups):
        try:
            values = file.read_row_group(group, columns=[column]).column(0).to_pylist()
        except (OSError, ValueError) as error:  # pyarrow's errors are both
            raise DataError(
                f"{path}: damaged Parquet file: {_one_line(error)}; copy it or make it again"
            ) from None
        for offset, value in enumerate(values):
            row += 1
            if isinstance(value, bool) or not isinstance(value, int | str):
                raise DataError(
                    f"{path}:row {row}: expected a class id or name in {column!r}, got {value!r}"
                )
            yield value, (group, offset)


def _columns(file: ParquetFile, path: str) -> tuple[str, str]:
    """The columns of the images and of the labels."""
    names = file.schema_arrow.names
    label = _label_column(file, path)
    images = [
        entry.name
        for entry in file.schema_arrow
        if entry.name != label and _may_hold_images(entry.type)
    ]
    image = _first_called(images, PATH_COLUMNS)
    if image is None and len(images) > 1:
        raise _too_many("images", images, path)
    if label is None or not images:
        raise DataError(
            f"{path}: expected a column of images (bytes, or a struct with 'bytes') and one of "
            f"labels ({', '.join(_LABEL_COLUMNS)}), got {', '.join(names) or 'no columns'}; rename "
            "the columns to 'image' and 'label'"
        )
    return image or images[0], label


def _label_column(file: ParquetFile, path: str) -> str | None:
    """The column ``label``, else the ``ClassLabel`` of the hub's metadata, else a usual name."""
    names = file.schema_arrow.names
    label = _first_called(names, ("label",))
    if label is not None:
        return label
    marked = [name for name in names if _feature(file, name).get("_type") == "ClassLabel"]
    if len(marked) > 1:
        raise _too_many("labels", marked, path)
    return marked[0] if marked else _first_called(names, _LABEL_COLUMNS)


def _first_called(columns: Iterable[str], names: Sequence[str]) -> str | None:
    """The column with the first of ``names``, in any case."""
    folded = {column.lower(): column for column in columns}
    return next((folded[name] for name in names if name in folded), None)


def _too_many(what: str, columns: Sequence[str], path: str) -> DataError:
    return DataError(
        f"{path}: expected one column of {what}, got {', '.join(columns)}; rename the one to use "
        f"to {what.removesuffix('s')!r}"
    )


def _may_hold_images(kind: DataType) -> bool:
    import pyarrow

    if pyarrow.types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))


def _feature(file: ParquetFile, column: str) -> Mapping[str, Any]:
    """What the ``datasets`` library wrote about a column; nothing if it did not write the file."""
    try:
        feature = json.loads((file.schema_arrow.metadata or {})[b"huggingface"])["info"][
            "features"
        ][column]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return feature if isinstance(feature, dict) else {}


def _names_in(file: ParquetFile, label: str) -> tuple[str, ...] | None:
    """Class names from the metadata."""
    names = _feature(file, label).get("names")
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _holds_files(folder: Path) -> bool:
    return next(files_ending(folder, ".parquet"), None) is not None


def _folders_with_files(top: Path) -> list[Path]:
    """The folders of a folder, if each holds Parquet files: how data sets of the hub look."""
    folders = []
    for path in sorted(top.glob("*")):
        if is_hidden(path.name) or not path.is_dir():
            continue
        if not _holds_files(path):
            return []
        folders.append(path)
    return folders


def _group_bytes(file: ParquetFile, group: int, column: str) -> int:
    facts = file.metadata.row_group(group)
    chunks = (facts.column(i) for i in range(facts.num_columns))
    return sum(
        chunk.total_uncompressed_size
        for chunk in chunks
        if chunk.path_in_schema.split(".")[0] == column
    )
