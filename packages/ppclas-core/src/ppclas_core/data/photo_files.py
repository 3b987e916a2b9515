"""Which files of a folder are photos."""

from __future__ import annotations

import os
from pathlib import Path

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
    """Every photo below ``folder``, sorted by path, and the number of other files; hidden ones count as neither."""
    photos, others = [], 0
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in files:
            if is_hidden(name):
                continue
            if Path(name).suffix.lower() in IMAGE_SUFFIXES:
                photos.append(os.path.join(parent, name))  # noqa: PTH118 - a million Paths take seconds
            else:
                others += 1
    return sorted(photos), others


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is the system's, no photo of anybody's."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")
