"""Records from a list file, a CSV or a TSV, and the labels that are written in such files."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ppclas_core.contracts.data import ImageSet, Record, Source
from ppclas_core.errors import DataError

from ppclas_data.csv_cells import csv_value
from ppclas_data.sources import multilabel
from ppclas_data.sources.dialects import in_the_way
from ppclas_data.sources.labels import (
    ClassIds,
    agree_on_names,
    are_ids,
    check_labels,
    check_name,
    ids_as_meant,
    in_class_order,
    read_class_names,
    read_lines,
)
from ppclas_data.sources.photo_files import IMAGE_SUFFIXES
from ppclas_data.sources.split_column import find_parts, with_parts

PATH_COLUMNS = ("path", "image", "file", "filename", "image_path", "img", "filepath", "file_name")
LABEL_COLUMNS = ("label", "class", "category", "target", "class_name", "label_id", "class_id")
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
LABELS_BESIDE = "label_list.txt"
_LINES_SNIFFED = 100
_EXCEL = "sep="
"""Excel's own first line, which names the mark between cells."""


class ListSource(Source):
    """A text file with a line ``path label`` an image; space or tab between; labels are ids from 0.

    Several labels per image are ``path 0,3,5``, or ``path<TAB>cat|dog``; see
    ``ppclas_data.sources.multilabel``.
    """

    @classmethod
    def recognises(cls, location: str) -> bool:
        """Whether it is a file of text that is not an archive or a photo."""
        path = Path(location)
        if (
            not path.is_file()
            or path.suffix.lower() in IMAGE_SUFFIXES
            or path.suffix.lower() in ARCHIVES
        ):
            return False
        with path.open("rb") as file:
            return b"\0" not in file.read(4096)

    def load(self) -> ImageSet:
        """One record per line; class names from ``labels``, else from label_list.txt beside it."""
        lines = [(number, line) for number, line in enumerate(read_lines(self.location), 1)]
        filled = [(number, line.strip()) for number, line in lines if line.strip()]
        notes = (
            [f"{len(lines) - len(filled)} blank line(s) in {self.location} are skipped."]
            if len(filled) < len(lines)
            else []
        )
        if not filled:
            raise DataError(
                f"{self.location}: expected a line 'path label' an image, got an empty file"
            )
        several = multilabel.read_list(lines, self.location, self.task)
        if several is not None:
            return _several_labels(self, several, notes)
        base = _base(self)
        records = []
        for number, line in filled:
            where = f"{self.location}:{number}"
            path, label = _split_line(line, where)
            records.append(Record(_join(base, path), label, where))
        names, more = _names_of(self, records)
        if _names_file(self) is None:
            said = [(record.label, record.where) for record in records]
            ids = ids_as_meant(said, names, self.location, more)
            records = [
                replace(record, label=label) for record, label in zip(records, ids, strict=True)
            ]
        check_labels(records, len(names) if names else None, self.location)
        check_files_exist(records, self)
        names = names or tuple(
            str(label) for label in range(max(record.label for record in records) + 1)
        )
        return ImageSet(
            class_names=tuple(names),
            records=tuple(records),
            origin=self.location,
            notes=(*notes, *more),
        )


