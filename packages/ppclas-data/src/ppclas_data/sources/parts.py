"""Which part of a data set is for training and which for validation, by the names in it."""

from __future__ import annotations

from pathlib import Path

from ppclas_core.errors import DataError
from ppclas_core.wording import first_few

from ppclas_data.sources.photo_files import folders_in, holds_photos

VAL_NAMES = ("val", "valid", "validation", "test")
"""What a validation folder or list is called, in the order of preference."""

_MORE_PARTS = (*VAL_NAMES, "dev", "eval")
_LIST_ENDS = ("_list.txt", ".txt", ".csv", ".tsv")


def training_part(location: str, notes: list[str]) -> str:
    """The list or folder ``train`` in a data set's folder; ``location`` itself where there is none.

    A folder ``train`` beside other class folders is a class, and a note says so.

    Raises:
        DataError: ``location`` is empty, or cannot be looked into.
    """
    folder = _looked_into(location)
    for name in (*(f"train{end}" for end in _LIST_ENDS), "train"):
        part = folder / name
        if part.exists():
            if name == "train" and _is_class(part, notes):
                return location
            notes.append(f"Training set: {part}.")
            return str(part)
    return location


def measured_part(location: str, notes: list[str]) -> str:
    """The training part of a data set's folder, else the validation part, else ``location``."""
    part = training_part(location, notes)
    if part != location:
        return part
    part = validation_part(location, [])
    if part != location:
        notes.append(f"{location} has no training part; its validation part is taken: {part}.")
    return part


def validation_beside(train: str, notes: list[str]) -> str | None:
    """A sibling of ``train`` whose name has "val" (…) in the place of "train"."""
    path = Path(train)
    if "train" not in path.name:
        return None
    siblings = [path.with_name(path.name.replace("train", name)) for name in VAL_NAMES]
    return _first([sibling for sibling in siblings if _is_there(sibling)], notes)


def validation_part(location: str, notes: list[str]) -> str:
    """The list or folder ``val`` (…) in a data set's folder; ``location`` itself where there is
    none.

    Raises:
        DataError: ``location`` is empty, or cannot be looked into.
    """
    folder = _looked_into(location)
    if not folder.is_dir():
        return location
    found = [folder / f"{name}{end}" for end in _LIST_ENDS for name in VAL_NAMES]
    found = [path for path in found if path.is_file()]
    # Without a training part, "test" may well be a class among others.
    if not found and (folder / "train").is_dir() and not _is_class(folder / "train", notes):
        found = [folder / name for name in VAL_NAMES if (folder / name).is_dir()]
    return _first(found, notes) or location


def _looked_into(location: str) -> Path:
    if not location:
        raise DataError(
            "Expected where the photos are, got an empty path; if it came from a variable of the "
            "shell, that is not set"
        )
    folder = Path(location)
    try:
        (folder / "train").exists()
    except OSError as error:
        raise DataError(f"{location}: cannot be read: {error.strerror}") from error
    return folder


def _is_class(train: Path, notes: list[str]) -> bool:
    """Whether the folder ``train`` is a class, by the folders beside it; if so, a note says it."""
    if not train.is_dir() or not holds_photos(train):
        return False
    beside = [path for path in folders_in(train.parent) if path.name != train.name]
    strangers = [path.name for path in beside if path.name not in VAL_NAMES and holds_photos(path)]
    classes = {path.name for path in folders_in(train)}
    parts = [path for path in beside if path.name in _MORE_PARTS]
    if not strangers or any(path.name in classes for part in parts for path in folders_in(part)):
        return False
    notes.append(
        f"{train} is taken for a class like the other folders in {train.parent} "
        f"({first_few(strangers)}), not for the training set; if it is that, give {train}."
    )
    return True


def _is_there(path: Path) -> bool:
    """Whether there is such a file or folder, or one that fits if it is a pattern of shards."""
    return path.exists() or (
        path.parent.is_dir() and next(path.parent.glob(path.name), None) is not None
    )


def _first(found: list[Path], notes: list[str]) -> str | None:
    if not found:
        return None
    unused = f" ({', '.join(path.name for path in found[1:])} is left alone)" if found[1:] else ""
    notes.append(f"Validation set: {found[0]}{unused}.")
    return str(found[0])
