"""The mark in an export's own files: what ``bundle.json`` meant when they were written.

It is plain text, ``ppclas-meaning:<hash>:<input>:<output>``, and is found in every kind of file by
looking for it: in ONNX's metadata, OpenVINO's rt_info, the programs of Paddle and the proof. Paddle
reads over it in both forms of its programs. A Lite ``.nb`` has no place for it.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppclas_core.bundle import MANIFEST
from ppclas_core.contracts.export import export_facts, export_file
from ppclas_core.errors import BundleError

from ppclas_deploy.proof import PROOF

if TYPE_CHECKING:
    from ppclas_core.bundle import Bundle, Manifest

KEY = "meaning"
"""Name of the mark, where a file keeps names and values."""
_START = b"ppclas-meaning:"
_MARK = re.compile(rb"ppclas-meaning:[0-9a-f]{16}:[a-z]+:[a-z]+")
_LONGEST = 80  # bytes
_FIELD = 15_000
"""Number of a field that no version of Paddle's ProgramDesc has; unknown ones are read over."""


def mark_of(manifest: Manifest, ends: Mapping[str, Any], *, written: bool = False) -> str:
    """The mark of an export of ``manifest`` with these ``input`` and ``output``."""
    sides = ends.get("input", "images"), ends.get("output", "logits")
    return ":".join((_START.decode() + manifest.meaning(written=written), *sides))


def mark_program(program: Path, mark: str) -> None:
    """Put ``mark`` into a program of Paddle (``.json`` or ``.pdmodel``), in place."""
    content = program.read_bytes()
    if program.suffix == ".json":
        content = content.rstrip().removesuffix(b"}") + f',"ppclas":"{mark}"}}'.encode()
    else:
        content += _varint(_FIELD << 3 | 2) + _varint(len(mark)) + mark.encode()
    program.write_bytes(content)


def checked_file(bundle: Bundle, key: str = "model") -> Path:
    """``export_file``, if its mark and the proof's are this ``bundle.json``'s; files from before
    the marks have none.

    Raises:
        BundleError: the export names no such file, or it was made with another ``bundle.json``.
    """
    path = export_file(bundle, key)
    check_marks(bundle, path)
    return path


def check_marks(bundle: Bundle, *files: Path) -> None:
    """Need the marks of ``files`` and of the proof to be this ``bundle.json``'s.

    Raises:
        BundleError: one was made with another ``bundle.json``.
    """
    expected = mark_of(bundle.manifest, export_facts(bundle), written=True).encode()
    proof = [bundle.folder / PROOF] if PROOF in bundle.manifest.files else []
    for file in (*files, *proof):
        if any(mark != expected for mark in _marks(file)):
            raise BundleError(
                f"{bundle.folder / MANIFEST} was changed after it was written: {file.name} was "
                "made with other labels, preprocessing, activation or thresholds. Put the original "
                "back, or export the model again."
            )


def _marks(file: Path) -> list[bytes]:
    """All marks in a file; what only begins like one is none of these, and unequal to all."""
    if not file.stat().st_size:
        return []
    found, start = [], 0
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        while (start := whole.find(_START, start)) >= 0:
            mark = _MARK.match(whole[start : start + _LONGEST])
            found.append(mark[0] if mark else b"")
            start += len(_START)
    return found


def _varint(number: int) -> bytes:
    """A whole number as protocol buffers write it."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))