class CsvSource(Source):
    """A CSV or TSV file: a column of paths and one of class names or ids, found by header, else the
    first two.

    Several labels per image stand in one column with | between them, or as a column of 0 and 1 for
    each class.
    """

    @classmethod
    def recognises(cls, location: str) -> bool:
        """Whether the file is called .csv or .tsv."""
        return Path(location).is_file() and Path(location).suffix.lower() in (".csv", ".tsv")

    def load(self) -> ImageSet:
        """One record per row; labels that are all whole numbers are ids, others sorted names."""
        delimiter = self._delimiter()
        rows = self._rows(delimiter)
        if not rows:
            raise DataError(
                f"{self.location}: expected rows of a path and a label, got an empty file"
            )
        notes: list[str] = []
        path_column, label_column, has_header = self._columns(rows[0][1])
        named, below = (rows[0][1], rows[1:]) if has_header else (None, rows)
        several = multilabel.read_table(
            named, below, (path_column, label_column), self.location, self.task
        )
        said: list[str] = []
        taken = (path_column, label_column)
        parts = find_parts(named or [""] * len(rows[0][1]), below, taken, self.location, said)
        if several is not None:
            images = with_parts(_several_labels(self, several, notes), parts)
            return replace(images, notes=(*images.notes, *said))
        if label_column is None:
            raise self._no_columns(rows[0][1])
        if has_header:
            (_, header), *rows = rows
            notes.append(
                f"{self.location}: paths from column {header[path_column]!r}, labels from "
                f"{header[label_column]!r}."
            )
        else:
            notes.append(
                f"{self.location} has no header that names a path and a label; columns 1 and 2 are "
                "taken."
            )
        cells = []
        for number, row in rows:
            where = f"{self.location}:{number}"
            if (
                len(row) <= max(path_column, label_column)
                or not row[path_column]
                or not row[label_column]
            ):
                raise DataError(
                    f"{where}: expected a path and a label, got {delimiter.join(row)!r}; fill in "
                    f"what is missing, and quote paths with {delimiter!r} in them"
                )
            cells.append((row[path_column], row[label_column], where))
        if not cells:
            raise DataError(f"{self.location}: expected rows below the header, got none")
        base = _base(self)
        ids, names, more = settle_labels(self, [(label, where) for _, label, where in cells])
        records = [
            Record(_join(base, path), label, where)
            for (path, _, where), label in zip(cells, ids, strict=True)
        ]
        check_files_exist(records, self)
        images = ImageSet(
            class_names=tuple(names),
            records=tuple(records),
            origin=self.location,
            notes=(*notes, *more, *said),
        )
        return with_parts(images, parts)

    def column(self, name: str) -> dict[str, str]:
        """What each row has in the column ``name``, by where it is written (``photos.csv:7``);
        nothing where no header is called so.
        """
        (_, header), *rows = self._rows(self._delimiter()) or [(1, [])]
        if name not in header:
            return {}
        place = header.index(name)
        return {
            f"{self.location}:{number}": row[place] if place < len(row) else ""
            for number, row in rows
        }

    def _rows(self, delimiter: str) -> list[tuple[int, list[str]]]:
        """Rows that are not empty and the line on which each begins, the header included."""
        rows = [
            (number, [csv_value(cell.strip()) for cell in row])
            for number, row in _numbered_rows(self.location, delimiter)
            if any(cell.strip() for cell in row)
        ]
        if rows and rows[0][1][0].lower() in (_EXCEL, _EXCEL + delimiter):
            del rows[0]
        return rows

    def _delimiter(self) -> str:
        lines = [line for line in read_lines(self.location)[:_LINES_SNIFFED] if line.strip()]
        excel = lines[0].rstrip("\r\n").strip('"') if lines else ""
        if excel.lower().startswith(_EXCEL) and len(excel) == len(_EXCEL) + 1:
            return excel[-1]
        candidates = (
            ("\t", ",", ";") if self.location.lower().endswith(".tsv") else (",", ";", "\t", "|")
        )
        return next(
            (mark for mark in candidates if lines and all(mark in line for line in lines)),
            candidates[0],
        )

    def _columns(self, header: Sequence[str]) -> tuple[int, int | None, bool]:
        """Columns of the paths and of the labels, and whether a header has named them."""
        folded = [cell.lower() for cell in header]
        path_column = next((folded.index(name) for name in PATH_COLUMNS if name in folded), None)
        known = (*LABEL_COLUMNS, *multilabel.LABELS_COLUMNS)
        label_column = next((folded.index(name) for name in known if name in folded), None)
        if path_column is not None and (label_column is not None or len(header) > 1):
            return path_column, label_column, True
        first_is_photo = bool(header) and Path(header[0]).suffix.lower() in IMAGE_SUFFIXES
        if len(header) < 2 or not first_is_photo:
            raise self._no_columns(header)
        return 0, 1, False

    def _no_columns(self, header: Sequence[str]) -> DataError:
        return DataError(
            f"{self.location}:1: expected a header with a path column "
            f"({', '.join(PATH_COLUMNS[:3])}) and a label column ({', '.join(LABEL_COLUMNS[:2])}) "
            "or a column of 0 and 1 for each class, or rows 'photo.jpg,label'; got "
            f"{multilabel.in_one_line(header)}"
        )


def _several_labels(source: Source, table: multilabel.Table, notes: Sequence[str]) -> ImageSet:
    names, more = _names_of(source, [])
    image_set = multilabel.image_set(
        table, names, _base(source), source.location, _names_file(source)
    )
    check_files_exist(image_set.records, source)
    return replace(image_set, notes=(*notes, *image_set.notes, *more))


