"""Carry out an edited list: into a copy of the photos, or a list file with the new labels."""

from __future__ import annotations

import csv
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ppclas_core.errors import DataError
from ppclas_core.files import building_folder
from ppclas_data.csv_cells import csv_value
from ppclas_data.leftovers import clear_leftovers

from ppclas_search.audit.auditing import ACTIONS, COLUMNS
from ppclas_search.audit.photos import Photo, Photos
from ppclas_search.writing import write_csv

_NEEDED = ("path", "label", "action", "new_label")


@dataclass(frozen=True)
class Decision:
    """A row of the list."""

    path: str
    label: str
    action: str
    """One of ``ACTIONS``; empty: nobody decided."""
    new_label: str


def read_decisions(path: Path, *, accept: bool = False) -> dict[str, Decision]:
    """Absolute path of a photo → what is to be done with it.

    ``accept``: where nobody decided, the photo gets the label that is proposed.

    Raises:
        DataError: it is no such list, or an action is none; with the line.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected the list of 'ppclas data audit': {error}") from error
    first = text.partition("\n")[0]
    # A spreadsheet of another country writes semicolons.
    reader = csv.DictReader(
        text.splitlines(keepends=True), delimiter=max(",;\t", key=first.count), restval=""
    )
    lacking = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
    if lacking:
        raise DataError(
            f"{path}:1: expected the columns {', '.join(COLUMNS)}, got no "
            f"{' and no '.join(lacking)}. 'ppclas data audit' writes such a list."
        )
    found = {}
    for row in reader:
        cells = {name: csv_value(row[name]).strip() for name in _NEEDED}
        action = cells["action"].lower() or ("relabel" if accept else "")
        if action and action not in ACTIONS:
            raise DataError(
                f"{path}:{reader.line_num}: expected {', '.join(ACTIONS)} or nothing in the column "
                f"action, got {cells['action']!r}"
            )
        if action == "relabel" and not cells["new_label"]:
            raise DataError(f"{path}:{reader.line_num}: expected a new_label to relabel with")
        found[cells["path"]] = Decision(cells["path"], cells["label"], action, cells["new_label"])
    return found


def apply_decisions(photos: Photos, decisions: dict[str, Decision], output: Path) -> Counter[str]:
    """Write ``output`` as decided; how many photos were kept, relabelled and removed.

    A name that ends in ``.csv`` gets a list with the columns path, label and, where the data set
    has parts, split. Any other gets a folder for each class, with copies of the photos, below
    ``train`` and ``val`` where there are such parts. The photos themselves are only read.

    Raises:
        DataError: ``output`` is there already or lies among the photos; a decision is about another
            photo, or about one that has another label by now.
    """
    _check_output(photos, output)
    kept, counts = _decided(photos, decisions)
    if output.suffix.lower() == ".csv":
        _write_list(kept, output)
    else:
        _write_folder(kept, output)
    return counts


def _check_output(photos: Photos, output: Path) -> None:
    if output.exists():
        raise DataError(f"{output} is there already; nothing is overwritten. Choose another name.")
    source = Path(photos.location)
    folder = source if source.is_dir() else source.parent
    inside = os.path.realpath(output).startswith(os.path.realpath(folder) + os.sep)
    if inside and source.is_dir():
        raise DataError(
            f"{output} lies in {source}, whose photos would be mixed with their copies. Choose a "
            "name outside it."
        )


def _decided(
    photos: Photos, decisions: dict[str, Decision]
) -> tuple[list[tuple[Photo, str]], Counter[str]]:
    """The photos that stay, with their labels."""
    kept, counts, left = [], Counter[str](), dict(decisions)
    for photo in photos:
        decision = left.pop(photo.path, None) or decisions.get(photo.path)
        if decision is not None and decision.label != photo.label:
            raise DataError(
                f"{photo.path}: the list calls it {decision.label!r}, the photos "
                f"{photo.label!r}. They have changed since; run 'ppclas data audit' again."
            )
        action = decision.action if decision is not None else ""
        if decision is not None and action == "relabel":
            changed = decision.new_label != photo.label
            kept.append((photo, decision.new_label))
            counts["relabelled" if changed else "kept"] += 1
        elif action == "remove":
            counts["removed"] += 1
        else:
            kept.append((photo, photo.label))
            counts["kept"] += 1
            if decision is not None and not action:
                counts["undecided"] += 1
    if left:
        raise DataError(
            f"{len(left)} photo(s) of the list are not in {photos.location} (first: "
            f"{next(iter(left))}). Name the photos that the list is about: --data"
        )
    return kept, counts


def _write_list(kept: Sequence[tuple[Photo, str]], output: Path) -> None:
    rows = []
    for photo, label in kept:
        if photo.record.member:
            raise DataError(
                f"{photo.path}: a photo in an archive, which a list cannot name. Give --output a "
                "folder, which gets copies."
            )
        rows.append({"path": photo.path, "label": label, "split": photo.part})
    has_parts = any(row["split"] for row in rows)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_csv(output, rows, ["path", "label", *(["split"] if has_parts else [])])


def _write_folder(kept: Sequence[tuple[Photo, str]], output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(output.parent)
    taken: set[Path] = set()
    with building_folder(output) as folder:
        for photo, label in kept:
            if not label or Path(label).name != label or label in (".", ".."):
                raise DataError(
                    f"{label!r}: no folder can have the name of this class. Write a list: "
                    "--output LIST.csv"
                )
            place = _free(folder / photo.part / label / Path(photo.path).name, taken)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                if photo.record.member or photo.record.span:
                    place.write_bytes(photo.read())
                else:
                    shutil.copyfile(photo.record.path, place)
            except OSError as error:
                raise DataError(
                    f"{photo.path}: cannot be copied: {error.strerror or error}. Remove it by the "
                    "list, or write a list of paths: --output LIST.csv"
                ) from error


def _free(path: Path, taken: set[Path]) -> Path:
    """``path``, or with a number where another photo of the class has that name."""
    number, free = 2, path
    while free in taken:
        free = path.with_stem(f"{path.stem}-{number}")
        number += 1
    taken.add(free)
    return free
