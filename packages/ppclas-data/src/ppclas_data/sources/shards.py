"""Data sets of several files: the shards that a folder, a range or a pattern names."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ppclas_core.errors import DataError

from ppclas_data.sources.parts import VAL_NAMES
from ppclas_data.sources.photo_files import is_hidden

_MAX_SHARDS = 1_000_000
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")
_PART = re.compile(rf"(?<![a-z])(?:train|{'|'.join(VAL_NAMES)})(?![a-z])", re.IGNORECASE)


def files_of_one_set(location: str, suffix: str) -> list[str]:
    """The files of a folder that end in ``suffix``, by name, or those that a path or pattern names.

    Raises:
        DataError: the folder holds a training set and a validation set.
    """
    folder = Path(location)
    if not folder.is_dir():
        return expand_shards(location)
    files = sorted(files_ending(folder, suffix))
    parts: dict[str, str] = {}
    for file in files:
        found = _PART.search(file.name)
        if found is not None:
            parts.setdefault(found.group().lower(), f"{file.name[: found.end()]}*{file.suffix}")
    if len(parts) > 1:
        pattern = parts.get("train", next(iter(parts.values())))
        raise DataError(
            f"{folder}: expected the files of one set, got those of {', '.join(sorted(parts))}; "
            f"give one of them as a pattern: {folder / pattern}"
        )
    return [str(file) for file in files]


def files_ending(folder: Path, suffix: str) -> Iterator[Path]:
    """The files of a folder that end in ``suffix``, in any case; none where it may not be read."""
    for path in folder.glob("*"):
        if path.name.lower().endswith(suffix) and not is_hidden(path.name):
            yield path


def expand_shards(location: str) -> list[str]:
    """The files that a path with ``{000..012}``, ``{a,b}`` and glob characters stands for, sorted.

    Raises:
        DataError: one of a range is not there, or the pattern stands for nothing.
    """
    found = []
    for path in _expand_braces(location):
        if Path(path).is_file():
            found.append(path)
            continue
        matches = [match for match in glob.glob(path) if Path(match).is_file()]  # noqa: PTH207 - may be absolute
        if not matches:
            raise DataError(
                f"{location}: expected the file {path}, found none; correct the range, or use a * "
                "pattern"
            )
        found += matches
    return sorted(found)


def is_pattern(location: str) -> bool:
    """Whether a path has braces or glob characters in it, and no file is called so."""
    return any(mark in location for mark in "{*?[") and not Path(location).exists()


def _expand_braces(pattern: str) -> Iterator[str]:
    found = _RANGE.search(pattern)
    if found is not None:
        first, last = found.groups()
        if int(last) - int(first) >= _MAX_SHARDS:
            raise DataError(f"{pattern}: expected a range of fewer than {_MAX_SHARDS:,} files")
        parts: Sequence[str] = [str(i).zfill(len(first)) for i in range(int(first), int(last) + 1)]
    else:
        found = _CHOICE.search(pattern)
        if found is None:
            yield pattern
            return
        parts = found.group(1).split(",")
    start, end = found.span()
    yield from itertools.chain.from_iterable(
        _expand_braces(pattern[:start] + part + pattern[end:]) for part in parts
    )
