"""Photos inside archives, read where they lie: tar shards in the WebDataset layout, tar and zip
files of class folders.

Nothing is unpacked. An index of offsets is made once, when the set is opened; a photo is then one
seek and one read. Links, devices and names that point outside the archive are refused.
"""

from __future__ import annotations

import functools
import glob
import itertools
import json
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ppclas_core.contracts.data import ImageSet, Record, Source
from ppclas_core.errors import DataError, ImageError

from ppclas_data.sources.lists import LABEL_COLUMNS, settle_labels
from ppclas_data.sources.parts import VAL_NAMES
from ppclas_data.sources.photo_files import IMAGE_SUFFIXES, is_hidden

MAX_IMAGE_BYTES = 1 << 28
"""Largest encoded image in an archive: 256 MiB."""
_MAX_LABEL_BYTES = 1 << 20
_MAX_SHARDS = 1_000_000
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")
_PART = re.compile(rf"(?<![a-z])(?:train|{'|'.join(VAL_NAMES)})(?![a-z])", re.IGNORECASE)
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""First bytes of compressed files, and the program that undoes it."""
_CHUNK = 1 << 20


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


@dataclass(frozen=True)
class _Member:
    """A photo in an archive."""

    archive: str
    name: str
    span: tuple[int, int] | None = None
    """Offset and size in the archive, in bytes."""
    label: str | None = None
    """As it is written beside the photo; None: the photo's folder says it."""

    @property
    def where(self) -> str:
        return f"{self.archive}/{self.name}"


class TarSource(Source):
    """Tar shards in the WebDataset layout (``0001.jpg`` with ``0001.cls`` or ``0001.json``), or of
    class folders.

    One file, a pattern (``train-{000..012}.tar``, ``train-*.tar``) or a folder of shards. A
    ``.cls`` file holds a class id or name, a ``.json`` file an object with one as ``label``,
    ``class``, …. Where there are such files, a photo is a member with nothing but a photo's suffix
    behind the first dot: ``0001.seg.png`` is none.
    """

    @classmethod
    def recognises(cls, location: str) -> bool:
        """Whether it is called .tar, or is a folder of such files and nothing but files."""
        path = Path(location)
        if path.is_dir():
            found = next(files_ending(path, ".tar"), None)
            return found is not None and not any(other.is_dir() for other in path.iterdir())
        return location.lower().endswith(".tar") and (path.is_file() or is_pattern(location))

    def load(self) -> ImageSet:
        """Index every shard; one record a photo, in the order of the shards."""
        shards = files_of_one_set(self.location, ".tar")
        left_out = _LeftOut()
        members = [member for shard in shards for member in _index_tar(shard, left_out)]
        notes = left_out.notes(self.location)
        if not members:
            raise DataError(
                ". ".join(
                    (f"{self.location}: expected photos, called like 0001.jpg; found none", *notes)
                )
            )
        if len(shards) > 1:
            notes.append(f"{self.location}: {len(members)} photos in {len(shards)} shards.")
        records, names, more = _label(self, members)
        return ImageSet(tuple(records), names, self.location, (*notes, *more))


class ZipSource(Source):
    """A zip file of class folders, compressed or not."""

    @classmethod
    def recognises(cls, location: str) -> bool:
        """Whether it is a file called .zip."""
        return location.lower().endswith(".zip") and Path(location).is_file()

    def load(self) -> ImageSet:
        """One record a photo, in the order of names."""
        try:
            with zipfile.ZipFile(self.location) as archive:
                infos = [
                    info
                    for info in archive.infolist()
                    if not info.is_dir() and not _is_hidden(info.filename)
                ]
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
            raise DataError(f"{self.location}: expected a zip file: {error}") from None
        members = []
        for info in sorted(infos, key=lambda info: info.filename):
            if not _is_photo(info.filename):
                continue
            member = _Member(self.location, info.filename)
            _check_member(member, info.file_size)
            if info.flag_bits & 1:
                raise DataError(f"{member.where}: encrypted; make a zip file without a password")
            members.append(member)
        records, names, notes = _label(self, members)
        left_out = len(infos) - len(members)
        if left_out:
            notes.append(
                f"{left_out} file(s) in {self.location} are no photos by their name and are left "
                "out."
            )
        return ZipImageSet(tuple(records), names, self.location, tuple(notes))


@dataclass(frozen=True)
class ZipImageSet(ImageSet):
    """Records whose photos may be compressed: the zip file's own directory finds them."""

    def read(self, index: int) -> bytes:
        """The encoded bytes of an image; their checksum is checked."""
        record = self.records[index]
        try:
            return _open_zip(record.path).read(record.member)
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError) as error:
            raise ImageError(f"{record.where}: damaged zip file: {error}") from None


