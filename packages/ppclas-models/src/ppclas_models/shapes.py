"""Names and shapes of the tensors of each published architecture: what a weight file is checked
against.

They come from a table, so that checking a file needs no Paddle and builds no model.
"""

from __future__ import annotations

import functools
import json
import lzma
from collections.abc import Mapping
from pathlib import Path

from ppclas_core.errors import WeightsError
from ppclas_core.wording import first_few

Shapes = Mapping[str, tuple[int, ...]]

TABLE = Path(__file__).with_name("shapes.json.xz")
_CLASSES = 1000


def shapes_of(architecture: str) -> Shapes:
    """State-dict name → shape, in the model's order, for 1000 classes.

    Raises:
        WeightsError: its names are not known: no weights of it are published, or none were read.
    """
    table = _load()
    if architecture not in table:
        raise WeightsError(
            f"the names of the tensors in weights of {architecture} are not known here, so that "
            "no file can be checked"
        )
    return table[architecture]


def head_of(architecture: str) -> list[str]:
    """Names of the classifier's tensors."""
    return [name for name, shape in shapes_of(architecture).items() if _CLASSES in shape]


def check_shapes(
    found: Shapes, architecture: str, *, any_classes: bool = False, without_head: bool = False
) -> None:
    """Tensors of the names and shapes ``found`` are all that ``architecture`` has; more of them do
    not matter.

    With ``any_classes`` the classifier may have another number of classes, with ``without_head`` it
    may be missing.

    Raises:
        WeightsError: some are missing or of another shape; the message names them.
    """
    wanted = shapes_of(architecture)
    optional = head_of(architecture) if without_head else []
    missing = [name for name in wanted if name not in found and name not in optional]
    different = [
        f"{name} {list(found[name])} instead of {list(shape)}"
        for name, shape in wanted.items()
        if name in found and not _fits(tuple(found[name]), shape, any_classes)
    ]
    problems = []
    if missing:
        problems.append(
            f"{len(missing)} of the {len(wanted)} tensors are missing: {first_few(missing)}"
        )
    if different:
        problems.append(f"{len(different)} have another shape: {first_few(different)}")
    if problems:
        raise WeightsError(f"these are no weights of {architecture}: {'; '.join(problems)}")


def _fits(found: tuple[int, ...], wanted: tuple[int, ...], any_classes: bool) -> bool:
    # No layer but classifiers has as many channels as there are classes.
    if any_classes and len(found) == len(wanted):
        return all(a == b or b == _CLASSES for a, b in zip(found, wanted, strict=True))
    return found == wanted


@functools.lru_cache(maxsize=1)
def _load() -> dict[str, dict[str, tuple[int, ...]]]:
    table = json.loads(lzma.decompress(TABLE.read_bytes()))
    return {
        architecture: {name: tuple(shape) for name, shape in shapes.items()}
        for architecture, shapes in table.items()
    }
