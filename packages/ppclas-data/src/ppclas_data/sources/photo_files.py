"""Which files of a folder are photos."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ppclas_core.errors import DataError

IMAGE_SUFFIXES = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".jp2",
        ".ppm",
        ".pgm",
        ".avif",
    )
)
"""What counts as a photo in a folder, in any case; whether it is one shows when it is decoded."""


def image_files(folder: str | Path) -> tuple[list[str], int]:
    """Every photo below ``folder``, sorted by path, and the number of other files; hidden ones
    count as neither.

    Links to folders are followed, except to the folders that ``folder`` itself is in. A folder that
    is reached in several ways counts once, where it really lies if that is below ``folder``.

    Raises:
        DataError: a folder cannot be listed.
    """
    photos, others = [], 0
    for parent, files in _folders(folder):
        for name in files:
            if is_hidden(name):
                continue
            if Path(name).suffix.lower() in IMAGE_SUFFIXES:
                photos.append(os.path.join(parent, name))  # noqa: PTH118 - a million Paths take seconds
            else:
                others += 1
    return sorted(photos), others


def holds_photos(folder: str | Path) -> bool:
    """Whether ``image_files`` finds a photo below ``folder``; stops at the first."""
    return any(
        Path(name).suffix.lower() in IMAGE_SUFFIXES and not is_hidden(name)
        for _, files in _folders(folder)
        for name in files
    )


def _folders(top: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Path and files of ``top`` and each folder below; links are followed after everything else."""
    above = Path(top).resolve().parents
    seen: set[tuple[int, int]] = set()
    starts = [str(top)]
    for start in starts:
        for parent, folders, files in os.walk(start, onerror=_refuse):
            status = os.stat(parent)  # noqa: PTH116 - as above
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            paths = (os.path.join(parent, name) for name in folders)  # noqa: PTH118 - as above
            links = (path for path in paths if os.path.islink(path))  # noqa: PTH114 - as above
            starts += [link for link in links if Path(link).resolve() not in above]
            yield parent, files


def _refuse(error: OSError) -> None:
    raise DataError(
        f"{error.filename}: expected a folder that can be read: {error.strerror}; change its "
        "permissions, or take it out of the data set"
    ) from error


def folders_in(folder: Path) -> list[Path]:
    """The folders right below ``folder``, sorted, without hidden ones."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is the system's, no photo of anybody's."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def is_utf8(name: str) -> bool:
    """Whether a name is text: not where the system has bytes in it that are no UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_listable(path: str) -> bool:
    """Whether a line of a list can name it: UTF-8 text, no tab or line end, no space at the end."""
    return is_utf8(path) and not any(mark in path for mark in "\r\n\t") and path.rstrip() == path
