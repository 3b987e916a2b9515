"""Write files so that a reader never sees half of one, and know their contents by hash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import secrets
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def write_atomic(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` write a file beside ``path``, flush it to disk, then rename it to ``path``.

    A kill at any moment leaves the old file or the new one; an error in ``write`` the old.
    """
    temporary = _beside(path, "tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # some libraries give what they write another one
        write(temporary)
        temporary.chmod(mode)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # Ctrl-C too
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """``write_atomic`` of UTF-8 text; other bytes of file names become ``\\udcXX``, as in JSON."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """``write_atomic`` of ``content``."""
    write_atomic(path, lambda temporary: temporary.write_bytes(content))


def write_json(path: Path, value: Any) -> None:
    """``write_atomic`` of indented JSON; NaN is not valid JSON and raises."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def building_folder(path: Path) -> Iterator[Path]:
    """A temporary sibling of ``path`` to fill: it becomes ``path`` unless the block raises.

    An existing ``path`` is replaced: moved aside first, removed last.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, "tmp")
    temporary.mkdir()
    try:
        yield temporary
        for file in filter(Path.is_file, temporary.rglob("*")):
            with open(file, "rb+") as opened:
                os.fsync(opened.fileno())
        old = _beside(path, "old")
        try:
            if path.exists():
                old.mkdir()
                path.rename(old / path.name)
            temporary.rename(path)
        except OSError:
            with contextlib.suppress(OSError):  # nothing was moved
                (old / path.name).rename(path)
            with contextlib.suppress(OSError):
                old.rmdir()
            raise
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:  # Ctrl-C too
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to disk, where the system can."""
    with contextlib.suppress(OSError):  # not on Windows
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def owner() -> str:
    """Who leaves a temporary: a mark of this system, new with each start of it, and our number."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    known = boot.exists() and space.exists()  # numbers of another container's are not ours
    system = f"{boot.read_text()}{space.readlink()}" if known else platform.node()
    return f"{zlib.crc32(system.encode()):08x}-{os.getpid()}"


def _beside(path: Path, end: str) -> Path:
    return path.with_name(f".{path.name[:50]}.{owner()}-{secrets.token_hex(4)}.{end}")
