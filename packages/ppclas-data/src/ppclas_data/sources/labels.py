"""Class names and label ids: read them, and check them on the host before anything heavy starts."""

from __future__ import annotations

import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ppclas_core.contracts.data import ImageSet, Record
from ppclas_core.errors import DataError
from ppclas_core.limits import LIST_BYTES, NAMES_BYTES, read_bounded
from ppclas_core.wording import first_few, near_names


def read_lines(path: str | Path, *, keep_ends: bool = False, most: int = LIST_BYTES) -> list[str]:
    """The lines of a UTF-8 text file (a byte-order mark is dropped), without their ends unless
    ``keep_ends``.

    Lines end with LF, CR LF or CR. The other marks that Unicode ends lines with can stand in a
    file's name.

    Raises:
        DataError: not to be read, more than ``most`` bytes, or not UTF-8 text.
    """
    try:
        data = read_bounded(Path(path), most)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{_line_of(data, error.start)}: expected UTF-8 text, got the byte "
            f"0x{data[error.start]:02x}; save the file as UTF-8"
        ) from None
    if b"\0" in data:
        line = _line_of(data, data.index(b"\0"))
        raise DataError(f"{path}:{line}: expected text, got a NUL byte; save the file as UTF-8")
    lines = io.StringIO(text, newline="").readlines()
    return lines if keep_ends else [line.rstrip("\r\n") for line in lines]


def read_class_names(path: str | Path) -> tuple[str, ...]:
    """Class names from a file with ``id name`` or just a name per line, in id order.

    Lines count as ``id name`` when every one begins with a whole number.

    Raises:
        DataError: no names, or ids that are not 0, 1, 2 … each once.
    """
    return tuple(name for name, _ in _names_and_lines(path))


