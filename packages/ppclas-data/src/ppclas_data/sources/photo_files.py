"""Which files of a folder are photos."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ppclas_core.errors import DataError
from ppclas_core.wording import first_few

from ppclas_data.decoding.formats import HEIC_SUFFIXES, kind_of, unread_suffix

IMAGE_SUFFIXES = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".jp2",
        ".j2k",
        ".jpx",
        ".ppm",
        ".pgm",
        ".avif",
        *HEIC_SUFFIXES,
    )
)
"""What counts as a photo in a folder, in any case; whether it is one shows when it is decoded.
Not every kind is read everywhere: ``is_taken``."""


SYSTEM_FOLDERS = frozenset(
    (
        "__macosx",
        "@eadir",
        "@tmp",
        "@recycle",
        "@recently-snapshot",
        "@snapshot",
        "@sharesnap",
        "@sharebin",
        "@synoresource",
        "@synoeastream",
        "@__thumb",
        "~snapshot",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "recycler",
        "recycled",
        "system volume information",
        "$winreagent",
        "found.000",
        "thevolumesettingsfolder",
        "thumbnails",
        "__pycache__",
        "lost+found",
        "network trash folder",
        "temporary items",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "picasa.ini",
    )
)
"""Names, in lower case, of what systems keep beside photos: thumbnails, side files, waste baskets,
snapshots."""

_LIBRARIES = (".photoslibrary", ".aplibrary", ".lrdata")
"""Folders of Photos, Aperture and Lightroom: each photo is in them several times."""

_RUN_MARKS = ("metrics.jsonl", "command.txt", "log.txt", "summary.json", "checkpoints")
"""One of these beside a ``config.yaml`` makes a folder a run."""


_OUTPUT_MARKS = (
    {"bundle.json"},
    {"folds.json", "command.txt"},
    {"search.json", "trials.csv"},
    {"explain.json", "sheet.png"},
    {"audit.json", "audit.html"},
    {"removed.json", "kept.txt"},
    {"selected.csv", "selected.txt"},
)
"""All of one of these make a folder the output of another command."""

_NAMED = 3
"""Files left out that are named; the others are counted by suffix."""


class LeftOut:
    """What of a set is not taken: how many files of each kind and suffix, and the first."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[Counter[str], list[str]]] = {}

    def add(self, kind: str, where: str, named: int = 1) -> None:
        """One more file of a kind, of which so many are named; ``where`` it lies."""
        suffixes, first = self._kinds.setdefault(kind, (Counter(), []))
        suffixes[_suffix(where)] += 1
        if len(first) < named:
            first.append(where)

    def add_file(self, where: str) -> None:
        """One more file that is no photo by its name, or a photo that is not read here."""
        photos = unread_suffix(_suffix(where))
        self.add(OTHERS if photos is None else f"{photos} are", where, _NAMED)

    def count(self, kind: str) -> int:
        """How many of a kind there were."""
        return self._kinds[kind][0].total() if kind in self._kinds else 0

    def notes(self, location: str | Path) -> list[str]:
        """A sentence for each kind: the first, and of many the suffixes."""
        return [
            f"{location}: {suffixes.total()} {kind} left out{_by_suffix(kind, suffixes)} "
            f"(first: {', '.join(first)})."
            for kind, (suffixes, first) in self._kinds.items()
        ]


def _by_suffix(kind: str, suffixes: Counter[str]) -> str:
    if kind != OTHERS or suffixes.total() <= _NAMED:
        return ""
    return f": {first_few(_counted(suffixes))}"


def _counted(suffixes: Counter[str]) -> list[str]:
    return [f"{count} {suffix or 'without a suffix'}" for suffix, count in suffixes.most_common()]


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a million Paths take seconds


OTHERS = "file(s) that are no photos by their name are"
_HIDDEN_FILES = "hidden photo(s), which are side files of a system, are"
_HIDDEN_FOLDERS = "hidden folder(s), or folders of a system (thumbnails, waste baskets), are"
_OUTPUT = "folder(s) that ppclas wrote (runs, bundles) are"
_LOOPS = "link(s) back to a folder that they are in are"


def image_files(folder: str | Path, left_out: LeftOut | None = None) -> list[str]:
    """Every photo below ``folder``, sorted by path; what is passed over goes to ``left_out``.

    See ``walk_photos``.

    Raises:
        DataError: a folder cannot be listed.
    """
    return sorted(walk_photos(folder, left_out))


def walk_photos(folder: str | Path, left_out: LeftOut | None = None) -> Iterator[str]:
    """Every photo below ``folder``, folder by folder, one at a time.

    This is the one rule of what a photo folder contains. Left out are files that have no suffix of
    a photo; hidden files and folders, and those that systems keep beside photos
    (``SYSTEM_FOLDERS``); and folders that ppclas itself wrote. Links to folders are followed, after
    everything else, except to the folders that ``folder`` itself is in. A folder that is reached in
    several ways counts once, where it really lies if that is below ``folder``.

    Raises:
        DataError: a folder cannot be listed.
    """
    left_out = LeftOut() if left_out is None else left_out
    for parent, files in _folders(folder, left_out):
        for name in sorted(files):
            path = os.path.join(parent, name)  # noqa: PTH118 - a million Paths take seconds
            if not is_taken(name):
                if not is_hidden(name):
                    left_out.add_file(path)
            elif is_hidden(name):
                left_out.add(_HIDDEN_FILES, path)
            else:
                yield path