@functools.lru_cache(maxsize=8)
def _open_zip(path: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


@dataclass(slots=True)
class _Sample:
    """The files with the same name up to the first dot."""

    photos: list[_Member] = field(default_factory=list)
    extensions: list[str] = field(default_factory=list)
    label: str | None = None
    label_file: str = ""
    twice: str = ""
    """A member that has the name of another."""


class _LeftOut:
    """What of a set is not taken: how many files of each kind, and the first."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[int, str]] = {}

    def add(self, kind: str, where: str) -> None:
        count, first = self._kinds.get(kind, (0, where))
        self._kinds[kind] = (count + 1, first)

    def notes(self, location: str) -> list[str]:
        """A sentence for each kind."""
        return [
            f"{location}: {count} {kind} left out (first: {first})."
            for kind, (count, first) in self._kinds.items()
        ]


def _index_tar(shard: str, left_out: _LeftOut) -> list[_Member]:
    """The photos of a tar file; with their labels if there is a label for any."""
    samples = _samples_of(shard, left_out)
    if all(sample.label is None for sample in samples):
        return [photo for sample in samples for photo in sample.photos]
    return [photo for sample in samples for photo in _labelled_photos(sample, shard, left_out)]


def _labelled_photos(sample: _Sample, shard: str, left_out: _LeftOut) -> list[_Member]:
    photos = []
    for photo in sample.photos:
        if _split_name(photo.name)[1] in IMAGE_SUFFIXES:
            photos.append(_Member(photo.archive, photo.name, photo.span, sample.label))
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


def _samples_of(shard: str, left_out: _LeftOut) -> list[_Sample]:
    samples: dict[tuple[int, str], _Sample] = {}
    with Path(shard).open("rb") as file:
        for number, info in _walk_tar(shard, file):
            member = _Member(shard, info.name, (info.offset_data, info.size))
            _check_member(member, info.size)
            if info.isdir() or _is_hidden(info.name):
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
            if _is_photo(info.name):
                sample.photos.append(member)
            elif extension in (".cls", ".json"):
                label = _read_label(file, member, extension)
                if label is not None:
                    sample.label, sample.label_file = label, member.where
            else:
                left_out.add("file(s) that are no photos by their name are", member.where)
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
    """Offset of the first block that is not all zeros; the end of the file if there is none behind
    at least one.
    """
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
    """What to say of a tar file that cannot be read on after the member ``last``, ``unread`` bytes
    before its end.
    """
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


def _read_label(file: BinaryIO, member: _Member, extension: str) -> str | None:
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


def _label(
    source: Source, members: Sequence[_Member]
) -> tuple[list[Record], tuple[str, ...], list[str]]:
    """Records, class names and notes, by what is written beside the photos or else by their
    folders.
    """
    if not members:
        raise DataError(f"{source.location}: expected photos, found none")
    written = [member.label for member in members if member.label is not None]
    if written and len(written) < len(members):
        lost = next(member for member in members if member.label is None)
        raise DataError(
            f"{lost.where}: expected a label beside the photo, as in the other shards; found none"
        )
    labels = written or _folders(source, members)
    said = [(label, member.where) for label, member in zip(labels, members, strict=True)]
    ids, names, notes = settle_labels(source, said, may_be_ids=bool(written))
    records = [
        Record(member.archive, label, member.where, member=member.name, span=member.span)
        for label, member in zip(ids, members, strict=True)
    ]
    return records, names, notes


def _folders(source: Source, members: Sequence[_Member]) -> list[str]:
    """The class folder of each photo: the first folder in which their paths differ."""
    paths = [PurePosixPath(member.name).parts[:-1] for member in members]
    shortest = min(len(path) for path in paths)
    depth = 0
    while depth < shortest - 1 and len({path[depth] for path in paths}) == 1:
        depth += 1
    if shortest == 0:
        lost = next(member for member, path in zip(members, paths, strict=True) if not path)
        raise DataError(
            f"{lost.where}: expected a .cls or .json file with the label beside the photo, or the "
            "photo in a folder named after its class"
        )
    classes = [path[depth] for path in paths]
    if "train" in classes and len(set(classes)) > 1 and set(classes) <= {"train", *VAL_NAMES}:
        raise DataError(
            f"{source.location}: expected class folders, got a data set with the parts "
            f"{', '.join(sorted(set(classes)))}; make an archive of each"
        )
    return classes


def _split_name(name: str) -> tuple[str, str]:
    """What the files of a sample have in common (folder and name up to the first dot), and the rest
    in lower case.
    """
    folder, _, file = name.rpartition("/")
    key, dot, rest = file.partition(".")
    return f"{folder}/{key}", f"{dot}{rest}".lower()


def _is_photo(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _is_hidden(name: str) -> bool:
    path = PurePosixPath(name)
    return is_hidden(path.name) or "__MACOSX" in path.parts


def _check_member(member: _Member, size: int) -> None:
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
