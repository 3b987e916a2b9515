"""The photos that come with ppclas-data."""

from __future__ import annotations

from pathlib import Path


def builtin_photos() -> Path:
    """Folder of *produce8*: 8 kinds of groceries, 192 photos to train, 96 to validate (MIT)."""
    return Path(__file__).parent / "produce8"