def why_no_photos(folder: str | Path, left_out: LeftOut) -> str:
    """What a folder without a photo holds instead, in brackets, and what to do about it."""
    files = [
        os.path.join(parent, name)  # noqa: PTH118 - as above
        for parent, names in _folders(folder, LeftOut())
        for name in names
        if not is_hidden(name)
    ]
    kinds = Counter(map(_suffix, files))
    others = sum(kinds.values())
    if not others:
        passed = [note.partition(": ")[2] for note in left_out.notes("")]
        return f" (0 other file(s)){''.join(f'; {said}' for said in passed).rstrip('.')}"
    hint = ""
    photos = {unread_suffix(kind): None for kind, _ in kinds.most_common()}
    unread = [said.rstrip(",") for said in photos if said is not None]
    if unread:
        hint = f"; they are {' and '.join(unread)}"
    elif "" in kinds or any(kind.startswith((".jpg", ".jpeg", ".png")) for kind in kinds):
        hint = "; a photo is known by its suffix, so rename them to .jpg (.png …)"
    elif kind := kind_of(files[0]):
        hint = (
            f"; the first is {kind} by its content, and a photo is known by its suffix: rename it"
        )
    return f" ({others} other file(s): {first_few(_counted(kinds))}){hint}"


def holds_photos(folder: str | Path) -> bool:
    """Whether there is a photo below ``folder``; stops at the first."""
    return next(walk_photos(folder), None) is not None


def is_photo(name: str) -> bool:
    """Whether a file of that name is a photo; whether it is one shows when it is decoded."""
    return _suffix(name) in IMAGE_SUFFIXES


def is_taken(name: str) -> bool:
    """Whether a file of that name is a photo of a kind that is read here: HEIC takes an extra."""
    return is_photo(name) and unread_suffix(_suffix(name)) is None


def _folders(top: str | Path, left_out: LeftOut) -> Iterator[tuple[str, list[str]]]:
    """Path and files of ``top`` and each folder below; links are followed after everything else."""
    above = Path(top).resolve().parents
    seen: set[tuple[int, int]] = set()
    starts = [str(top)]
    for start in starts:
        for parent, folders, files in os.walk(start, onerror=_refuse):
            status = os.stat(parent)  # noqa: PTH116 - as above
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            if parent != str(top) and _is_output(folders, files):
                left_out.add(_OUTPUT, parent)
                folders.clear()
                continue
            for name in folders:
                if is_hidden(name):
                    left_out.add(_HIDDEN_FOLDERS, os.path.join(parent, name))  # noqa: PTH118 - as above
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            paths = (os.path.join(parent, name) for name in folders)  # noqa: PTH118 - as above
            links = (path for path in paths if os.path.islink(path))  # noqa: PTH114 - as above
            starts += [link for link in links if Path(link).resolve() not in above]
            yield parent, files


def _is_output(folders: Sequence[str], files: Sequence[str]) -> bool:
    """Whether a folder with these names in it is a run or a bundle of ppclas."""
    names = {*folders, *files}
    return any(marks <= names for marks in _OUTPUT_MARKS) or (
        "config.yaml" in names and any(mark in names for mark in _RUN_MARKS)
    )


def _refuse(error: OSError) -> None:
    raise DataError(
        f"{error.filename}: expected a folder that can be read: {error.strerror}; change its "
        "permissions, or take it out of the data set"
    ) from error


def folders_in(folder: Path, left_out: LeftOut | None = None) -> list[Path]:
    """The folders right below ``folder`` that can be classes, sorted by name.

    Those that ``walk_photos`` would pass over go to ``left_out``.
    """
    left_out = LeftOut() if left_out is None else left_out
    found = []
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        if is_hidden(path.name):
            left_out.add(_HIDDEN_FOLDERS, str(path))
        elif path.is_symlink() and path.resolve() in (folder.resolve(), *folder.resolve().parents):
            left_out.add(_LOOPS, str(path))
        elif _holds_output(path):
            left_out.add(_OUTPUT, str(path))
        else:
            found.append(path)
    return found


def _holds_output(folder: Path) -> bool:
    """Whether a folder is a run or a bundle; or is called ``runs`` and has one in it."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - a million Paths take seconds
        return _is_output((), names) or (
            folder.name == "runs"
            and any(
                _is_output((), [path.name for path in inner.iterdir()])
                for inner in folder.iterdir()
                if inner.is_dir()
            )
        )
    except OSError:  # said where the folder is read
        return False


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is the system's, no photo of anybody's."""
    lower = name.lower()
    return lower.startswith(".") or lower in SYSTEM_FOLDERS or lower.endswith(_LIBRARIES)


def is_utf8(name: str) -> bool:
    """Whether a name is text: not where the system has bytes in it that are no UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_listable(path: str) -> bool:
    """Whether a line of a list can name it: UTF-8 text, no tab or line end, no space at the end."""
    return is_utf8(path) and not any(mark in path for mark in "\r\n\t") and path.rstrip() == path
