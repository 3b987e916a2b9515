"""Which part of a data set is for training and which for validation, by what its files and folders are called."""

from __future__ import annotations

from pathlib import Path

VAL_NAMES = ("val", "valid", "validation", "test")
"""What a validation folder or list is called, in the order of preference."""

_LIST_ENDS = ("_list.txt", ".txt", ".csv", ".tsv")


def training_part(location: str, notes: list[str]) -> str:
    """The list or folder ``train`` in a data set's folder; ``location`` itself where there is none."""
    folder = Path(location)
    for name in (*(f"train{end}" for end in _LIST_ENDS), "train"):
        part = folder / name
        if part.exists():
            notes.append(f"Training set: {part}.")
            return str(part)
    return location


def validation_beside(train: str, notes: list[str]) -> str | None:
    """A sibling of ``train`` whose name has "val" (…) in the place of "train"."""
    path = Path(train)
    if "train" not in path.name:
        return None
    siblings = [path.with_name(path.name.replace("train", name)) for name in VAL_NAMES]
    return _first([sibling for sibling in siblings if _is_there(sibling)], notes)


def validation_part(location: str, notes: list[str]) -> str:
    """The list or folder ``val`` (…) in a data set's folder; ``location`` itself where there is none."""
    folder = Path(location)
    if not folder.is_dir():
        return location
    found = [folder / f"{name}{end}" for end in _LIST_ENDS for name in VAL_NAMES]
    found = [path for path in found if path.is_file()]
    if not found and (folder / "train").is_dir():  # without it, "test" may well be a class among others
        found = [folder / name for name in VAL_NAMES if (folder / name).is_dir()]
    return _first(found, notes) or location


def _is_there(path: Path) -> bool:
    """Whether there is such a file or folder, or one that fits if it is a pattern of shards."""
    return path.exists() or (path.parent.is_dir() and next(path.parent.glob(path.name), None) is not None)


def _first(found: list[Path], notes: list[str]) -> str | None:
    if not found:
        return None
    unused = f" ({', '.join(path.name for path in found[1:])} is left alone)" if found[1:] else ""
    notes.append(f"Validation set: {found[0]}{unused}.")
    return str(found[0])