class ClassIds:
    """Class ids by name, for labels that are names.

    Several classes may have one name, as in ImageNet (two are cranes); then it is no label.
    """

    def __init__(self, names: Sequence[str], file: str | Path | None = None) -> None:
        """``file`` is where the names come from, if from a file; an error says its lines."""
        self._names, self._file = tuple(names), file
        self._ids = {name: label for label, name in enumerate(names)}
        self._composed = {composed(name): label for label, name in enumerate(names)}
        self._shared = {name for name, count in Counter(names).items() if count > 1}

    def find(self, name: str, where: str) -> int:
        """The id of the class ``name``, which is said at ``where``.

        Raises:
            DataError: no class is called so, or more than one.
        """
        if name in self._shared:
            raise DataError(
                f"{where}: expected a label that one class is called, got {name!r}, which "
                f"{self._places(name)}; give the classes different names, or write ids"
            )
        if name in self._ids:
            return self._ids[name]
        if len(self._composed) == len(self._names) and composed(name) in self._composed:
            return self._composed[composed(name)]
        near = near_names(name, self._names, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(
            f"{where}: expected one of the classes {first_few(self._names)}, got {name!r}.{hint}"
        )

    def _places(self, name: str) -> str:
        labels = [label for label, other in enumerate(self._names) if other == name]
        lines = (
            []
            if self._file is None
            else [line for other, line in _names_and_lines(self._file) if other == name]
        )
        if len(lines) < len(labels):
            return f"the classes {first_few(map(str, labels), separator=' and ')} are called"
        return (
            f"stands on the lines {first_few(map(str, sorted(lines)), separator=' and ')} of "
            f"{self._file}"
        )


def composed(name: str) -> str:
    """A name with its accents in one character each (Unicode NFC): a Mac writes them in two."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


_NOTHING = ("nan", "#n/a", "#na", "<na>", "nat", "#value!", "#ref!", "#name?")


def check_name(name: str, where: str) -> None:
    """Refuse a class name that a list of names cannot hold.

    Raises:
        DataError: it has a line break, or is what a table program writes where nothing is.
    """
    if name.casefold() in _NOTHING:
        raise DataError(
            f"{where}: expected a class name, got {name!r}, which stands for a missing value; fill "
            "it in or take the row out. If it is a class, give it another name"
        )
    if "\n" in name or "\r" in name:
        raise DataError(
            f"{where}: expected a class name in one line, got {name!r}; take the line break out"
        )


def _names_and_lines(path: str | Path) -> list[tuple[str, int]]:
    """The class names of a file in id order, each with its line."""
    lines = [
        (number, line.strip())
        for number, line in enumerate(read_lines(path, most=NAMES_BYTES), 1)
        if line.strip()
    ]
    if not lines:
        raise DataError(
            f"{path}: expected a class name, or an id and a name, a line; the file is empty"
        )
    if not all(re.match(r"[0-9]+\s+\S", line) for _, line in lines):
        return [(line, number) for number, line in lines]
    names: dict[int, tuple[str, int]] = {}
    for number, line in lines:
        label, name = line.split(maxsplit=1)
        if int(label) in names:
            raise DataError(f"{path}:{number}: expected each id once, got {label} a second time")
        names[int(label)] = name, number
    for expected, found in enumerate(sorted(names)):
        if expected != found:
            raise DataError(
                f"{path}: expected the ids 0 to {len(names) - 1} for {len(names)} names, got "
                f"{found} and no {expected}; number the classes from 0 without gaps"
            )
    return [names[label] for label in range(len(names))]


def _line_of(data: bytes, position: int) -> int:
    return len(re.findall(rb"\r\n|\r|\n", data[:position])) + 1


def are_ids(names: Sequence[str]) -> bool:
    """Whether ``names`` are 0, 1, 2 …: those of a model without class names (published weights)."""
    return all(name == str(label) for label, name in enumerate(names))


def in_class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names in the order of their class ids: by value where all are whole numbers, else as text.

    >>> in_class_order(["10", "9", "0"]), in_class_order(["b10", "b9"])
    (('0', '9', '10'), ('b10', 'b9'))
    """
    different = set(names)
    if different and all(_NUMBER.fullmatch(name) for name in different):
        return tuple(sorted(different, key=lambda name: (int(name), name)))
    return tuple(sorted(different))


_NUMBER = re.compile(r"-?[0-9]{1,18}", re.ASCII)


def ids_as_meant(
    said: Sequence[tuple[int, str]], names: Sequence[str] | None, origin: str, notes: list[str]
) -> list[int]:
    """Class ids for the numbers of a list, where the known classes are called by numbers too.

    A number is a class's name where every number in the list is one; else it is a place in the
    order of the classes.

    Args:
        said: each number and where it is written.
        names: the classes' names, in the order of their ids, if they are known.
        origin: the list, for notes.
        notes: gets a sentence when names and places differ.

    Raises:
        DataError: both readings are possible, and they differ.
    """
    numbers = [number for number, _ in said]
    if names is None or are_ids(names) or not all(_NUMBER.fullmatch(name) for name in names):
        return numbers
    places = {int(name): place for place, name in enumerate(names)}
    if len(places) < len(names) or not all(number in places for number in numbers):
        return numbers
    found = [places[number] for number in numbers]
    if found == numbers:
        return numbers
    if all(0 <= number < len(names) for number in numbers):
        number, where = next(one for one, place in zip(said, found, strict=True) if one[0] != place)
        raise DataError(
            f"{where}: the label {number} can be the class called '{number}' (class "
            f"{places[number]} of {first_few(names, 12)}), or the class with the id {number}, "
            f"which is called {names[number]!r}; give the photos as class folders, or name the "
            "classes in the order of the list's ids in a file (label_list.txt beside it, or "
            "--labels)"
        )
    notes.append(f"{origin}: labels are the names of the classes ({first_few(names)}), not ids.")
    return found


def with_class_order(images: ImageSet, names: Sequence[str]) -> ImageSet:
    """The same images with their classes in the order of ``names``.

    Raises:
        DataError: they are not the same classes.
    """
    if images.class_names == tuple(names):
        return images
    if sorted(images.class_names) != sorted(names) or len(set(names)) < len(names):
        raise DataError(
            f"{images.origin}: expected photos of the model's classes ({first_few(names)}), got "
            f"{first_few(images.class_names)}; name the photos to use with --data"
        )
    place = {name: label for label, name in enumerate(names)}
    new = [place[name] for name in images.class_names]
    records = tuple(
        replace(
            record,
            label=new[record.label] if record.label >= 0 else record.label,
            classes=tuple(sorted(new[label] for label in record.classes)),
        )
        for record in images.records
    )
    return replace(images, records=records, class_names=tuple(names))


def check_labels(records: Sequence[Record], num_classes: int | None, origin: str) -> None:
    """Refuse label ids that are negative or, where ``num_classes`` is known, too large; without it,
    ids with gaps.

    Raises:
        DataError: with the file and line of the first such label.
    """
    for record in records:
        if record.label < 0:
            raise DataError(
                f"{record.where}: expected a label of 0 or more, got {record.label}; number the "
                "classes from 0"
            )
        if num_classes is not None and record.label >= num_classes:
            raise DataError(
                f"{record.where}: expected a label from 0 to {num_classes - 1} for {num_classes} "
                f"classes, got {record.label}; {_offset_hint(records, num_classes)}"
            )
    if num_classes is not None or not records:
        return
    first_with = {record.label: record for record in reversed(records)}
    for expected, label in enumerate(sorted(first_with)):
        if label == expected:
            continue
        where = first_with[label].where
        if label == 1 and expected == 0:
            raise DataError(
                f"{where}: expected labels that start at 0, got 1 as the smallest; subtract 1 from "
                "every label"
            )
        raise DataError(
            f"{where}: expected labels without gaps, got {label} but no image with label "
            f"{expected} in {origin}; renumber the classes, or give their names in a file "
            "(data.labels) if some have no image on purpose"
        )


def _offset_hint(records: Iterable[Record], num_classes: int) -> str:
    found = [record.label for record in records]
    if min(found) == 1 and max(found) == num_classes:
        return "the labels run from 1: subtract 1 from each"
    return "correct the list, or name the missing classes"


def agree_on_names(known: tuple[str, ...], found: tuple[str, ...], where: str) -> list[str]:
    """Compare the names of ``where`` with the ``known`` ones; a sentence for the console where
    spellings differ.

    Raises:
        DataError: the same names in another order, which would swap classes silently.
    """
    if found == known:
        return []
    if sorted(found) == sorted(known):
        index = next(i for i, (a, b) in enumerate(zip(known, found, strict=True)) if a != b)
        raise DataError(
            f"{where}: expected class {index} to be {known[index]!r} as in the training set, got "
            f"{found[index]!r}: the same names in another order; number both sets alike"
        )
    if len(found) != len(known):
        return [
            f"{where} names {len(found)} classes, the model {len(known)}; the model's names are "
            "used."
        ]
    index = next(i for i, (a, b) in enumerate(zip(known, found, strict=True)) if a != b)
    return [
        f"{where} calls class {index} {found[index]!r}, the model {known[index]!r}; the ids are "
        "taken to agree."
    ]
