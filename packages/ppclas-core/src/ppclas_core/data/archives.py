"""Photos inside archives, read where they lie: tar shards in the WebDataset layout, tar and zip files of class folders.

Nothing is unpacked. An index of offsets is made once, when the set is opened; a photo is then one seek and one read.
Links, devices and names that point outside the archive are refused.
"""

from __future__ import annotations

import functools
import glob
import itertools
import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ppclas_core.data.base import ImageSet, Record, Source
from ppclas_core.data.lists import LABEL_COLUMNS, settle_labels
from ppclas_core.data.parts import VAL_NAMES
from ppclas_core.data.photo_files import IMAGE_SUFFIXES
from ppclas_core.errors import DataError, ImageError

MAX_IMAGE_BYTES = 1 << 28
"""Largest encoded image in an archive: 256 MiB."""
_MAX_LABEL_BYTES = 1 << 20
_MAX_SHARDS = 1_000_000
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")


def files_of_one_set(location: str, suffix: str) -> list[str]:
    """The files of a folder that end in ``suffix``, by name, or those that a path or pattern names.

    Raises:
        DataError: the folder holds a training set and a validation set.
    """
    folder = Path(location)
    if not folder.is_dir():
        return expand_shards(location)
    files = sorted(folder.glob(f"*{suffix}"))
    parts = {part for file in files for part in ("train", *VAL_NAMES) if file.name.startswith(part)}
    if len(parts) > 1:
        raise DataError(
            f"{folder}: expected the files of one set, got those of {', '.join(sorted(parts))}; give one of them "
            f"as a pattern: {folder / f'train*{suffix}'}"
        )
    return [str(file) for file in files]


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
            raise DataError(f"{location}: expected the file {path}, found none; correct the range, or use a * pattern")
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
    """Tar shards in the WebDataset layout (``0001.jpg`` with ``0001.cls`` or ``0001.json``), or of class folders.

    One file, a pattern (``train-{000..012}.tar``, ``train-*.tar``) or a folder of shards. A ``.cls`` file holds a class
    id or name, a ``.json`` file an object with one as ``label``, ``class``, ….
    """

    @classmethod
    def recognises(cls, location: str) -> bool:
        """Whether it is called .tar, or is a folder of such files and nothing but files."""
        path = Path(location)
        if path.is_dir():
            return next(path.glob("*.tar"), None) is not None and not any(other.is_dir() for other in path.iterdir())
        return location.endswith(".tar") and (path.is_file() or is_pattern(location))

    def load(self) -> ImageSet:
        """Index every shard; one record a photo, in the order of the shards."""
        shards = files_of_one_set(self.location, ".tar")
        notes: list[str] = []
        members = [member for shard in shards for member in _index_tar(shard, notes)]
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
                infos = [info for info in archive.infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, NotImplementedError) as error:
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
            notes.append(f"{left_out} file(s) in {self.location} are no photos by their name and are left out.")
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


@dataclass
class _Group:
    """The files of one sample: those with the same name up to the first dot."""

    photos: list[_Member] = field(default_factory=list)
    label: str | None = None


def _index_tar(shard: str, notes: list[str]) -> list[_Member]:
    groups: dict[str, _Group] = {}
    others = 0
    try:
        with tarfile.open(shard, "r:") as archive:
            for info in archive:
                if info.isdir():
                    continue
                member = _Member(shard, info.name, (info.offset_data, info.size))
                if not info.isreg() or info.issparse():
                    raise DataError(f"{member.where}: expected plain files, got a link or device; make the tar anew")
                _check_member(member, info.size)
                group = groups.setdefault(_key(info.name), _Group())
                if _is_photo(info.name):
                    group.photos.append(member)
                elif info.name.endswith((".cls", ".json")):
                    label = _read_label(archive, info, member.where)
                    group.label = label if label is not None else group.label
                else:
                    others += 1
    except (tarfile.TarError, EOFError) as error:
        raise DataError(
            f"{shard}: expected an uncompressed tar file: {error}; a .tar.gz is unpacked with gunzip first"
        ) from None
    labelled = any(group.label is not None for group in groups.values())
    without_photo = sum(not group.photos for group in groups.values())
    if others or (labelled and without_photo):
        notes.append(f"{shard}: {others + without_photo} file(s) without a photo of that name are left out.")
    members = []
    for group in groups.values():
        if labelled and group.photos and group.label is None:
            raise DataError(
                f"{group.photos[0].where}: expected a .cls or .json file of the same name with its label, as other "
                f"photos in {shard} have; found none"
            )
        members += [_Member(photo.archive, photo.name, photo.span, group.label) for photo in group.photos]
    return members


def _read_label(archive: tarfile.TarFile, info: tarfile.TarInfo, where: str) -> str | None:
    """What a .cls or .json file says; None where a .json file is about something else."""
    if info.size > _MAX_LABEL_BYTES:
        raise DataError(f"{where}: expected a label of a few bytes, got {info.size:,} bytes")
    file = archive.extractfile(info)
    assert file is not None  # a plain file
    data = file.read()
    try:
        text = data.decode("utf-8-sig").strip()
        if info.name.endswith(".cls"):
            if not text:
                raise DataError(f"{where}: expected a class id or name, got nothing")
            return text
        said = json.loads(text)
    except UnicodeDecodeError:
        raise DataError(f"{where}: expected UTF-8 text, got other bytes") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected JSON: {error}") from None
    values = [said[key] for key in LABEL_COLUMNS if isinstance(said, dict) and key in said]
    if not values:
        return None
    if isinstance(values[0], bool) or not isinstance(values[0], int | str):
        raise DataError(f"{where}: expected a class id or name as the label, got {values[0]!r}")
    return str(values[0])


def _label(source: Source, members: Sequence[_Member]) -> tuple[list[Record], tuple[str, ...], list[str]]:
    """Records, class names and notes, by what is written beside the photos or else by their folders."""
    if not members:
        raise DataError(f"{source.location}: expected photos, found none")
    written = [member.label for member in members if member.label is not None]
    if written and len(written) < len(members):
        lost = next(member for member in members if member.label is None)
        raise DataError(f"{lost.where}: expected a label beside the photo, as in the other shards; found none")
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
            f"{lost.where}: expected a .cls or .json file with the label beside the photo, or the photo in a folder "
            f"named after its class"
        )
    classes = [path[depth] for path in paths]
    if "train" in classes and len(set(classes)) > 1 and set(classes) <= {"train", *VAL_NAMES}:
        raise DataError(
            f"{source.location}: expected class folders, got a data set with the parts "
            f"{', '.join(sorted(set(classes)))}; make an archive of each"
        )
    return classes


def _key(name: str) -> str:
    """Folder and file name up to the first dot: what the files of a WebDataset sample have in common."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.split('.', 1)[0]}"


def _is_photo(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = path.name.startswith(".") or "__MACOSX" in path.parts
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden


def _check_member(member: _Member, size: int) -> None:
    path = PurePosixPath(member.name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{member.where}: expected names inside the archive, got one that points outside; do not use it"
        )
    if size > MAX_IMAGE_BYTES:
        raise DataError(f"{member.where}: expected files of at most {MAX_IMAGE_BYTES:,} bytes, got {size:,}")


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
    yield from itertools.chain.from_iterable(_expand_braces(pattern[:start] + part + pattern[end:]) for part in parts)