def check_files_exist(records: Sequence[Record], source: Source) -> None:
    """Look for up to a thousand of the files, spread evenly: a wrong root shows before training
    starts.

    Single missing files count against the budget of bad images later.

    Raises:
        DataError: none of them is there.
    """
    step = max(1, len(records) // 1000)
    if any(os.path.exists(record.path) for record in records[::step]):  # noqa: PTH110 - fast
        return
    first = records[0]
    hint = (
        "data.root is wrong" if source.root else "give the folder they are relative to as data.root"
    )
    if "\\" in first.path and os.sep == "/":
        hint = "write the paths with / instead of \\"
    hint = _dialect(first, source) or hint
    raise DataError(
        f"{first.where}: expected an image at {first.path}, found no such file, nor any of the "
        f"others; {hint}"
    )


def _dialect(first: Record, source: Source) -> str | None:
    """What to write otherwise in a list whose lines are those of another kind of file."""
    number = first.where.rpartition(":")[2]
    if not (number.isdecimal() and ListSource.recognises(source.location)) or (
        Path(source.location).suffix.lower() in (".csv", ".tsv")
    ):
        return None
    return in_the_way(read_lines(source.location)[int(number) - 1])


def settle_labels(
    source: Source,
    said: Sequence[tuple[str, str]],
    *,
    may_be_ids: bool = True,
    own_names: tuple[str, ...] | None = None,
) -> tuple[list[int], tuple[str, ...], list[str]]:
    """Class ids, class names and notes for labels as they are written.

    Args:
        source: what knows of class names.
        said: each label and where it is written.
        may_be_ids: labels that are all whole numbers are ids; otherwise they are names, whatever
            they look like.
        own_names: class names that came with the labels; a file of names goes before them.

    Raises:
        DataError: a name that is unknown or that several classes have, or an id out of range; with
            where it is written.
    """
    names, notes = _names_of(source, [])
    if own_names is not None:
        if names is None or (are_ids(names) and len(names) == len(own_names)):
            names = own_names
        elif names != own_names:
            notes += agree_on_names(tuple(names), own_names, source.location)
    if may_be_ids and all(_is_id(label) for label, _ in said):
        numbers = [(int(label), where) for label, where in said]
        if _names_file(source) is None and own_names is None:
            meant = ids_as_meant(numbers, names, source.location, notes)
            numbers = [(label, where) for label, (_, where) in zip(meant, numbers, strict=True)]
        records = [Record("", label, where) for label, where in numbers]
        check_labels(records, len(names) if names else None, source.location)
        found = [record.label for record in records]
        return found, tuple(names or map(str, range(max(found) + 1))), notes
    for label, where in said:
        check_name(label, where)
    found_names = in_class_order(label for label, _ in said)
    if names is None or (are_ids(names) and len(names) == len(found_names)):
        names = found_names
    ids = ClassIds(names, _names_file(source))
    return [ids.find(label, where) for label, where in said], tuple(names), notes


def _names_of(
    source: Source, records: Sequence[Record]
) -> tuple[tuple[str, ...] | None, list[str]]:
    """Class names of a list or CSV from where they are known, and notes about it."""
    where = _names_file(source)
    if where is None:
        return source.class_names, []
    names = read_class_names(where)
    if source.class_names is not None and not (
        are_ids(source.class_names) and len(names) == len(source.class_names)
    ):
        return source.class_names, agree_on_names(source.class_names, names, where)
    notes = [] if source.labels else [f"Class names come from {where}."]
    return names, notes


def _names_file(source: Source) -> str | None:
    if source.labels is not None:
        return source.labels
    beside = Path(source.location).parent / LABELS_BESIDE
    return str(beside) if beside.is_file() else None


def _split_line(line: str, where: str) -> tuple[str, int]:
    """Path and label of a line; the label follows the last space or tab: paths may hold some."""
    path, _, label = line.replace("\t", " ").rpartition(" ")
    if path.strip() and _is_id(label):
        return line[: len(path)].strip(), int(label)
    came = f"the label {label!r}" if path.strip() else f"only {line!r}"
    hint = in_the_way(line) or "class names as labels go in a CSV"
    raise DataError(
        f"{where}: expected 'path label' with a whole number as the label, got {came}; {hint}"
    )


def _is_id(text: str) -> bool:
    digits = text.strip().removeprefix("-")
    return digits.isascii() and digits.isdigit()


def _numbered_rows(location: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each row and the line on which it begins."""
    reader = csv.reader(read_lines(location, keep_ends=True), delimiter=delimiter, strict=True)
    number = 1
    try:
        for row in reader:
            yield number, row
            number = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{location}:{number}: expected a row of CSV, got one that cannot be read ({error}); "
            'close its quotes, and write a quote in a value as ""'
        ) from None


def _base(source: Source) -> str:
    return source.root if source.root is not None else str(Path(source.location).parent)


def _join(base: str, path: str) -> str:
    joined = os.path.join(base, path)  # noqa: PTH118 - a million Paths take seconds
    if joined.isascii() or os.path.exists(joined):  # noqa: PTH110 - as above
        return joined
    # A Mac writes accents as characters of their own, others compose them.
    forms = (unicodedata.normalize(form, joined) for form in ("NFC", "NFD"))
    return next((other for other in forms if os.path.exists(other)), joined)  # noqa: PTH110
