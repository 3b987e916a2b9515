"""What a file may make its reader allocate, checked first: the one place that says so.

A limit follows from the file's own size and from the model that it is for; see ``SECURITY.md``.
"""

from __future__ import annotations

import stat
from pathlib import Path

PICKLE_STEPS = 1_000_000
"""Opcodes of a pickle; the tensors of a large training checkpoint take a tenth of that."""
MANIFEST_BYTES = 16 << 20
"""Of ``bundle.json``: class names for a quarter of a million classes."""
CONFIG_BYTES, CONFIG_VALUES = 1 << 20, 100_000
"""Values and maps after aliases and merges are expanded: nested ones multiply without bound."""
NAMES_BYTES, LIST_BYTES = 64 << 20, 1 << 30
"""Of a file of class names, and of a list of photos or a CSV: 15 million photos."""


def weights_bytes(values: int) -> int:
    """Of a weight file for a model of that many numbers: twice as wide, more classes."""
    return 8 * values + (400 << 20)


def unpacked_bytes(packed: int) -> int:
    """Of what a compressed weight file of ``packed`` bytes holds: weights hardly compress."""
    return 4 * packed + (16 << 20)


def read_bounded(path: Path, most: int) -> bytes:
    """The content of a file of at most ``most`` bytes; of a pipe as well, but of no device.

    Raises:
        OSError: it cannot be read, or is larger.
    """
    found = path.stat()
    if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
        raise OSError(0, "a device; expected a file")
    if found.st_size <= most:
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) <= most:
            return content
    raise OSError(0, f"it has more than {most:,} bytes, the most that such a file may have")
