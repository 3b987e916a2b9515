"""The members of an archive that are photos, and how a tar file is read to find them.

A tar file has no directory: it is walked once, header by header, and a photo is then one seek and
one read. Links, devices and names that point outside the archive are refused.
"""

from __future__ import annotations

import itertools
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ppclas_core.errors import DataError

from ppclas_data.sources.lists import LABEL_COLUMNS
from ppclas_data.sources.photo_files import IMAGE_SUFFIXES, LeftOut, is_hidden, is_taken

MAX_IMAGE_BYTES = 1 << 28
"""Largest encoded image in an archive: 256 MiB."""
_MAX_LABEL_BYTES = 1 << 20
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""First bytes of compressed files, and the program that undoes it."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Member:
    """A file in an archive, mostly a photo."""

    archive: str
    name: str
    span: tuple[int, int] | None = None
    """Offset and size in the archive, in bytes."""
    label: str | None = None
    """As it is written beside the photo; None: the photo's folder says it."""

    @property
    def where(self) -> str:
        """The archive and the name in it, as messages say it."""
        return f"{self.archive}/{self.name}"


@dataclass(slots=True)
class _Sample:
    """The files with the same name up to the first dot."""

    photos: list[Member] = field(default_factory=list)
    extensions: list[str] = field(default_factory=list)
    label: str | None = None
    label_file: str = ""
    twice: str = ""
    """A member that has the name of another."""


def index_tar(shard: str, left_out: LeftOut) -> list[Member]:
    """The photos of a tar file; with their labels if there is a label for any.

    Raises:
        DataError: the file is compressed, damaged or cut; it holds a link, a device, or a name that
            points outside; or labels cannot be told apart.
    """
    samples = _samples_of(shard, left_out)
    if all(sample.label is None for sample in samples):
        return [photo for sample in samples for photo in sample.photos]
    return [photo for sample in samples for photo in _labelled_photos(sample, shard, left_out)]


def _labelled_photos(sample: _Sample, shard: str, left_out: LeftOut) -> list[Member]:
    photos = []
    for photo in sample.photos:
        if _split_name(photo.name)[1] in IMAGE_SUFFIXES:
            photos.append(Member(photo.archive, photo.name, photo.span, sample.label))
        else:
            left_out.add(
                "picture(s) with more than a photo's suffix behind the first dot, as masks have, "
                "are",
                photo.where,
            )
    if sample.twice:
        raise DataError(
            f"{sample.twice}: expected each name once, got it a second time, so that labels could "
            "be mixed up; make the tar anew with a name for each sample"
        )
    if photos and sample.label is None:
        raise DataError(
            f"{photos[0].where}: expected a .cls or .json file of the same name with its label, as "
            f"other photos in {shard} have; found none"
        )
    if sample.label is not None and not photos:
        left_out.add("label(s) without a photo of that name are", sample.label_file)
    return photos


def _samples_of(shard: str, left_out: LeftOut) -> list[_Sample]:
    samples: dict[tuple[int, str], _Sample] = {}
    with Path(shard).open("rb") as file:
        for number, info in _walk_tar(shard, file):
            member = Member(shard, info.name, (info.offset_data, info.size))
            check_member(member, info.size)
            if info.isdir() or is_system_file(info.name):
                continue
            if not info.isreg() or info.issparse():
                raise DataError(
                    f"{member.where}: expected plain files, got a link or device; make the tar anew"
                )
            key, extension = _split_name(info.name)
            sample = samples.setdefault((number, key), _Sample())
            if extension in sample.extensions:
                sample.twice = member.where
            sample.extensions.append(extension)
            if is_taken(info.name):
                sample.photos.append(member)
            elif extension in (".cls", ".json"):
                label = _read_label(file, member, extension)
                if label is not None:
                    sample.label, sample.label_file = label, member.where
            else:
                left_out.add_file(member.where)
    return list(samples.values())


