"""Data sets that are fetched from where their authors publish them."""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ppclas_core.config.schema import DataSection
from ppclas_core.errors import DataError, WeightsError
from ppclas_core.files import write_text

from ppclas_data.sources.listing import ListFile, write_lists

Fetch = Callable[[str, Path, Callable[[Path], None], int], None]
"""Fetches an address to a file that passes a check and has at most so many bytes."""


@dataclass(frozen=True)
class PublishedFile:
    """A file, and how it is known to be the right one."""

    name: str
    md5: str
    size: int
    """In bytes."""

    def check(self, path: Path) -> None:
        """Compare a file with what was published.

        Raises:
            WeightsError: it is another one, as downloads say it of any file.
        """
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        if digest.hexdigest() != self.md5:
            raise WeightsError(f"{path} has the MD5 {digest.hexdigest()} instead of {self.md5}")


@dataclass(frozen=True)
class PublishedSet:
    """An archive of photos and the two files that say what is on them."""

    address: str
    """Folder that the files are in."""
    archive: PublishedFile
    labels: PublishedFile
    split: PublishedFile
    photos: int


FLOWERS102 = PublishedSet(
    "https://www.robots.ox.ac.uk/~vgg/data/flowers/102",
    PublishedFile("102flowers.tgz", "52808999861908f626f3c1f4e79d11fa", 344_862_509),
    PublishedFile("imagelabels.mat", "e0620be6f572b9609742df49c70aed4d", 502),
    PublishedFile("setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c", 14_989),
    8189,
)
"""Nilsback & Zisserman 2008: 102 kinds of flowers."""
_PHOTO = re.compile(r"(?:\./)?jpg/(image_\d{5}\.jpg)")
_LARGEST = 4 << 20
"""Bytes of one photo; those of flowers102 have 42,000 on average."""


def fetch_flowers(
    folder: Path,
    fetch: Fetch,
    notes: list[str],
    *,
    mirror: str | None = None,
    published: PublishedSet = FLOWERS102,
) -> list[ListFile]:
    """Fetch flowers102 into ``folder``, unpack its photos to ``jpg``, and write the lists.

    ``train_list.txt``, ``val_list.txt`` and ``test_list.txt`` are the published parts;
    ``extra_list.txt`` has the photos of the last one without labels, for distillation. What is
    there already is kept. ``mirror`` takes the place of the authors' address.

    Raises:
        WeightsError: a file cannot be fetched, or is another one.
        DataError: the archive does not hold the photos, or a list is in the way.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in (published.labels, published.split, published.archive):
        target = folder / file.name
        if target.is_file():
            file.check(target)
        else:
            address = (mirror or published.address).rstrip("/")
            fetch(f"{address}/{file.name}", target, file.check, file.size)
    photos = folder / "jpg"
    if not photos.is_dir() or len(list(photos.glob("*.jpg"))) != published.photos:
        _unpack(folder / published.archive.name, photos, published.photos)
        notes.append(f"{published.photos} photos unpacked to {photos}")
    if (folder / "extra_list.txt").is_file():
        notes.append(f"the lists in {folder} are kept")
        return []
    written = write_lists(DataSection(train=str(folder)), folder, notes)
    lines = (folder / "test_list.txt").read_text(encoding="utf-8").splitlines()
    extra = folder / "extra_list.txt"
    write_text(extra, "".join(f"{line.rpartition(' ')[0]}\n" for line in lines))
    return [*written, ListFile(str(extra), len(lines))]


def _unpack(archive: Path, photos: Path, count: int) -> None:
    """Write the photos of an archive to a folder, and nothing else that it may hold."""
    photos.mkdir(exist_ok=True)
    found = 0
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                named = _PHOTO.fullmatch(member.name)
                if named is None or not member.isfile():
                    continue
                if member.size > _LARGEST or found == count:
                    raise DataError(
                        f"{archive}: expected {count} photos of at most {_LARGEST:,} bytes; "
                        f"{member.name} is one more, or has {member.size:,}"
                    )
                source = tar.extractfile(member)
                assert source is not None
                with (photos / named[1]).open("wb") as file:
                    shutil.copyfileobj(source, file)
                found += 1
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{archive} cannot be unpacked ({error}). Remove it and try again"
        ) from error
    if found != count:
        raise DataError(f"{archive}: expected {count} photos in jpg/, found {found}")
