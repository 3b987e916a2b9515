"""Where a photo lies: in a file, or behind a web address."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def is_address(text: str) -> bool:
    """Whether a text names a photo on the web: it begins with ``http://`` or ``https://``.

    >>> is_address("https://example.com/cat.jpg"), is_address("photos/cat.jpg")
    (True, False)
    """
    return text[:8].lower().startswith(("http://", "https://"))


def read_file(path: str) -> bytes:
    """The content of a photo's file; a pipe among photos, which may never end, is none.

    Raises:
        OSError: it cannot be read, or is a folder, a pipe or a device.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - fast
        raise OSError(errno.EINVAL, "a folder, a pipe or a device, not a file")
    return Path(path).read_bytes()


def read_photo(path: str) -> bytes:
    """The content of an image file, or of what is behind an address.

    Raises:
        ImageError: the address gives no photo within the limits, or the network is not to be used.
        OSError: the file cannot be read.
    """
    if not is_address(path):
        return read_file(path)
    from ppclas_data.decoding.fetching import fetch  # only where it is needed: it loads slowly

    return fetch(path)