def _walk_tar(shard: str, file: BinaryIO) -> Iterator[tuple[int, tarfile.TarInfo]]:
    """Every member, and the number of the archive it is in: ``cat a.tar b.tar`` makes a file of
    two.

    tarfile takes whatever is not a header for the end of the file, so what it leaves is looked at
    here.

    Raises:
        DataError: the file is compressed, damaged or cut.
    """
    size = file.seek(0, os.SEEK_END)
    last, offset = "", 0
    for number in itertools.count():
        file.seek(offset)
        try:
            # Names that are not UTF-8 are spelt out (caf\xe9): a surrogate could not be printed or
            # saved.
            with tarfile.open(
                fileobj=file, mode="r:", encoding="utf-8", errors="backslashreplace"
            ) as archive:
                for info in archive:
                    last, offset = info.name, archive.offset
                    yield number, info
                offset = archive.offset
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise _damaged(shard, last, size - offset, str(error)) from None
        following = _skip_zeros(file, offset)
        if following == offset:
            raise _damaged(shard, last, size - offset, "invalid header")
        if following == size:
            return
        offset = following


def _skip_zeros(file: BinaryIO, offset: int) -> int:
    """Offset of the first block that is not zeros; the end of the file if only zeros follow."""
    file.seek(offset)
    zeros = 0
    while chunk := file.read(_CHUNK):
        filled = len(chunk.lstrip(b"\0"))
        zeros += len(chunk) - filled
        if filled:
            break
    else:
        return offset + zeros if zeros >= tarfile.BLOCKSIZE else offset
    return offset + zeros // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE


def _damaged(shard: str, last: str, unread: int, error: str = "") -> DataError:
    """The error for a tar file that cannot be read after ``last``; ``unread`` bytes are left."""
    if not last:
        return DataError(
            f"{shard}: expected an uncompressed tar file, got {_what_it_is(shard, error)}"
        )
    if unread < 0:
        came = "the file ends within it: it is cut"
    elif unread == 0:
        came = "the file ends there: it is cut"
    else:
        came = f"the {unread:,} bytes from there on cannot be read: it is damaged or cut"
    return DataError(
        f"{shard}: expected another member or a block of zeros after {last}, but {came}; copy it "
        "or make it again"
    )


def _what_it_is(shard: str, error: str) -> str:
    with Path(shard).open("rb") as file:
        start = file.read(8)
    for mark, program in _COMPRESSED.items():
        if start.startswith(mark):
            return (
                f"one compressed with {program}; decompress it: {program} -dc {Path(shard).name} > "
                "plain.tar"
            )
    if not start:
        return "an empty file; copy it or make it again"
    return f"something else ({error}); copy it or make it again"


def _read_label(file: BinaryIO, member: Member, extension: str) -> str | None:
    """What a .cls or .json file says; None where a .json file is about something else."""
    assert member.span is not None  # it is in a tar file
    offset, size = member.span
    if size > _MAX_LABEL_BYTES:
        raise DataError(f"{member.where}: expected a label of a few bytes, got {size:,} bytes")
    file.seek(offset)
    data = file.read(size)
    if len(data) < size:
        raise _damaged(member.archive, member.name, len(data) - size)
    try:
        text = data.decode("utf-8-sig").strip()
        if extension == ".cls":
            if not text:
                raise DataError(f"{member.where}: expected a class id or name, got nothing")
            return text
        said = json.loads(text)
    except UnicodeDecodeError:
        raise DataError(f"{member.where}: expected UTF-8 text, got other bytes") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{member.where}: expected JSON: {error}") from None
    values = [said[key] for key in LABEL_COLUMNS if isinstance(said, dict) and key in said]
    if not values:
        return None
    if isinstance(values[0], bool) or not isinstance(values[0], int | str):
        raise DataError(
            f"{member.where}: expected a class id or name as the label, got {values[0]!r}"
        )
    return str(values[0])


def check_member(member: Member, size: int) -> None:
    """Refuse a member of ``size`` bytes that cannot be what it should.

    Raises:
        DataError: its name points outside the archive, or it is larger than ``MAX_IMAGE_BYTES``.
    """
    path = PurePosixPath(member.name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{member.where}: expected names inside the archive, got one that points outside; do "
            "not use it"
        )
    if not 0 <= size <= MAX_IMAGE_BYTES:
        raise DataError(
            f"{member.where}: expected files of at most {MAX_IMAGE_BYTES:,} bytes, got {size:,}"
        )


def _split_name(name: str) -> tuple[str, str]:
    """What the files of a sample share (folder, name up to the first dot); the rest, lower case."""
    folder, _, file = name.rpartition("/")
    key, dot, rest = file.partition(".")
    return f"{folder}/{key}", f"{dot}{rest}".lower()


def is_system_file(name: str) -> bool:
    """Whether a member of that name, or a folder it lies in, is hidden or a system's."""
    return any(is_hidden(part) for part in PurePosixPath(name).parts if part not in (".", ".."))
