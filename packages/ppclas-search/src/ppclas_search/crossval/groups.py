"""Photos that belong together: by a column of their CSV, or by a part of their path."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable
from pathlib import Path

from ppclas_core.contracts.data import ImageSet
from ppclas_core.errors import DataError
from ppclas_data.sources.lists import CsvSource


def groups_of(images: ImageSet, said: str | None) -> list[Hashable]:
    """The group of each photo.

    Args:
        images: the photos.
        said: the header of a column of their CSV, or a regular expression that is looked for in
            each path: its first part in parentheses, or all that matches, is the group's name.
            Nothing: every file is a group of its own.

    Raises:
        DataError: a photo belongs to no group, or ``said`` is neither.
    """
    if said is None:
        return [os.path.realpath(record.name) for record in images.records]
    if CsvSource.recognises(images.origin):
        cells = CsvSource(location=images.origin).column(said)
        if cells:
            return [_of_column(cells, record.where, said) for record in images.records]
    try:
        pattern = re.compile(said)
    except re.error as error:
        raise DataError(
            f"--group {said}: expected a column of a CSV or a regular expression; as an expression "
            f"it is wrong: {error}"
        ) from error
    groups: list[Hashable] = []
    for record in images.records:
        match = pattern.search(Path(record.name).as_posix())
        if match is None:
            raise DataError(
                f"--group {said}: expected a column of a CSV, or an expression that is found in "
                f"every path; it is not in {record.name}. Put the part that names the group in "
                "parentheses, as 'patient_([0-9]+)'"
            )
        groups.append(match[1] if pattern.groups else match[0])
    return groups


def _of_column(cells: dict[str, str], where: str, column: str) -> str:
    if not cells.get(where):
        raise DataError(
            f"{where}: expected the photo's group in the column {column!r}, got nothing"
        )
    return cells[where]
