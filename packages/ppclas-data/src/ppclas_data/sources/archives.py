"""Image sets in archives, read where they lie: tar shards in the WebDataset layout, and tar and zip
files of class folders.

Nothing is unpacked. An index of the photos is made once, when the set is opened.
"""

from __future__ import annotations

import functools
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ppclas_core.contracts.data import ImageSet, Record, Source
from ppclas_core.errors import DataError, ImageError

from ppclas_data.sources.archive_members import (
    Member,
    check_member,
    index_tar,
    is_system_file,
)
from ppclas_data.sources.lists import settle_labels
from ppclas_data.sources.parts import VAL_NAMES
from ppclas_data.sources.photo_files import LeftOut, is_taken
from ppclas_data.sources.shards import files_ending, files_of_one_set, is_pattern


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
        left_out = LeftOut()
        members = [member for shard in shards for member in index_tar(shard, left_out)]
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
                    if not info.is_dir() and not is_system_file(info.filename)
                ]
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
            raise DataError(f"{self.location}: expected a zip file: {error}") from None
        members, left_out = [], LeftOut()
        for info in sorted(infos, key=lambda info: info.filename):
            member = Member(self.location, info.filename)
            if not is_taken(info.filename):
                left_out.add_file(member.where)
                continue
            check_member(member, info.file_size)
            if info.flag_bits & 1:
                raise DataError(f"{member.where}: encrypted; make a zip file without a password")
            members.append(member)
        records, names, notes = _label(self, members)
        notes += left_out.notes(self.location)
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


def _label(
    source: Source, members: Sequence[Member]
) -> tuple[list[Record], tuple[str, ...], list[str]]:
    """Records, class names and notes, by labels beside the photos or else by their folders."""
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


def _folders(source: Source, members: Sequence[Member]) -> list[str]:
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
